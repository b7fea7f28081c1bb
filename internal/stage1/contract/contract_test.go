// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"reflect"
	"testing"
)

func TestEvents(t *testing.T) {
	text := UsersLine(Users{First: 1 << 30, Count: 65536}, 4) + InitLine(12, 5) + StartedLine("a", 13, 6) + StartedLine("b", 14, 7) + "later thing 1 2 3\n" +
		OOMLine("a", 2, 8) + ExitedLine("a", 137, 8) + "exited b 0"
	e := ParseEvents(text)
	if e.Init != 12 || e.Started.UnixNano() != 5 || e.Users != (Users{First: 1 << 30, Count: 65536}) {
		t.Errorf("init: %+v", e)
	}
	if a := e.Apps["a"]; a.PID != 13 || !a.Ended || a.Status != 137 || a.OOMKills != 2 || a.Finished.UnixNano() != 8 {
		t.Errorf("a: %+v", a)
	}
	if b := e.Apps["b"]; b.PID != 14 || b.Ended {
		t.Errorf("b: a line cut short must not count: %+v", b)
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add(InitLine(1, 2) + ExitedLine("x", 3, 4))
	f.Fuzz(func(t *testing.T, s string) { ParseEvents(s) })
}

func TestCgroupDirs(t *testing.T) {
	p := &Pod{Cgroup: "/u/rkt-x", Controllers: map[string]string{"cpu": "/c/rkt-x", "cpuset": "/c/rkt-x", "io": "/b/rkt-x"},
		Limits: Limits{BlockIOPS: 1}, Apps: []App{{Name: "a"}}}
	if got := p.CgroupDirs(); !reflect.DeepEqual(got, []string{"/u/rkt-x", "/c/rkt-x", "/b/rkt-x"}) {
		t.Errorf("%q", got)
	}
	// Version 1 of blkio does not hold for cgroups below: the app is in the pod's.
	want := map[string]string{"cpu": "/c/rkt-x/a", "cpuset": "/c/rkt-x/a", "io": "/b/rkt-x"}
	if got := p.AppControllers("a"); !reflect.DeepEqual(got, want) || p.Aside() != "" {
		t.Errorf("%q, aside %q", got, p.Aside())
	}
	p.Controllers["io"] = p.Cgroup
	if got := p.AppControllers("a"); got["io"] != "/u/rkt-x/a" || p.Aside() != "/u/rkt-x-rkt" {
		t.Errorf("%q, aside %q", got, p.Aside())
	}
}

func TestInherited(t *testing.T) {
	h := &Inherited{Control: 3, Lock: 4, Pod: 5, Held: []int{14, 15}, Apps: []InheritedApp{{Root: 6, Cgroup: 7, Groups: []int{8, 9}},
		{Root: 10, Log: 11, Stdout: 16, Stderr: 17, Sockets: []InheritedSocket{{12, "http"}, {13, "80-tcp"}}}}}
	got, err := ParseInherited(h.Encode())
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("%+v, %v", got, err)
	}
	if d := h.Descriptors(); len(d) != 15 {
		t.Errorf("descriptors %v", d)
	}
	for _, text := range []string{"", "1", "1 2 3 4", "1 2 3 4 5", "3 4 5 0 1", "3 4 5 0 2 6", "3 4 5 0 0 6 7 0 0 0 0 0 2 8", "3 4 5 0 0 6 7 0 0 0 0 0 x", "3 4 5 0 0 6 7 0 0 0 0 0 -1",
		"3 4 5 0 0 6 7 0 0 0 0 0 0", "3 4 5 0 0 6 7 0 0 0 0 0 0 1 8", "3 4 5 0 0 6 7 0 0 0 0 0 0 2 8 http"} {
		if h, err := ParseInherited(text); err == nil {
			t.Errorf("%q is %+v", text, h)
		}
	}
}

func TestUsers(t *testing.T) {
	none, own := Users{}, Users{First: 1 << 30, Count: 1 << 16}
	if n, err := none.Inside(7); n != 7 || err != nil || none.Host(7) != 7 || none.Has(1<<31) != nil {
		t.Errorf("a pod with the host's users: %d, %v", n, err)
	}
	if n, err := own.Inside(1<<30 + 7); n != 7 || err != nil || own.Host(7) != 1<<30+7 {
		t.Errorf("%d, %v", n, err)
	}
	for _, host := range []uint32{0, 1<<30 - 1, 1<<30 + 1<<16, 1<<32 - 1} {
		if n, err := own.Inside(host); err == nil {
			t.Errorf("%d is %d", host, n)
		}
	}
	if own.Has(65535) != nil || own.Has(65536) == nil {
		t.Error("the bound")
	}
}
