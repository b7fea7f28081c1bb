// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestBound: the machine has limits of its own by the controllers that are there, and
// the pod's are not in its way. (A directory stands for a cgroup of version 2.)
func TestBound(t *testing.T) {
	for _, controllers := range []string{"cpu memory pids", "pids", ""} {
		dir := t.TempDir()
		for file, text := range map[string]string{"cgroup.controllers": controllers, "cgroup.subtree_control": "", "memory.max": "1", "memory.high": "1", "pids.max": "1"} {
			if err := os.WriteFile(dir+"/"+file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		doc := &contract.Pod{Cgroup: dir, Apps: []contract.App{{Name: "app", Limits: contract.Limits{Memory: 64 * mebibyte}}}}
		fd, err := openCgroup(doc)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		want := map[string]string{"memory.max": "1", "pids.max": "1", ".machine/memory.max": "", ".machine/pids.max": ""}
		if controllers != "" {
			want["pids.max"], want[".machine/pids.max"] = "max", strconv.Itoa(threads+1)
		}
		if controllers == "cpu memory pids" {
			// 64 MiB, 96 for the guest, a sixty-fourth of that, and the programs'.
			want["memory.max"], want[".machine/memory.max"] = "max", strconv.Itoa((163+512)<<20)
		}
		for file, text := range want {
			if got, err := os.ReadFile(dir + "/" + file); string(got) != text || text != "" && err != nil {
				t.Errorf("with %q %s is %q, want %q (%v)", controllers, file, got, text, err)
			}
		}
	}
}

// TestBoundFails: a bound that cannot be set is an error, whatever bounds come after it.
func TestBoundFails(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{"cgroup.controllers": "memory pids", "cgroup.subtree_control": "", "pids.max": "1"} {
		if err := os.WriteFile(dir+"/"+file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/memory.max", 0o700); err != nil { // which nobody can write
		t.Fatal(err)
	}
	if fd, err := openCgroup(&contract.Pod{Cgroup: dir}); err == nil {
		unix.Close(fd)
		t.Error("the machine's memory has no bound, and nobody is told")
	}
}
