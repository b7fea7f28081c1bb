// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	reference "tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/rkt/rkt/internal/hint"
)

// specs are specifications and whether they are one.
var specs = map[string]bool{
	`{"cdiVersion":"0.3.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                                 true,
	`{"cdiVersion":"v0.3.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                                true,
	`{"cdiVersion":"0.2.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                                 false,
	`{"cdiVersion":"9.0.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                                 false,
	`{"cdiVersion":"1.1.0","kind":"vendor.com/class","devices":[]}`:                                                                                                              false,
	`{"cdiVersion":"1.1.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{}}]}`:                                                                              false,
	`{"cdiVersion":"1.1.0","kind":"vendor.com","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                                       false,
	`{"cdiVersion":"1.1.0","kind":"vendor.com/cl_ass-","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                               false,
	`{"cdiVersion":"1.1.0","kind":"1vendor.com/class","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                                false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/cl.ass","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                                false,
	`{"cdiVersion":"0.6.0","kind":"vendor.com/cl.ass","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                                true,
	`{"cdiVersion":"0.4.0","kind":"vendor.com/class","devices":[{"name":"0","containerEdits":{"env":["A=1"]}}]}`:                                                                 false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"0","containerEdits":{"env":["A=1"]}}]}`:                                                                 true,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"0:1","containerEdits":{"env":["A=1"]}}]}`:                                                               true,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a/b","containerEdits":{"env":["A=1"]}}]}`:                                                               false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"env":["A=1"]}},{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                   false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"env":["A"]}}]}`:                                                                   false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","unknown":1,"devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                                     false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","annotations":{"a":"b"},"devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`:                                         false,
	`{"cdiVersion":"0.6.0","kind":"vendor.com/class","annotations":{"a":"b"},"devices":[{"name":"a","annotations":{"c":"d"},"containerEdits":{"env":["A=1"]}}]}`:                 true,
	`{"cdiVersion":"0.4.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/null"}]}}]}`:                      false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/null"}]}}]}`:                      true,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/null","type":"c","major":1,"minor":5}]}}]}`:           true,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/nosuch","type":"u","major":1,"minor":5,"uid":7}]}}]}`: true,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/null","type":"x"}]}}]}`:                               false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/null","permissions":"rx"}]}}]}`:                       false,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/null","permissions":"r","fileMode":384,"gid":5}]}}]}`: true,
	`{"cdiVersion":"0.5.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":""}]}}]}`:                                                   false,
	`{"cdiVersion":"0.3.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"mounts":[{"hostPath":"/etc","containerPath":"/e","type":"none"}]}}]}`:             false,
	`{"cdiVersion":"0.4.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"mounts":[{"hostPath":"/etc","containerPath":"/e","type":"none"}]}}]}`:             true,
	`{"cdiVersion":"0.4.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"mounts":[{"hostPath":"/etc"}]}}]}`:                                                false,
	`{"cdiVersion":"0.4.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"mounts":[{"hostPath":"/etc","containerPath":"/e","options":["ro","rbind"]}]}}]}`:  true,
	`{"cdiVersion":"0.6.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"additionalGids":[5]}}]}`:                                                          false,
	`{"cdiVersion":"0.7.0","kind":"vendor.com/class","containerEdits":{"additionalGids":[6,0],"env":["B=2"]},"devices":[{"name":"a","containerEdits":{"additionalGids":[5]}}]}`:  true,
	`{"cdiVersion":"0.6.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"intelRdt":{"closID":"x"}}}]}`:                                                     false,
	`{"cdiVersion":"1.0.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"netDevices":[{"hostInterfaceName":"x","name":"y"}]}}]}`:                           false,
	`{"cdiVersion":"1.0.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"hooks":[{"hookName":"nosuch","path":"/x"}]}}]}`:                                   false,
	`{"cdiVersion":"1.0.0","kind":"vendor.com/class","devices":[{"name":"a","containerEdits":{"hooks":[{"hookName":"createContainer","path":""}]}}]}`:                            false,
	`[]`: false,
	``:   false,
}

// TestOracle: the specification's own library takes the same files, and makes the
// same of them.
func TestOracle(t *testing.T) {
	for text, valid := range specs {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/a.json", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cache, err := reference.NewCache(reference.WithSpecDirs(dir), reference.WithAutoRefresh(false))
		if err != nil {
			t.Fatal(err)
		}
		if broken := len(cache.GetErrors()) > 0; broken == valid {
			t.Errorf("%s\nthe library has %v, the table valid %v", text, cache.GetErrors(), valid)
		}
		s, err := parse([]byte(text))
		if (err == nil) != valid {
			t.Errorf("%s\n%v, want valid %v", text, err, valid)
		}
		if err != nil || !valid {
			continue
		}
		name := s.Kind + "=" + s.Devices[0].Name
		spec := &oci.Spec{Process: &oci.Process{}}
		if _, err := cache.InjectDevices(spec, name); err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		r, err := Load([]string{dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := r.Edits([]string{name})
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		compare(t, text, e, spec)
	}
}

// compare holds what we found against what the library did to an OCI spec.
func compare(t *testing.T, text string, e *Edits, spec *oci.Spec) {
	t.Helper()
	var gids []uint32
	for _, g := range e.GIDs {
		if g != 0 {
			gids = append(gids, g)
		}
	}
	var mounts []oci.Mount
	for _, m := range e.Mounts {
		mounts = append(mounts, oci.Mount{Source: m.HostPath, Destination: m.ContainerPath, Type: m.Type, Options: m.Options})
	}
	for _, d := range []string{
		cmp.Diff(spec.Process.Env, e.Env, cmpopts.EquateEmpty()),
		cmp.Diff(spec.Process.User.AdditionalGids, gids, cmpopts.EquateEmpty()),
		cmp.Diff(spec.Mounts, mounts, cmpopts.EquateEmpty()),
	} {
		if d != "" {
			t.Errorf("%s\n%s", text, d)
		}
	}
	var theirs []oci.LinuxDevice
	if spec.Linux != nil {
		theirs = spec.Linux.Devices
	}
	if len(theirs) != len(e.Nodes) {
		t.Fatalf("%s\nthey have %+v, we %+v", text, theirs, e.Nodes)
	}
	for i, n := range e.Nodes {
		d := theirs[i]
		if n.Type == "" || n.Major == 0 { // theirs is filled in from the host
			host := n.HostPath
			if host == "" {
				host = n.Path
			}
			var st unix.Stat_t
			if err := unix.Stat(host, &st); err != nil {
				t.Fatal(err)
			}
			n.Type, n.Major, n.Minor = "c", int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		}
		if d.Path != n.Path || d.Type != n.Type || d.Major != n.Major || d.Minor != n.Minor ||
			cmp.Diff(d.UID, n.UID) != "" || cmp.Diff(d.GID, n.GID) != "" || n.FileMode != nil && *d.FileMode != *n.FileMode {
			t.Errorf("%s\nthey have %+v, we %+v", text, d, n)
		}
	}
}

// write makes a specification of devices, each of which says where it is from.
func write(t *testing.T, path, kind string, names ...string) {
	t.Helper()
	s := map[string]any{"cdiVersion": "0.5.0", "kind": kind, "containerEdits": map[string]any{"env": []string{"SPEC=" + filepath.Base(path)}}}
	var list []any
	for _, n := range names {
		list = append(list, map[string]any{"name": n, "containerEdits": map[string]any{"env": []string{"FROM_" + n + "=" + filepath.Base(path)}}})
	}
	s["devices"] = list
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPriority: what is in a later directory goes first; twice in one directory is
// a conflict. The library is the oracle; version 1.1.0 of
// it panics over a class of one letter.
func TestPriority(t *testing.T) {
	low, high := t.TempDir(), t.TempDir()
	write(t, low+"/one.json", "v.com/class", "a", "b", "twice", "thrice")
	write(t, low+"/two.json", "v.com/class", "twice", "thrice", "d")
	write(t, high+"/three.json", "v.com/class", "b", "thrice")
	if err := os.WriteFile(low+"/broken.json", []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	dirs := []string{low, high, filepath.Join(high, "missing")}
	cache, err := reference.NewCache(reference.WithSpecDirs(dirs...), reference.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Load(dirs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range [][]string{{"a"}, {"b"}, {"d"}, {"thrice"}, {"twice"}, {"nosuch"}, {"a", "b"}, {"b", "thrice"}, {"a", "d"}, {"a", "a"}} {
		var full []string
		for _, n := range names {
			full = append(full, "v.com/class="+n)
		}
		spec := &oci.Spec{Process: &oci.Process{}}
		_, theirs := cache.InjectDevices(spec, full...)
		e, ours := r.Edits(full)
		if (theirs == nil) != (ours == nil) {
			t.Errorf("%q: they say %v, we %v", names, theirs, ours)
			continue
		}
		if ours != nil {
			continue
		}
		// They set a variable, where we leave that to who has the environment.
		var env []string
		for _, v := range e.Env {
			name, _, _ := strings.Cut(v, "=")
			if i := slices.IndexFunc(env, func(o string) bool { return strings.HasPrefix(o, name+"=") }); i >= 0 {
				env[i] = v
			} else {
				env = append(env, v)
			}
		}
		if d := cmp.Diff(spec.Process.Env, env); d != "" {
			t.Errorf("%q: %s", names, d)
		}
	}
	_, err = r.Edits([]string{"v.com/class=nosuch"})
	if text := fmt.Sprint(err, hint.Of(err)); !strings.Contains(text, "broken.json") {
		t.Errorf("what could not be read is not told: %s", text)
	}
}

// TestRefused: what rkt cannot do is refused by its name.
func TestRefused(t *testing.T) {
	for edit, want := range map[string]string{
		`{"hooks":[{"hookName":"createContainer","path":"/usr/bin/nvidia-ctk"}]}`: "createContainer: /usr/bin/nvidia-ctk",
		`{"intelRdt":{"closID":"x"}}`:                           "intelRdt",
		`{"netDevices":[{"hostInterfaceName":"x","name":"y"}]}`: "netDevices",
		`{"deviceNodes":[{"path":"/dev/x","type":"p"}]}`:        "fifo",
	} {
		dir := t.TempDir()
		text := `{"cdiVersion":"1.1.0","kind":"v.com/class","devices":[{"name":"a","containerEdits":` + edit + `}]}`
		if err := os.WriteFile(dir+"/a.yaml", []byte("is: YAML"), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := Load([]string{dir}, func([]byte) ([]byte, error) { return []byte(text), nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Edits([]string{"v.com/class=a"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", edit, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for text := range specs {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse([]byte(text))
		if err != nil {
			return
		}
		r := &Registry{found: map[string]place{}}
		r.add(s, "x", 0)
		for i := range s.Devices {
			_, _ = r.Edits([]string{s.Kind + "=" + s.Devices[i].Name})
		}
	})
}
