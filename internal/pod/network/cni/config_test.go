// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/hint"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:            "it is empty",
		`null`:        "it is null, not an object",
		`[]`:          "cannot unmarshal array",
		`{} {}`:       "something follows the JSON document",
		`{"name":"a"`: "unexpected EOF",
		`{}`:          "name is missing",
		`{"name":1}`:  "name is not a string",
		`{"name":"../a","plugins":[{"type":"x"}]}`:                                         `name "../a" is not letters, digits, _, . and - after a letter or digit`,
		`{"name":"a","cniVersion":"2.0.0","plugins":[{"type":"x"}]}`:                       `cniVersion "2.0.0" is not known (want 0.1.0 to 1.1.0)`,
		`{"name":"a","cniVersion":1,"plugins":[{"type":"x"}]}`:                             "cniVersion is not a string",
		`{"name":"a","cniVersions":["2.0.0"],"plugins":[{"type":"x"}]}`:                    `cniVersions ["2.0.0"] has none that rkt speaks`,
		`{"name":"a","cniVersions":"1.0.0","plugins":[{"type":"x"}]}`:                      "cniVersions: ",
		`{"name":"a","plugins":[]}`:                                                        "plugins is empty",
		`{"name":"a","plugins":{}}`:                                                        "plugins: ",
		`{"name":"a","plugins":[null]}`:                                                    "plugins[0]: it is null, not an object",
		`{"name":"a","plugins":[{}]}`:                                                      "plugins[0]: type is missing",
		`{"name":"a","plugins":[{"type":"x"},{"type":"/bin/sh"}]}`:                         `plugins[1]: type "/bin/sh" is not the name of a file`,
		`{"name":"a","plugins":[{"type":".."}]}`:                                           `plugins[0]: type ".." is not the name of a file`,
		`{"name":"a","plugins":[{"type":"x","runtimeConfig":{}}]}`:                         "plugins[0]: runtimeConfig is the runtime's to set",
		`{"name":"a","plugins":[{"type":"x","prevResult":{}}]}`:                            "plugins[0]: prevResult is the runtime's to set",
		`{"name":"a","plugins":[{"type":"x","cni.dev/valid-attachments":[]}]}`:             "plugins[0]: cni.dev/valid-attachments is the runtime's to set",
		`{"name":"a","plugins":[{"type":"x","capabilities":["ips"]}]}`:                     "plugins[0]: capabilities: ",
		`{"name":"a","disableCheck":1,"plugins":[{"type":"x"}]}`:                           "disableCheck is neither true nor false",
		`{"name":"a","loadOnlyInlinedPlugins":true}`:                                       "loadOnlyInlinedPlugins is true, and plugins is missing",
		`{"name":"a","plugins":[` + strings.Repeat(`{"type":"x"},`, 64) + `{"type":"x"}]}`: "plugins has more than 64 entries",
	} {
		if n, err := ParseList([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %+v, %v; want %s", text, n, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"name":"a"}`:               "type is missing",
		`{"type":"bridge"}`:          "name is missing",
		`{"name":"a","plugins":[1]}`: "plugins[0]: ",
	} {
		if n, err := ParseSingle([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", text, n, err, want)
		}
	}
}

// TestParseOld: a configuration as rkt 1.x had them.
func TestParseOld(t *testing.T) {
	n, err := ParseSingle([]byte(`{"name":"default","type":"ptp","ipMasq":true,"ipam":{"type":"host-local","subnet":"172.16.28.0/24","routes":[{"dst":"0.0.0.0/0"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if n.Name != "default" || n.Kind() != "ptp" || n.Plugins[0].IPAM != "host-local" || len(n.Versions) != 1 || n.Versions[0] != "0.1.0" {
		t.Errorf("%+v", n)
	}
}

func TestRoundTrip(t *testing.T) {
	n, _ := chain(t, "1.0.0", nil, map[string]string{"ADD": "fail"})
	n.DisableCheck, n.DisableGC, n.more = true, true, false
	text, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseList(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(n, again, cmp.AllowUnexported(Network{}, Plugin{})); d != "" {
		t.Error(d)
	}
}

// TestLoad: three directories of rkt's, and one of others.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	one := func(name, kind string) string { return `{"name":"` + name + `","type":"` + kind + `"}` }
	write(t, dir+"/user/50-b.conf", one("b", "user"))
	write(t, dir+"/local/10-z.conf", one("z", "local"))
	write(t, dir+"/local/60-b.json", one("b", "local"))
	write(t, dir+"/local/README", "not one")
	write(t, dir+"/local/.conf", "not one")
	write(t, dir+"/local/20-dir.conf/x", "not one")
	write(t, dir+"/system/40-a.conflist", `{"name":"a","plugins":[{"type":"system"}]}`)
	write(t, dir+"/system/90-z.conf", one("z", "system"))
	write(t, dir+"/cni/00-c.conflist", `{"name":"c","plugins":[{"type":"cni"}]}`)
	write(t, dir+"/cni/01-c.conf", one("c", "second"))
	write(t, dir+"/cni/02-broken.conf", `{"name":`)
	write(t, dir+"/cni/03-b.conf", one("b", "cni"))
	if err := syscall.Mkfifo(dir+"/local/30-fifo.conf", 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := Load([]Dir{{Path: dir + "/user"}, {Path: dir + "/local"}, {Path: dir + "/system"}, {Path: dir + "/none"}, {Path: dir + "/cni", Foreign: true}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range all.List {
		got = append(got, n.Name+" "+n.Kind()+" "+strings.TrimPrefix(n.File, dir))
	}
	if d := cmp.Diff([]string{"c cni /cni/00-c.conflist", "z local /local/10-z.conf", "a system /system/40-a.conflist", "b user /user/50-b.conf"}, got); d != "" {
		t.Error(d)
	}
	got = nil
	for _, n := range all.Hidden {
		got = append(got, n.Name+" "+n.Kind())
	}
	if d := cmp.Diff([]string{"b local", "z system", "b cni"}, got); d != "" {
		t.Error(d)
	}
	if len(all.Broken) != 2 || !strings.Contains(all.Broken[0].Error(), `already given by "00-c.conflist"`) || !strings.Contains(all.Broken[1].Error(), "02-broken.conf") {
		t.Errorf("broken: %v", all.Broken)
	}
	if n, err := all.Find("c"); err != nil || !n.Foreign {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := all.Find("nowhere"); err == nil || !strings.Contains(hint.Of(err), "a file was passed over: ") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

// TestLoadRefuses: in rkt's own directories everything has to be right, or a
// network might be another than its administrator believes.
func TestLoadRefuses(t *testing.T) {
	for name, one := range map[string]struct {
		files map[string]string
		want  string
	}{
		"broken": {map[string]string{"a.conf": `{"name":"a","type":"x"}`, "b.conf": `{"name":`}, `/b.conf": unexpected EOF`},
		"twice":  {map[string]string{"a.conf": `{"name":"n","type":"x"}`, "b.conflist": `{"name":"n","plugins":[{"type":"y"}]}`}, `/b.conflist": name "n" is already given by "a.conf" in the same directory`},
		"none":   {map[string]string{"a.conflist": `{"name":"n"}`}, `/a.conflist": there is no plugin in it`},
		"more":   {map[string]string{"a.conflist": `{"name":"n"}`, "n/1.conf": `{"type":"a/b"}`}, `/a.conflist": n/1.conf: type "a/b" is not the name of a file`},
		"large":  {map[string]string{"a.conf": `{"name":"n","type":"x","pad":"` + strings.Repeat("x", 1<<20) + `"}`}, `/a.conf": larger than 1048576 bytes`},
	} {
		dir := t.TempDir()
		for file, text := range one.files {
			write(t, filepath.Join(dir, file), text)
		}
		if _, err := Load([]Dir{{Path: dir}}); err == nil || !strings.HasSuffix(err.Error(), one.want) || !strings.HasPrefix(err.Error(), "cannot read network configuration ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseArgs(t *testing.T) {
	args, c, err := ParseArgs([]string{"IP=fd00::7", "ips=10.0.0.5/24", "ips=fd00::5", "mac=02:00:00:00:00:05", "aliases=web", "aliases=www",
		"ingressRate=1000000", "ingressBurst=80000", "K=a=b", "EMPTY="})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][2]string{{"IP", "fd00::7"}, {"K", "a=b"}, {"EMPTY", ""}}, args); d != "" {
		t.Error(d)
	}
	got := map[string]string{}
	for k, v := range c {
		got[k] = string(v)
	}
	if d := cmp.Diff(map[string]string{"ips": `["10.0.0.5/24","fd00::5"]`, "mac": `"02:00:00:00:00:05"`, "aliases": `["web","www"]`,
		"bandwidth": `{"ingressRate":1000000,"ingressBurst":80000}`}, got); d != "" {
		t.Error(d)
	}
	for word, want := range map[string]string{
		"K": "is not KEY=VALUE", "=v": "is not KEY=VALUE", "ips=10.0.0": "is not an address", "ips=10.0.0.1/99": "is not an address",
		"mac=02:00": "is not a hardware address", "aliases=": "is empty", "egressRate=fast": "is not a number of bits",
		"egressRate=0": "is not a number of bits", "egressRate=8": "want each other", "K=a;B=c": "cannot be passed on", "K=\x00": "cannot be passed on",
	} {
		if _, _, err := ParseArgs([]string{word}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", word, err)
		}
	}
	if _, _, err := ParseArgs([]string{"K=1", "K=2"}); err == nil {
		t.Error("the same key twice is good")
	}
}

func TestRecordRefuses(t *testing.T) {
	n, _ := chain(t, "1.0.0", nil)
	rec := record(n)
	rec.Version = "1.0.0"
	rec.Result = json.RawMessage(`{"cniVersion":"1.0.0"}`)
	good, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeRecord(good); err != nil {
		t.Fatal(err)
	}
	for old, new := range map[string]string{
		`"format":1`: `"format":2`, `"ifName":"eth0"`: `"ifName":"../x"`, `"cniVersion":"1.0.0","containerID"`: `"cniVersion":"7","containerID"`,
		`"containerID":"6fa4`: `"containerID":"/6fa4`, `"result":{`: `"result":{"ips":[{}],`, `"format"`: `"more":1,"format"`, `"stub-a"`: `"../sh"`,
	} {
		bad := strings.Replace(string(good), old, new, 1)
		if bad == string(good) {
			t.Fatalf("%s is not in %s", old, good)
		}
		if _, err := DecodeRecord([]byte(bad)); err == nil {
			t.Errorf("%s is good", new)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"name":"default","type":"ptp","ipMasq":true,"ipam":{"type":"host-local","subnet":"172.16.28.0/24"}}`))
	f.Add([]byte(`{"cniVersion":"1.1.0","cniVersions":["0.3.1","0.4.0","1.0.0","1.1.0"],"name":"dbnet","plugins":[{"type":"bridge","capabilities":{"ips":true}},{"type":"portmap","x":[1e400]}],"disableGC":true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, parse := range []func([]byte) (*Network, error){ParseSingle, ParseList} {
			n, err := parse(text)
			if err != nil || len(n.Plugins) == 0 {
				continue
			}
			// What was read can be kept, and read again, and is the same.
			kept, err := json.Marshal(n)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseList(kept)
			if err != nil {
				t.Fatalf("%s: %v", kept, err)
			}
			if again.Name != n.Name || len(again.Plugins) != len(n.Plugins) || !cmp.Equal(again.Versions, n.Versions) {
				t.Fatalf("%+v is not %+v", again, n)
			}
			for i := range n.Plugins {
				req := request{network: n.Name, version: n.Versions[0], previous: json.RawMessage(`{}`), capabilities: Capabilities{"ips": json.RawMessage(`[]`)}}
				out, err := req.encode(&n.Plugins[i])
				if err != nil || !json.Valid(out) {
					t.Fatalf("%s: %v", out, err)
				}
			}
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	for _, text := range results() {
		f.Add([]byte(text), "1.0.0")
	}
	f.Add([]byte(`{"interfaces":[null],"ips":[{"interface":7,"address":"::ffff:1.2.3.4/120"}],"routes":[null]}`), "0.3.1")
	f.Fuzz(func(t *testing.T, text []byte, asked string) {
		r, _, err := DecodeResult(text, asked)
		if err != nil {
			return
		}
		r.Of("eth0")
		for _, v := range Versions() {
			out, err := r.Encode(v)
			if err != nil {
				continue // a version that has no form for it
			}
			again, found, err := DecodeResult(out, "")
			if err != nil || found != v {
				t.Fatalf("%s: %s: %v", v, out, err)
			}
			if v == "1.1.0" && !cmp.Equal(r.IPs, again.IPs, cmp.Comparer(func(a, b IP) bool { return a == b })) {
				t.Fatalf("%+v is not %+v", again, r)
			}
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	n, _ := chain(f, "1.0.0", nil)
	rec := record(n)
	rec.Version, rec.Result = "1.0.0", json.RawMessage(results()[4])
	text, err := rec.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		if rec, err := DecodeRecord(text); err == nil {
			if _, err := rec.Encode(); err != nil {
				t.Fatal(err)
			}
			if _, err := rec.moved("/proc/9/ns/net"); err != nil {
				t.Fatal(err)
			}
		}
	})
}
