// SPDX-License-Identifier: Apache-2.0

package users

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// host is a machine with nobody on it but root.
func host(t *testing.T) Host {
	t.Helper()
	dir := t.TempDir()
	h := Host{Dir: filepath.Join(dir, "locks"), Nspawn: filepath.Join(dir, "nspawn"),
		Accounts: []string{filepath.Join(dir, "passwd")}, Subordinates: []string{filepath.Join(dir, "subuid"), filepath.Join(dir, "missing")}}
	write(t, h.Accounts[0], "root:x:0:0:root:/root:/bin/sh\n\nnot an account\n")
	write(t, h.Subordinates[0], "")
	return h
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

var pick = contract.Users{Count: contract.UsersCount}

func TestPick(t *testing.T) {
	h := host(t)
	seen := map[int64]bool{}
	var held []*Range
	for range 50 {
		r, err := h.Take(pick)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, r)
		if r.First < least || r.First > most || r.First%slot != 0 || r.Count != 65536 || seen[r.First] {
			t.Errorf("got %+v", r.Users)
		}
		seen[r.First] = true
	}
	for _, r := range held {
		r.Close()
	}
	if err := h.Collect(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(h.Dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestPickIsBounded: with all slots but one taken that one is found, and with all
// of them it is an error.
func TestPickIsBounded(t *testing.T) {
	h := host(t)
	free := int64(least + 77*slot)
	write(t, h.Subordinates[0], fmt.Sprintf("a:%d:%d\nb:%d:%d\n", least, free-least, free+slot, most-free))
	r, err := h.Take(pick)
	if err != nil || r.First != free {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := h.Take(pick); err == nil || !strings.Contains(err.Error(), "are taken") {
		t.Errorf("nothing is free: %v", err)
	}
	r.Close()
	if r, err = h.Take(pick); err != nil || r.First != free {
		t.Errorf("given back: %+v, %v", r, err)
	}
}

func TestFixed(t *testing.T) {
	h := host(t)
	write(t, h.Accounts[0], "ldap:x:200000:200000::/:/bin/sh\n")
	write(t, h.Subordinates[0], "alice:300000:65536\n")
	if err := os.Mkdir(h.Nspawn, 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := h.Take(contract.Users{First: 1_000_000, Count: 65536}) // in two slots
	if err != nil {
		t.Fatal(err)
	}
	if len(first.FDs()) != 4 {
		t.Errorf("two slots are held by %v", first.FDs())
	}
	for want, why := range map[contract.Users]string{
		{First: 1_000_000, Count: 65536}: "another pod",
		{First: 1_060_000, Count: 10}:    "another pod", // the same slot
		{First: 199_000, Count: 1001}:    "200000 is ldap",
		{First: 365_535, Count: 5}:       "for alice",
		{First: 290_000, Count: 10_001}:  "for alice",
	} {
		if r, err := h.Take(want); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%+v: %+v, %v", want, r, err)
		}
	}
	for _, want := range []contract.Users{{First: 400_000, Count: 10}, {First: 70_000, Count: 65536}} {
		r, err := h.Take(want)
		if err != nil {
			t.Errorf("%+v: %v", want, err)
		}
		r.Close()
	}
	defer first.Close() // held until then, whatever the garbage collector thinks of it
	// Collect leaves what is held.
	if err := h.Collect(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(h.Dir); err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", left, err)
	}
	if left, err := os.ReadDir(h.Nspawn); err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestNspawn: a slot whose lock systemd-nspawn has is passed over, and one of ours
// is locked for it.
func TestNspawn(t *testing.T) {
	h := host(t)
	if err := os.Mkdir(h.Nspawn, 0o755); err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(filepath.Join(h.Nspawn, fmt.Sprint(int64(least))), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := ofdLock(theirs); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Take(contract.Users{First: least, Count: 1}); err == nil || !strings.Contains(err.Error(), "systemd-nspawn") {
		t.Errorf("%v", err)
	}
	r, err := h.Take(contract.Users{First: least + slot, Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.OpenFile(filepath.Join(h.Nspawn, fmt.Sprint(int64(least+slot))), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if err := ofdLock(ours); err == nil {
		t.Error("systemd-nspawn could have taken it, too")
	}
	r.Close()
	if err := ofdLock(ours); err != nil {
		t.Errorf("given back: %v", err)
	}
}

// TestNspawnLater: what is taken before systemd-nspawn has run at all is locked for
// it, where it can run.
func TestNspawnLater(t *testing.T) {
	h := host(t)
	h.Nspawn = filepath.Join(filepath.Dir(h.Dir), "systemd", "nspawn-uid")
	r, err := h.Take(contract.Users{First: least, Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := os.Stat(filepath.Dir(h.Nspawn)); err == nil {
		t.Error("systemd's directory was made")
	}
	if err := os.Mkdir(filepath.Dir(h.Nspawn), 0o755); err != nil {
		t.Fatal(err)
	}
	if r, err = h.Take(contract.Users{First: least, Count: 1}); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	theirs, err := os.OpenFile(filepath.Join(h.Nspawn, fmt.Sprint(int64(least))), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := ofdLock(theirs); err == nil {
		t.Error("systemd-nspawn could take it, too")
	}
}

// TestInherited: a range is held as long as any process has it.
func TestInherited(t *testing.T) {
	h := host(t)
	want := contract.Users{First: least, Count: 65536}
	r, err := h.Take(want)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.ExtraFiles = r.files
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := h.Take(want); err == nil {
		t.Error("it was taken from a living process")
	}
	if err := h.Collect(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Take(want); err == nil {
		t.Error("Collect took it from a living process")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := h.Take(want); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

// TestCollectLate: a collector that opened a slot's files before another removed
// them leaves those that a new holder has made since.
func TestCollectLate(t *testing.T) {
	h := host(t)
	if err := os.Mkdir(h.Nspawn, 0o755); err != nil {
		t.Fatal(err)
	}
	want := contract.Users{First: least, Count: 65536}
	r, err := h.Take(want)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	name := fmt.Sprint(int64(least))
	paths := []string{filepath.Join(h.Dir, name), filepath.Join(h.Nspawn, name)}
	var late []*os.File
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		late = append(late, f)
	}
	if err := h.Collect(); err != nil {
		t.Fatal(err)
	}
	if r, err = h.Take(want); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := flock.TryLock(late[0], flock.Exclusive); err != nil {
		t.Fatal(err)
	}
	if err := ofdLock(late[1]); err != nil {
		t.Fatal(err)
	}
	for i, f := range late {
		if removed, err := remove(f, paths[i]); err != nil || removed {
			t.Errorf("%s: %v, %v", paths[i], removed, err)
		}
		if _, err := os.Stat(paths[i]); err != nil {
			t.Error(err)
		}
	}
	if _, err := h.Take(want); err == nil {
		t.Error("a slot has two holders")
	}
}

// TestRace: many at once, with Collect among them, never share a slot.
func TestRace(t *testing.T) {
	h := host(t)
	// More than there are takers: Collect has a free one in its hands for a moment.
	write(t, h.Subordinates[0], fmt.Sprintf("a:%d:%d\n", least+16*slot, most-least))
	var mu sync.Mutex
	held := map[int64]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				r, err := h.Take(pick)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if held[r.First] {
					t.Errorf("%d is held twice", r.First)
				}
				held[r.First] = true
				mu.Unlock()
				if err := h.Collect(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				delete(held, r.First)
				mu.Unlock()
				r.Close()
			}
		})
	}
	wg.Wait()
}
