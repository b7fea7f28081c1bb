// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package escape

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// inMachine are attempts of the table that are made in a virtual machine too, which
// takes seconds for each: those that want something of the host's, and some that
// show that the guest's own walls are there.
var inMachine = []string{"core_pattern", "a second /proc", "mknod in a volume", "a node in a volume", "a handle (shocker)", "the host's files",
	"pid 1: ptrace", "a signal to the host", "a user namespace", "bpf", "an abstract socket (CVE-2020-15257)", "the host's loopback"}

// TestEscapeKVM: in the kvm flavor the same attempts fail, and those that are about
// the host also with every wall in the guest taken away: the machine holds alone.
func TestEscapeKVM(t *testing.T) {
	for _, program := range []string{"qemu-system-x86_64", "/usr/lib/qemu/virtiofsd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	w := newWorld(t)
	if out, err := exec.Command("go", "run", "github.com/rkt/rkt/tools/stage1-kvm", "-o", install.Dir).CombinedOutput(); err != nil {
		t.Fatalf("cannot make the kvm flavor: %v\n%s", err, out)
	}
	kvm := flags{pod: []string{"--stage1-name=kvm", "--net=none"}}
	for _, r := range attempts {
		if !slices.Contains(inMachine, r.name) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			got := inPod(t, w.host, w.image, w.fill(kvm.and(r.with)), w.words(r.try)...)
			if got.done || got.said == "" || strings.HasPrefix(got.said, "no such attempt") {
				t.Errorf("%s: %q", r.try, got.said)
			}
		})
	}
	for name, try := range map[string][]string{
		"the host's files":    {"exists", "$SECRET"},
		"a handle (shocker)":  {"handle", "/v", "$HANDLETYPE", "$HANDLE"},
		"above a volume":      {"holds", "/v/../secret", "precious"},
		"a node in a volume":  {"open-device", "/v/made"},
		"the host's loopback": {"connect", "tcp", "$TCP"},
	} {
		t.Run(name+", without walls", func(t *testing.T) {
			got := inPod(t, w.host, w.image, w.fill(kvm.and(noWalls).and(volume)), w.words(try)...)
			if got.done || got.said == "" || strings.HasPrefix(got.said, "no such attempt") {
				t.Errorf("%s: %q", try, got.said)
			}
		})
	}
	w.unharmed(t)
}
