// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/kvm/vmm"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// startKeeper starts this program: here it is a keeper whose machine hangs under KVM,
// and whose guest says no more than its greeting under emulation.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "keep" {
		if os.Args[2] == string(vmm.TCG) {
			g := wire.Greeting{Version: wire.Version}
			_ = wire.NewWriter(endpoint(keeperControl)).Write(wire.Frame{Kind: wire.Hello, Payload: g.Encode()})
		}
		for os.Args[2] != "none" {
			time.Sleep(time.Hour)
		}
		os.Exit(keeperFailed)
	}
	os.Exit(m.Run())
}

// TestMachineHangs: a machine that does not come up under KVM is ended when its time
// is over, emulation takes its place, and that is remembered.
func TestMachineHangs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // as in Run
	defer runtime.UnlockOSThread()
	t.Chdir(t.TempDir())
	foundFile = filepath.Join(t.TempDir(), "kvm")
	defer func(path string) { foundFile = path }("/run/rkt/kvm")
	events, err := poddir.OpenEvents(".")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	r := &runner{doc: &contract.Pod{UUID: "pod"}, lock: int(lock.Fd()), events: events, noted: map[string]string{}, killed: map[string]int{}}
	const limit = 500 * time.Millisecond
	began := time.Now()
	m, err := r.comeUp([]try{{vmm.KVM, limit, true}, {vmm.TCG, time.Minute, false}}, 0)
	if err != nil || m == nil {
		t.Fatalf("no machine: %v", err)
	}
	if took := time.Since(began); took < limit {
		t.Errorf("it was up after %v", took)
	}
	text, err := os.ReadFile(contract.EventsFile)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "init "); n != 2 {
		t.Errorf("%d machines were started", n)
	}
	var hung int
	for line := range strings.Lines(string(text)) {
		if hung == 0 {
			hung = contract.ParseEvents(line).Init
		}
	}
	if err := unix.Kill(hung, 0); hung == 0 || err != unix.ESRCH {
		t.Errorf("the machine that hangs, %d, is there: %v", hung, err)
	}
	if b, err := os.ReadFile(foundFile); err != nil || !strings.Contains(string(b), boot()+" no guest came up within ") {
		t.Errorf("remembered: %q, %v", b, err)
	}
	if _, err := r.end(); err != nil {
		t.Error(err)
	}
	// A keeper that fails says nothing of KVM.
	if err := os.Remove(foundFile); err != nil {
		t.Fatal(err)
	}
	if m, err = r.comeUp([]try{{"none", time.Minute, true}, {vmm.TCG, time.Minute, false}}, 0); err == nil || !strings.Contains(err.Error(), "status 254") {
		t.Errorf("a keeper that fails is %v, %v", m, err)
	}
	if _, err := os.Stat(foundFile); err == nil {
		t.Error("that was remembered")
	}
	// With nothing else to try, that is the pod's end.
	if m, err = r.comeUp([]try{{vmm.KVM, limit, false}}, 0); err == nil || !strings.Contains(err.Error(), "did not come up within 500ms (kvm)") {
		t.Errorf("a machine that hangs is %v, %v", m, err)
	}
}

// TestProbeIsBounded: where there is a /dev/kvm of which nothing is known, KVM has 5
// seconds, and emulation follows.
func TestProbeIsBounded(t *testing.T) {
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil {
		t.Skip("needs /dev/kvm")
	}
	foundFile = filepath.Join(t.TempDir(), "kvm")
	defer func(path string) { foundFile = path }("/run/rkt/kvm")
	list := tries("auto")
	if len(list) != 2 || list[0] != (try{vmm.KVM, 5 * time.Second, true}) || list[1].accelerator != vmm.TCG {
		t.Errorf("%v", list)
	}
}
