// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/pod"
)

const (
	one   = pod.UUID("11111111-1111-4111-8111-111111111111")
	two   = pod.UUID("22222222-2222-4222-8222-222222222222")
	three = pod.UUID("33333333-3333-4333-8333-333333333333")
)

func only(alive ...pod.UUID) func(pod.UUID) bool {
	return func(id pod.UUID) bool {
		for _, a := range alive {
			if a == id {
				return true
			}
		}
		return false
	}
}

func open(t *testing.T, dir string) (*Lock, Kind) {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	k, err := l.Kind("net", "leases")
	if err != nil {
		t.Fatal(err)
	}
	return l, k
}

func TestTake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "networks")
	_, k := open(t, dir)
	if empty, err := k.Empty(); err != nil || !empty {
		t.Errorf("at first: %v, %v", empty, err)
	}
	if was, err := k.Take("10.0.0.2", Holder{one, "eth0"}, nil); err != nil || was != nil {
		t.Fatalf("%v, %v", was, err)
	}
	// Nobody takes what somebody has, not even that one.
	for _, id := range []pod.UUID{one, two} {
		_, err := k.Take("10.0.0.2", Holder{id, ""}, only(one))
		if held := (*HeldError)(nil); !errors.As(err, &held) || held.By != (Holder{one, "eth0"}) {
			t.Errorf("%v", err)
		}
	}
	// What a dead one has is taken over.
	if was, err := k.Take("10.0.0.2", Holder{two, "eth1"}, only(two)); err != nil || was == nil || was.UUID != one {
		t.Errorf("%v, %v", was, err)
	}
	if err := k.GiveBack("10.0.0.2", one); err != nil {
		t.Error(err)
	}
	if h, err := k.Holder("10.0.0.2"); err != nil || h != (Holder{two, "eth1"}) {
		t.Errorf("given back by who does not have it: %v, %v", h, err)
	}
	if empty, _ := k.Empty(); empty {
		t.Error("empty with a lease in it")
	}
	for range 2 {
		if err := k.GiveBack("10.0.0.2", two); err != nil {
			t.Error(err)
		}
	}
	if empty, _ := k.Empty(); !empty {
		t.Error("not empty after all is given back")
	}
}

// A file that a dying process left without its content is nobody's.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	_, k := open(t, dir)
	for name, text := range map[string]string{"empty": "", "cut": string(one)[:20], "no end": string(one) + " eth0", "nonsense": "x y\n"} {
		if err := os.WriteFile(filepath.Join(dir, "net", "leases", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if was, err := k.Take(name, Holder{two, "eth0"}, nil); err != nil || was != nil {
			t.Errorf("%s: %v, %v", name, was, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "net", "leases", "again"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := k.Held()
	if err != nil || len(held) != 4 {
		t.Errorf("%v, %v", held, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "net", "leases", "again")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nobody's lease stays: %v", err)
	}
}

func TestDrop(t *testing.T) {
	_, k := open(t, t.TempDir())
	for name, id := range map[string]pod.UUID{"a": one, "b": two, "c": three, "d": one} {
		if _, err := k.Take(name, Holder{id, name}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.SetMark("7"); err != nil || k.Mark() != "7" {
		t.Errorf("mark %q, %v", k.Mark(), err)
	}
	gone, err := k.Drop(only(two))
	if d := cmp.Diff(map[string]Holder{"a": {one, "a"}, "c": {three, "c"}, "d": {one, "d"}}, gone); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if names, err := k.Names(); err != nil || len(names) != 1 || names[0] != "b" || k.Mark() != "7" {
		t.Errorf("left: %q, mark %q, %v", names, k.Mark(), err)
	}
}

// Each of many takers, each with a lock of its own, gets another number.
func TestTakersSideBySide(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for range 10 {
				l, err := Open(dir)
				if err != nil {
					t.Error(err)
					return
				}
				k, err := l.Kind("leases")
				name := ""
				for n := 0; err == nil && name == ""; n++ {
					_, terr := k.Take(strconv.Itoa(n), Holder{one, strconv.Itoa(i)}, nil)
					if held := (*HeldError)(nil); errors.As(terr, &held) {
						continue
					}
					name, err = strconv.Itoa(n), terr
				}
				if cerr := l.Close(); err != nil || cerr != nil {
					t.Error(err, cerr)
					return
				}
				mu.Lock()
				if other, twice := got[name]; twice {
					t.Errorf("%s was given to %d and %d", name, other, i)
				}
				got[name] = i
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(got) != 200 {
		t.Errorf("%d numbers", len(got))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(one + " eth0\n"))
	f.Add([]byte(one + " \n more"))
	f.Add([]byte(" \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parse(b)
		if err != nil {
			return
		}
		back, err := parse([]byte(string(h.UUID) + " " + h.Note + "\n"))
		if err != nil || back != h {
			t.Errorf("%+v reads as %+v, %v", h, back, err)
		}
	})
}
