// SPDX-License-Identifier: Apache-2.0

package caps

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "caps-child" {
		child(os.Args[2])
	}
	os.Exit(m.Run())
}

func TestNames(t *testing.T) {
	if len(names) != unix.CAP_LAST_CAP+1 {
		t.Errorf("%d names, x/sys has %d", len(names), unix.CAP_LAST_CAP+1)
	}
	for n := range names {
		if names[n] == "" {
			t.Errorf("capability %d has no name", n)
		}
		for _, s := range []string{Name(n), names[n], strings.ToLower(Name(n)), strings.ToLower(names[n]), "cAp_" + names[n]} {
			if got, ok := Number(s); !ok || got != n {
				t.Errorf("Number(%q) = %d, %v; want %d", s, got, ok, n)
			}
		}
	}
	for _, s := range []string{"", "CAP_", "CAP", "CAP_CAP_CHOWN", "CHOWN ", "CAP_41", "ſETUID", "Kill\u0000", "all"} {
		if n, ok := Number(s); ok {
			t.Errorf("Number(%q) = %d", s, n)
		}
	}
}

// libcap decodes the numbers as we do.
func TestNamesAgainstLibcap(t *testing.T) {
	capsh, err := exec.LookPath("capsh")
	if err != nil {
		t.Skip("needs capsh (libcap2-bin)")
	}
	for n := range names {
		out, err := exec.Command(capsh, "--decode="+fmt.Sprintf("%x", uint64(1)<<n)).Output()
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(strings.TrimSpace(string(out)), "=")
		if got != strings.ToLower(Name(n)) {
			t.Errorf("capability %d: capsh says %q, we %q", n, got, Name(n))
		}
	}
}

func TestSets(t *testing.T) {
	s, err := Parse([]string{"chown", "CAP_SYS_ADMIN", "cap_bpf", "CHOWN"})
	if err != nil || s != Of(unix.CAP_CHOWN, unix.CAP_SYS_ADMIN, unix.CAP_BPF) {
		t.Errorf("Parse = %v, %v", s, err)
	}
	if got := s.String(); got != "CAP_CHOWN,CAP_SYS_ADMIN,CAP_BPF" {
		t.Errorf("String = %q", got)
	}
	if got := Set(0).String(); got != "none" {
		t.Errorf("String of nothing = %q", got)
	}
	if !s.Has(unix.CAP_BPF) || s.Has(unix.CAP_KILL) || s.Has(-1) || s.Has(64) || s.Len() != 3 {
		t.Errorf("Has or Len is wrong: %v", s)
	}
	if _, err := Parse([]string{"CAP_CHOWN", "CAP_FROB"}); err == nil || err.Error() != `cannot use capability "CAP_FROB": no such capability` {
		t.Errorf("error %v", err)
	}
	if Default().Len() != 14 {
		t.Errorf("default: %v", Default())
	}
	s, err = Remove([]string{"CAP_MKNOD", "CAP_SYS_ADMIN"})
	if err != nil || s != Default()&^(1<<unix.CAP_MKNOD) {
		t.Errorf("Remove = %v, %v", s, err)
	}
	if _, err := Remove([]string{"x"}); err == nil {
		t.Error("Remove of an unknown name: no error")
	}
}

func TestChoose(t *testing.T) {
	known := Set(1)<<41 - 1
	have := known &^ (1 << unix.CAP_SYS_RESOURCE)
	for _, tt := range []struct {
		names        []string
		have         Set
		set, missing Set
		err          string
	}{
		{nil, have, Default(), 0, ""},
		{nil, Of(unix.CAP_CHOWN), Of(unix.CAP_CHOWN), Default() &^ 1, ""},
		{[]string{}, have, 0, 0, ""},
		{[]string{"CAP_KILL", "sys_admin"}, have, Of(unix.CAP_KILL, unix.CAP_SYS_ADMIN), 0, ""},
		{[]string{"all"}, have, have, Of(unix.CAP_SYS_RESOURCE), ""},
		{[]string{"ALL", "CAP_KILL"}, have, have, Of(unix.CAP_SYS_RESOURCE), ""},
		{[]string{"all", "CAP_SYS_RESOURCE"}, have, 0, 0, "cannot give capability CAP_SYS_RESOURCE: rkt does not have it itself"},
		{[]string{"CAP_KILL", "CAP_SYS_RESOURCE"}, have, 0, 0, "cannot give capability CAP_SYS_RESOURCE: rkt does not have it itself"},
		{[]string{"CAP_FROB"}, have, 0, 0, `cannot use capability "CAP_FROB": no such capability`},
	} {
		set, missing, err := Choose(tt.names, tt.have, known)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) || set != tt.set || missing != tt.missing {
			t.Errorf("Choose(%q) = %v, %v, %v; want %v, %v, %s", tt.names, set, missing, err, tt.set, tt.missing, tt.err)
		}
	}
	old := Set(1)<<38 - 1
	_, _, err := Choose([]string{"CAP_BPF"}, old, old)
	var m *MissingError
	if !errors.As(err, &m) || m.Number != unix.CAP_BPF || m.Hint() == "" || !strings.Contains(err.Error(), "this kernel does not have it") {
		t.Errorf("on an old kernel: %v", err)
	}
}

// status reads the Cap lines of a /proc/…/status.
func status(t *testing.T, text string) State {
	t.Helper()
	var s State
	fields := map[string]*Set{"CapBnd": &s.Bounding, "CapPrm": &s.Permitted, "CapEff": &s.Effective, "CapInh": &s.Inheritable, "CapAmb": &s.Ambient}
	for sc := bufio.NewScanner(strings.NewReader(text)); sc.Scan(); {
		k, v, _ := strings.Cut(sc.Text(), ":")
		if p := fields[k]; p != nil {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			*p = Set(n)
			delete(fields, k)
		}
	}
	if len(fields) != 0 {
		t.Fatalf("no capabilities in %q", text)
	}
	return s
}

func TestCurrent(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	got, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Skip(err)
	}
	if want := status(t, string(text)); got != want {
		t.Errorf("%+v, /proc says %+v", got, want)
	}
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Skip(err)
	}
	_, known, err := Bounding()
	if n, _ := strconv.Atoi(strings.TrimSpace(string(last))); err != nil || known != 1<<(n+1)-1 {
		t.Errorf("kernel knows %v, %v; /proc says up to %d", known, err, n)
	}
}

func TestPlan(t *testing.T) {
	have := Set(1)<<41 - 1
	s := User(Of(unix.CAP_CHOWN, unix.CAP_BPF, unix.CAP_NET_RAW), Of(unix.CAP_BPF, unix.CAP_SYS_ADMIN))
	if want := Of(unix.CAP_BPF); s.Ambient != want || s.Inheritable != want || s.Permitted != want || s.Effective != want {
		t.Errorf("user: %+v", s)
	}
	p := s.Plan(have)
	if len(p.Drop) != 38 || slices.Contains(p.Drop, unix.CAP_CHOWN) || !slices.Contains(p.Drop, unix.CAP_SYS_ADMIN) {
		t.Errorf("drop %v", p.Drop)
	}
	if p.Data[0].Permitted != 0 || p.Data[1].Permitted != 1<<(unix.CAP_BPF-32) || p.Data[1].Inheritable != p.Data[1].Effective {
		t.Errorf("data %+v", p.Data)
	}
	if !slices.Equal(p.Raise, []uintptr{unix.CAP_BPF}) || p.Header.Version != unix.LINUX_CAPABILITY_VERSION_3 || p.Header.Pid != 0 {
		t.Errorf("raise %v, header %+v", p.Raise, p.Header)
	}
	if r := Root(Default()); r.Inheritable != 0 || r.Ambient != 0 || r.Permitted != Default() || r.Effective != Default() {
		t.Errorf("root: %+v", r)
	}
}

// child carries out a plan and becomes cat.
func child(kind string) {
	fail := func(what string, err error) {
		fmt.Fprintln(os.Stderr, what, err)
		os.Exit(1)
	}
	runtime.LockOSThread()
	have, known, err := Bounding()
	if err != nil {
		fail("bounding", err)
	}
	set, _, err := Choose([]string{"CHOWN", "NET_BIND_SERVICE", "SYS_CHROOT"}, have, known)
	if err != nil {
		fail("choose", err)
	}
	s := Root(set)
	if kind != "root" {
		s = User(set, 0)
		if kind == "ambient" {
			s = User(set, Of(unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_ADMIN))
		}
	}
	p := s.Plan(have)
	if e := p.DropBounding(); e != 0 {
		fail("drop", e)
	}
	if kind != "root" {
		if _, _, e := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); e != 0 {
			fail("keepcaps", e)
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
			fail("setresuid", e)
		}
	}
	if e := p.SetThread(); e != 0 {
		fail("set", e)
	}
	fail("exec", unix.Exec("/bin/cat", []string{"cat", "/proc/self/status"}, nil))
}

// What reaches an app after execve.
func TestAppGets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	set := Of(unix.CAP_CHOWN, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT)
	bind := Of(unix.CAP_NET_BIND_SERVICE)
	for kind, want := range map[string]State{
		"root":    {Bounding: set, Permitted: set, Effective: set},
		"user":    {Bounding: set},
		"ambient": {Bounding: set, Permitted: bind, Effective: bind, Inheritable: bind, Ambient: bind},
	} {
		cmd := exec.Command(exe, "caps-child", kind)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v: %s", kind, err, stderr.String())
			continue
		}
		if got := status(t, string(out)); got != want {
			t.Errorf("%s: %+v, want %+v", kind, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("CAP_CHOWN,net_raw")
	f.Add("")
	f.Add("cap_,all")
	f.Fuzz(func(t *testing.T, text string) {
		list := strings.Split(text, ",")
		s, err := Parse(list)
		if err != nil {
			return
		}
		again, err := Parse(s.Names())
		if err != nil || again != s {
			t.Errorf("%q: %v, then %v, %v", text, s, again, err)
		}
		if s.Without(1<<41-1) != 0 {
			t.Errorf("%q: %#x", text, uint64(s))
		}
	})
}
