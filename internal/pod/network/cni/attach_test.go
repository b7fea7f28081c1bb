// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/hint"
)

// chain is a network of stubs a, b, c …, each with its orders, and the file of
// their trace.
func chain(t testing.TB, version string, do ...map[string]string) (*Network, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	var list []any
	for i, orders := range do {
		list = append(list, map[string]any{
			"type": "stub-" + string(rune('a'+i)), "do": orders, "trace": file, "address": "10.0.0.2/24",
			"capabilities": map[string]bool{"ips": i == 0, "mac": i == 1, "off": false}, "number": 12345678901234567, "own": []int{i},
		})
	}
	text, err := json.Marshal(map[string]any{"name": "dbnet", "cniVersion": version, "plugins": list})
	if err != nil {
		t.Fatal(err)
	}
	n, err := ParseList(text)
	if err != nil {
		t.Fatal(err)
	}
	return n, file
}

func runner(t testing.TB) *Runner {
	return &Runner{Path: []string{"/does/not/exist", plugins(t, "stub-a", "stub-b", "stub-c", "stub-old", "stub-1.0", "stub-dumb")}}
}

func record(n *Network) *Record {
	return &Record{Network: n, ContainerID: "6fa4a8a2-7b0b-4f4c-b1d1-0123456789ab", IfName: "eth0", NetNS: "/proc/1/ns/net",
		Args: [][2]string{{"IP", "10.0.0.2"}, {"K", "V"}}}
}

func mustPrepare(t testing.TB, r *Runner, rec *Record) {
	t.Helper()
	if err := r.Prepare(context.Background(), rec); err != nil {
		t.Fatal(err)
	}
}

func TestAddAndDel(t *testing.T) {
	r := runner(t)
	n, file := chain(t, "1.0.0", nil, nil, nil)
	rec := record(n)
	if err := rec.Capabilities.Set("ips", []string{"10.0.0.2/24"}); err != nil {
		t.Fatal(err)
	}
	mustPrepare(t, r, rec)
	res, err := r.Add(context.Background(), rec)
	if err != nil {
		t.Fatal(err)
	}
	mac, ips := res.Of("eth0")
	if mac != "02:00:00:00:00:01" || len(ips) != 1 || ips[0].Address.String() != "10.0.0.2/24" || res.DNS.Nameservers[0] != "10.0.0.53" {
		t.Errorf("result: %q %v %+v", mac, ips, res)
	}
	// Another process, later.
	text, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeRecord(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(context.Background(), again, "/proc/2/ns/net"); err != nil {
		t.Error(err)
	}
	if err := r.Del(context.Background(), again, ""); err != nil {
		t.Error(err)
	}
	list := trace(t, file)
	if got, want := calls(list), "stub-a ADD, stub-b ADD, stub-c ADD, stub-a CHECK, stub-b CHECK, stub-c CHECK, stub-c DEL, stub-b DEL, stub-a DEL"; got != want {
		t.Fatalf("calls: %s", got)
	}
	wantEnv := map[string]string{"CNI_COMMAND": "ADD", "CNI_CONTAINERID": rec.ContainerID, "CNI_NETNS": "/proc/1/ns/net", "CNI_IFNAME": "eth0",
		"CNI_ARGS": "IgnoreUnknown=1;IP=10.0.0.2;K=V", "CNI_PATH": strings.Join(r.Path, ":"), "PATH": os.Getenv("PATH")}
	if d := cmp.Diff(wantEnv, list[0].Env); d != "" {
		t.Error(d)
	}
	if _, ok := list[6].Env["CNI_NETNS"]; ok {
		t.Error("DEL without a namespace has a CNI_NETNS")
	}
	for i, s := range list {
		if s.Stdin["name"] != "dbnet" || s.Stdin["cniVersion"] != "1.0.0" {
			t.Errorf("call %d: %v", i, s.Stdin)
		}
		// What follows was lost if numbers went through floats.
		if raw, _ := json.Marshal(s.Stdin["number"]); string(raw) != "12345678901234567" && string(raw) != "12345678901234568" {
			t.Errorf("call %d: number %s", i, raw)
		}
		previous, _ := s.Stdin["prevResult"].(map[string]any)
		wantLast := map[int]any{1: "stub-a", 2: "stub-b"}[i]
		if i > 2 {
			wantLast = "stub-c" // the last result, and with it what no version knows
		}
		if got := previous["last"]; got != wantLast {
			t.Errorf("call %d (%s): previous result is from %v, want %v", i, s.Plugin, got, wantLast)
		}
		if runtime := s.Stdin["runtimeConfig"]; (s.Plugin == "stub-a") != (runtime != nil) {
			t.Errorf("call %d (%s): runtimeConfig %v", i, s.Plugin, runtime)
		}
	}
	sandbox := func(i int) any {
		return list[i].Stdin["prevResult"].(map[string]any)["interfaces"].([]any)[0].(map[string]any)["sandbox"]
	}
	if sandbox(3) != "/proc/2/ns/net" || list[3].Env["CNI_NETNS"] != "/proc/2/ns/net" {
		t.Errorf("CHECK: sandbox %v, CNI_NETNS %v", sandbox(3), list[3].Env["CNI_NETNS"])
	}
}

// TestFailingAdd: each way for a plugin to fail is told with its name, and
// everything that ran is undone, in reverse.
func TestFailingAdd(t *testing.T) {
	for do, want := range map[string]string{
		"fail":     `plugin "stub-b": no [31maddress is free; try 10.0.0.0/8 (code 11)`,
		"exit":     `plugin "stub-b": it failed with exit status 3; it said "`,
		"panic":    `plugin "stub-b": it failed with exit status 2, and printed "panic: runtime error" where an error in JSON belongs`,
		"nonsense": `plugin "stub-b": it printed no result: invalid character 'h' looking for beginning of value`,
		"silent":   `plugin "stub-b": it printed no result: it is empty`,
		"flood":    `plugin "stub-b": it printed more than 1048576 bytes and was killed`,
		"future":   `plugin "stub-b": it printed no result: cniVersion "9.9.9" is not known (want 0.1.0 to 1.1.0)`,
		"signal":   `plugin "stub-b": it was ended by signal 9 (killed); it said "a last word"`,
	} {
		t.Run(do, func(t *testing.T) {
			r := runner(t)
			n, file := chain(t, "0.4.0", nil, map[string]string{"ADD": do}, nil)
			rec := record(n)
			mustPrepare(t, r, rec)
			_, err := r.Add(context.Background(), rec)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error %v\nwant %s", err, want)
			}
			if strings.ContainsAny(fmt.Sprint(err), "\x1b\n") || len(err.Error()) > 4096 {
				t.Errorf("error %q", err)
			}
			list := trace(t, file)
			if got := calls(list); got != "stub-a ADD, stub-b ADD, stub-b DEL, stub-a DEL" {
				t.Errorf("calls: %s", got)
			}
			if last := list[len(list)-1].Stdin["prevResult"]; last == nil {
				t.Error("DEL has no previous result, though there was one")
			}
		})
	}
}

func TestHint(t *testing.T) {
	r := runner(t)
	n, _ := chain(t, "0.4.0", map[string]string{"ADD": "fail"})
	rec := record(n)
	mustPrepare(t, r, rec)
	_, err := r.Add(context.Background(), rec)
	var pe *PluginError
	if !errors.As(err, &pe) || pe.Code != codeTryAgain || hint.Of(err) == "" {
		t.Errorf("error %#v, hint %q", err, hint.Of(err))
	}
}

// TestHang: a plugin that does not end is killed, and what it started with it.
func TestHang(t *testing.T) {
	r := runner(t)
	r.Patience = 500 * time.Millisecond
	n, file := chain(t, "0.4.0", map[string]string{"ADD": "hang", "DEL": "hang"})
	rec := record(n)
	mustPrepare(t, r, rec)
	_, err := r.Add(context.Background(), rec)
	want := `plugin "stub-a": it had not ended after 500ms and was killed; it said "waiting for nobody"`
	if err == nil || err.Error() != want+"\ncannot undo what was done: "+want {
		t.Errorf("error %v", err)
	}
	for _, s := range trace(t, file) {
		gone(t, s.Child)
	}
}

// TestInterrupt: whoever waits no longer ends the plugin, and it is undone.
func TestInterrupt(t *testing.T) {
	r := runner(t)
	n, file := chain(t, "0.4.0", nil, map[string]string{"ADD": "hang"})
	rec := record(n)
	mustPrepare(t, r, rec)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		for len(trace(t, file)) < 2 {
			time.Sleep(time.Millisecond)
		}
		cancel(errors.New("interrupted"))
	}()
	_, err := r.Add(ctx, rec)
	if err == nil || err.Error() != "interrupted" {
		t.Errorf("error %v", err)
	}
	list := trace(t, file)
	if got := calls(list); got != "stub-a ADD, stub-b ADD, stub-b DEL, stub-a DEL" {
		t.Errorf("calls: %s", got)
	}
	gone(t, list[1].Child)
}

// gone waits until no process pid is alive.
func gone(t *testing.T, pid int) {
	t.Helper()
	if pid == 0 {
		t.Fatal("the stub started no child")
	}
	for range 5000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("process %d is still alive", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// TestDaemon: a plugin that leaves something running with its output open has
// ended when it has ended.
func TestDaemon(t *testing.T) {
	r := runner(t)
	n, file := chain(t, "0.4.0", map[string]string{"ADD": "daemon"})
	rec := record(n)
	mustPrepare(t, r, rec)
	if _, err := r.Add(context.Background(), rec); err != nil {
		t.Error(err)
	}
	_ = syscall.Kill(trace(t, file)[0].Child, syscall.SIGKILL)
}

// TestDelGoesOn: a plugin that cannot give back does not keep the others.
func TestDelGoesOn(t *testing.T) {
	r := runner(t)
	n, file := chain(t, "1.1.0", nil, map[string]string{"DEL": "fail"}, map[string]string{"DEL": "exit"})
	rec := record(n)
	mustPrepare(t, r, rec)
	if _, err := r.Add(context.Background(), rec); err != nil {
		t.Fatal(err)
	}
	err := r.Del(context.Background(), rec, "")
	if err == nil || !strings.Contains(err.Error(), `"stub-b"`) || !strings.Contains(err.Error(), `"stub-c"`) {
		t.Errorf("error %v", err)
	}
	if got := calls(trace(t, file)[3:]); got != "stub-c DEL, stub-b DEL, stub-a DEL" {
		t.Errorf("calls: %s", got)
	}
}

// TestVersions: results of other versions reach the next plugin in the
// network's, and before 0.4.0 DEL had no previous result.
func TestVersions(t *testing.T) {
	for _, version := range Versions() {
		t.Run(version, func(t *testing.T) {
			r := runner(t)
			do := "ancient"
			if atLeast(version, "0.3.0") {
				do = "unversioned"
			}
			for _, do := range []string{do, "ancient"} {
				n, file := chain(t, version, map[string]string{"ADD": do}, map[string]string{"ADD": do})
				rec := record(n)
				mustPrepare(t, r, rec)
				res, err := r.Add(context.Background(), rec)
				if err != nil {
					t.Fatal(err)
				}
				if _, ips := res.Of("eth0"); len(ips) != 1 || ips[0].Address.String() != "10.0.0.2/24" {
					t.Errorf("addresses %v", ips)
				}
				previous := trace(t, file)[1].Stdin["prevResult"].(map[string]any)
				if previous["cniVersion"] != version {
					t.Errorf("previous result in %v", previous["cniVersion"])
				}
				if _, old := previous["ip4"]; old == atLeast(version, "0.3.0") {
					t.Errorf("previous result %v", previous)
				}
				if err := r.Del(context.Background(), rec, ""); err != nil {
					t.Error(err)
				}
				if _, has := trace(t, file)[2].Stdin["prevResult"]; has != atLeast(version, "0.4.0") {
					t.Errorf("DEL has a previous result: %v", has)
				}
				err = r.Check(context.Background(), rec, "/x")
				if got := errors.Is(err, ErrNoCheck); got == atLeast(version, "0.4.0") {
					t.Errorf("CHECK: %v", err)
				}
			}
		})
	}
}

func TestPrepareRefuses(t *testing.T) {
	r := runner(t)
	good := func() *Record {
		n, _ := chain(t, "0.4.0", nil)
		return record(n)
	}
	for name, one := range map[string]struct {
		spoil func(*Record)
		want  string
	}{
		"no namespace":  {func(rec *Record) { rec.NetNS = "" }, "there is no network namespace"},
		"container":     {func(rec *Record) { rec.ContainerID = "../x" }, `container ID "../x" cannot be one`},
		"interface":     {func(rec *Record) { rec.IfName = "a/b" }, `interface "a/b" cannot be one`},
		"capability":    {func(rec *Record) { _ = rec.Capabilities.Set(MAC, "02:00:00:00:00:09") }, "no plugin of it has the capability mac"},
		"capability of": {func(rec *Record) { _ = rec.Capabilities.Set("off", true) }, "no plugin of it has the capability off"},
		"plugin":        {func(rec *Record) { rec.Network.Plugins[0].Type = "stub-x" }, `plugin "stub-x" is not in /does/not/exist, ` + r.Path[1]},
	} {
		rec := good()
		one.spoil(rec)
		if err := r.Prepare(context.Background(), rec); err == nil || err.Error() != one.want {
			t.Errorf("%s: error %v, want %s", name, err, one.want)
		}
	}
}

func TestDisableCheck(t *testing.T) {
	r := runner(t)
	n, file := chain(t, "1.0.0", map[string]string{"CHECK": "fail"})
	rec := record(n)
	mustPrepare(t, r, rec)
	if err := r.Check(context.Background(), rec, "/x"); err == nil {
		t.Error("CHECK before ADD is good")
	}
	if _, err := r.Add(context.Background(), rec); err != nil {
		t.Fatal(err)
	}
	if err := r.Check(context.Background(), rec, "/x"); err == nil {
		t.Error("a CHECK that fails is good")
	}
	n.DisableCheck = true
	if err := r.Check(context.Background(), rec, "/x"); err != nil {
		t.Error(err)
	}
	if got := calls(trace(t, file)); got != "stub-a ADD, stub-a CHECK" {
		t.Errorf("calls: %s", got)
	}
}

func TestNegotiate(t *testing.T) {
	r := runner(t)
	network := func(versions []string, types ...string) *Network {
		n := &Network{Name: "n", Versions: versions}
		for _, name := range types {
			n.Plugins = append(n.Plugins, Plugin{Type: name})
		}
		return n
	}
	for _, one := range []struct {
		n    *Network
		want string
	}{
		{network([]string{"1.1.0"}, "stub-old"), "1.1.0"}, // no choice, no question
		{network(Versions(), "stub-a"), "1.1.0"},
		{network(Versions(), "stub-a", "stub-1.0", "stub-a"), "1.0.0"},
		{network([]string{"0.2.0", "0.3.1"}, "stub-1.0"), "0.3.1"},
		{network(Versions(), "stub-old"), "0.1.0"},
		{network(Versions(), "stub-old", "stub-a"), "0.1.0"},
		{network([]string{"0.2.0", "1.1.0"}, "stub-1.0"), ""},
		{network(Versions(), "stub-dumb"), ""},
	} {
		got, err := r.negotiate(context.Background(), one.n)
		if got != one.want || (err == nil) != (one.want != "") {
			t.Errorf("%v %v: %q, %v", one.n.Versions, one.n.Plugins, got, err)
		}
	}
}

func TestStatus(t *testing.T) {
	r := runner(t)
	n, file := chain(t, "1.1.0", nil, map[string]string{"STATUS": "fail"}, nil)
	asked, err := r.Status(context.Background(), n)
	if !asked || err == nil || !strings.Contains(err.Error(), `"stub-b"`) {
		t.Errorf("%v, %v", asked, err)
	}
	if got := calls(trace(t, file)); got != "stub-a STATUS, stub-b STATUS" {
		t.Errorf("calls: %s", got)
	}
	n, file = chain(t, "1.0.0", map[string]string{"STATUS": "fail"})
	if asked, err := r.Status(context.Background(), n); asked || err != nil || len(trace(t, file)) > 0 {
		t.Errorf("%v, %v", asked, err)
	}
}

func TestGC(t *testing.T) {
	r := runner(t)
	valid := []ValidAttachment{{"one", "eth0"}, {"two", "eth1"}}
	n, file := chain(t, "1.1.0", nil, map[string]string{"GC": "fail"}, nil)
	done, err := r.GC(context.Background(), n, valid)
	if !done || err == nil || !strings.Contains(err.Error(), `"stub-b"`) {
		t.Errorf("%v, %v", done, err)
	}
	list := trace(t, file)
	if got := calls(list); got != "stub-a GC, stub-b GC, stub-c GC" { // on after an error
		t.Errorf("calls: %s", got)
	}
	want := []any{map[string]any{"containerID": "one", "ifname": "eth0"}, map[string]any{"containerID": "two", "ifname": "eth1"}}
	if d := cmp.Diff(want, list[0].Stdin["cni.dev/valid-attachments"]); d != "" {
		t.Error(d)
	}
	if env := list[0].Env; env["CNI_PATH"] == "" || env["CNI_CONTAINERID"] != "" || env["CNI_IFNAME"] != "" {
		t.Errorf("environment %v", env)
	}

	// None valid is not the same as not said.
	valid = nil
	n, file = chain(t, "1.1.0", nil)
	if done, err := r.GC(context.Background(), n, valid); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	if got := trace(t, file)[0].Stdin["cni.dev/valid-attachments"]; got == nil {
		t.Error("no list of valid attachments")
	}

	for name, spoil := range map[string]func(*Network){
		"disabled": func(n *Network) { n.DisableGC = true },
		"foreign":  func(n *Network) { n.Foreign = true },
		"old":      func(n *Network) { n.Versions = []string{"1.0.0"} },
	} {
		n, file := chain(t, "1.1.0", nil)
		spoil(n)
		if done, err := r.GC(context.Background(), n, valid); done || err != nil || len(trace(t, file)) > 0 {
			t.Errorf("%s: %v, %v", name, done, err)
		}
	}
}
