// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const rktCaps = usualCaps

const (
	eperm  = unix.SECCOMP_RET_ERRNO | Action(unix.EPERM)
	enosys = unix.SECCOMP_RET_ERRNO | Action(unix.ENOSYS)
)

func call(t testing.TB, name string) Call {
	t.Helper()
	c, ok := Lookup(name)
	if !ok {
		t.Fatalf("no call %q", name)
	}
	return c
}

func do(t testing.TB, p Program, a Arch, name string, args ...uint64) Action {
	t.Helper()
	n, ok := call(t, name).Number(a)
	if !ok {
		t.Fatalf("%s has no %s", a, name)
	}
	return run1(t, p, a, n, args...)
}

func TestNames(t *testing.T) {
	if !slices.IsSorted(callNames[:]) {
		t.Error("names are not sorted")
	}
	for i, n := range callNames {
		if c, ok := Lookup(n); !ok || int(c) != i {
			t.Errorf("Lookup(%q) = %d, %v", n, c, ok)
		}
	}
	for _, n := range []string{"", "zzz", "Read", "read ", "readx", "-"} {
		if c, ok := Lookup(n); ok {
			t.Errorf("Lookup(%q) = %v", n, c)
		}
	}
	// From the kernel's own tables, not from x/sys.
	for _, tt := range []struct {
		name string
		arch Arch
		want uint32
	}{
		{"read", AMD64, 0}, {"execve", AMD64, 59}, {"clone3", AMD64, 435}, {"file_setattr", AMD64, 469},
		{"execve", I386, 11}, {"socketcall", I386, 102}, {"clock_gettime64", I386, 403},
		{"execve", ARM64, 221}, {"newfstatat", ARM64, 79}, {"mseal", ARM64, 462},
		{"execve", ARM, 11}, {"set_tls", ARM, 0xf0005},
	} {
		if got, ok := call(t, tt.name).Number(tt.arch); !ok || got != tt.want {
			t.Errorf("%s on %s = %d, %v; want %d", tt.name, tt.arch, got, ok, tt.want)
		}
	}
	if n, ok := sysSocketcall.Number(AMD64); ok {
		t.Errorf("socketcall on amd64 = %d", n)
	}
}

func TestDefault(t *testing.T) {
	p := Default(rktCaps, AMD64, I386)
	prog := mustCompile(t, &p)
	parm := Default(rktCaps, ARM64, ARM)
	arm := mustCompile(t, &parm)
	t.Logf("%d instructions on amd64, %d on arm64", len(prog), len(arm))

	for _, tt := range []struct {
		name string
		args []uint64
		want Action
	}{
		{"read", nil, Allow},
		{"openat2", nil, Allow},
		{"faccessat2", nil, Allow},
		{"epoll_pwait2", nil, Allow},
		{"futex_waitv", nil, Allow},
		{"cachestat", nil, Allow},
		{"fchmodat2", nil, Allow},
		{"mseal", nil, Allow},
		{"statmount", nil, Allow},
		{"setxattrat", nil, Allow},
		{"file_getattr", nil, Allow},
		{"landlock_restrict_self", nil, Allow},
		{"chroot", nil, Allow}, // CAP_SYS_CHROOT is in rkt's set
		{"ptrace", nil, Allow},

		{"keyctl", nil, eperm},
		{"add_key", nil, eperm},
		{"request_key", nil, eperm},
		{"io_uring_setup", nil, eperm},
		{"io_uring_enter", nil, eperm},
		{"io_uring_register", nil, eperm},
		{"userfaultfd", nil, eperm},
		{"bpf", nil, eperm},
		{"perf_event_open", nil, eperm},
		{"mount", nil, eperm},
		{"fsopen", nil, eperm},
		{"open_tree", nil, eperm},
		{"open_tree_attr", nil, eperm},
		{"pivot_root", nil, eperm},
		{"setns", nil, eperm},
		{"reboot", nil, eperm},
		{"kexec_load", nil, eperm},
		{"swapon", nil, eperm},
		{"init_module", nil, eperm},
		{"open_by_handle_at", nil, eperm},
		{"process_madvise", nil, eperm},
		{"lsm_set_self_attr", nil, eperm},
		{"clone3", nil, enosys},

		{"clone", []uint64{0x3d0f00}, Allow}, // pthread_create
		{"clone", []uint64{unix.CLONE_NEWUSER}, eperm},
		{"clone", []uint64{unix.CLONE_NEWNS | 17}, eperm},
		{"unshare", []uint64{unix.CLONE_FS}, Allow},
		{"unshare", []uint64{unix.CLONE_FS | unix.CLONE_NEWUSER}, eperm},
		{"unshare", []uint64{unix.CLONE_NEWTIME}, eperm},
		{"personality", []uint64{0}, Allow},
		{"personality", []uint64{8}, Allow},
		{"personality", []uint64{0xffffffff}, Allow},
		{"personality", []uint64{0x40000}, eperm},
		{"ioctl", []uint64{0, unix.TCGETS}, Allow},
		{"ioctl", []uint64{0, unix.TIOCSTI}, eperm},
		{"ioctl", []uint64{0, 0x541c}, eperm},
		{"socket", []uint64{unix.AF_UNIX}, Allow},
		{"socket", []uint64{unix.AF_INET6}, Allow},
		{"socket", []uint64{unix.AF_NETLINK}, Allow},
		{"socket", []uint64{unix.AF_CAN}, Allow},
		{"socket", []uint64{unix.AF_XDP}, Allow},
		{"socket", []uint64{unix.AF_VSOCK}, eperm},
		{"socket", []uint64{unix.AF_ALG}, eperm},
		{"socket", []uint64{unix.AF_AX25}, eperm},
		{"socket", []uint64{46}, eperm},
	} {
		t.Run(fmt.Sprint(tt.name, tt.args), func(t *testing.T) {
			for _, a := range []Arch{AMD64, I386} {
				if got := do(t, prog, a, tt.name, tt.args...); got != tt.want {
					t.Errorf("%s: %#x, want %#x", a, got, tt.want)
				}
			}
			for _, a := range []Arch{ARM64, ARM} {
				if _, ok := call(t, tt.name).Number(a); !ok {
					continue
				}
				if got := do(t, arm, a, tt.name, tt.args...); got != tt.want {
					t.Errorf("%s: %#x, want %#x", a, got, tt.want)
				}
			}
		})
	}

	// The kernel takes these arguments as 32-bit numbers: rubbish in the upper
	// half must not help.
	const rubbish = 0xdeadbeef << 32
	for _, tt := range []struct {
		name string
		args []uint64
		want Action
	}{
		{"ioctl", []uint64{0, rubbish | unix.TIOCSTI}, eperm},
		{"socket", []uint64{rubbish | unix.AF_VSOCK}, eperm},
		{"socket", []uint64{rubbish | unix.AF_INET}, Allow},
		{"clone", []uint64{rubbish | unix.CLONE_NEWPID}, eperm},
		{"unshare", []uint64{rubbish | unix.CLONE_NEWPID}, eperm},
		{"personality", []uint64{rubbish | 0x40000}, eperm},
	} {
		if got := do(t, prog, AMD64, tt.name, tt.args...); got != tt.want {
			t.Errorf("%s %#x: %#x, want %#x", tt.name, tt.args, got, tt.want)
		}
	}

	for _, nr := range []uint32{335 + 40, 472, 511, 512, 9999, 0xf0001, 0x3fffffff, x32, x32 | 39, x32 | 512, ^uint32(0)} {
		if got := run1(t, prog, AMD64, nr); got != enosys {
			t.Errorf("number %d on amd64: %#x, want ENOSYS", nr, got)
		}
	}
	if got := run1(t, arm, ARM, 0xf0005); got != Allow {
		t.Errorf("set_tls: %#x", got)
	}
	if got := run1(t, arm, ARM, 0xf0004); got != eperm {
		t.Errorf("usr32: %#x", got)
	}
	if got := run1(t, arm, ARM, 0xf0007); got != enosys {
		t.Errorf("0xf0007: %#x", got)
	}
	if got := run1(t, prog, ARM64, 0); got != KillProcess {
		t.Errorf("foreign architecture: %#x", got)
	}
}

func TestDefaultWithCapabilities(t *testing.T) {
	for _, tt := range []struct {
		cap  int
		name string
	}{
		{unix.CAP_SYS_ADMIN, "mount"}, {unix.CAP_SYS_ADMIN, "bpf"}, {unix.CAP_SYS_ADMIN, "setns"},
		{unix.CAP_SYS_ADMIN, "clone3"}, {unix.CAP_SYS_ADMIN, "open_tree_attr"},
		{unix.CAP_BPF, "bpf"}, {unix.CAP_PERFMON, "perf_event_open"}, {unix.CAP_SYSLOG, "syslog"},
		{unix.CAP_DAC_READ_SEARCH, "open_by_handle_at"}, {unix.CAP_SYS_BOOT, "reboot"},
		{unix.CAP_SYS_CHROOT, "chroot"}, {unix.CAP_SYS_MODULE, "finit_module"}, {unix.CAP_SYS_NICE, "mbind"},
		{unix.CAP_SYS_PACCT, "acct"}, {unix.CAP_SYS_PTRACE, "kcmp"}, {unix.CAP_SYS_RAWIO, "iopl"},
		{unix.CAP_SYS_TIME, "clock_settime"}, {unix.CAP_SYS_TTY_CONFIG, "vhangup"},
	} {
		without := Default(^uint64(1<<tt.cap|1<<unix.CAP_SYS_ADMIN), AMD64)
		if got := do(t, mustCompile(t, &without), AMD64, tt.name); got == Allow && tt.cap != unix.CAP_SYS_ADMIN {
			t.Errorf("%s without capability %d is allowed", tt.name, tt.cap)
		}
		with := Default(1<<tt.cap, AMD64)
		if got := do(t, mustCompile(t, &with), AMD64, tt.name); got != Allow {
			t.Errorf("%s with capability %d: %#x", tt.name, tt.cap, got)
		}
	}
	admin := Default(1<<unix.CAP_SYS_ADMIN, AMD64)
	prog := mustCompile(t, &admin)
	if got := do(t, prog, AMD64, "clone", unix.CLONE_NEWUSER); got != Allow {
		t.Errorf("clone(CLONE_NEWUSER) with CAP_SYS_ADMIN: %#x", got)
	}
	if got := do(t, prog, AMD64, "ioctl", 0, unix.TIOCSTI); got != eperm {
		t.Errorf("TIOCSTI with CAP_SYS_ADMIN: %#x", got)
	}
	all := Default(^uint64(0), AMD64, I386)
	prog = mustCompile(t, &all)
	for _, name := range []string{"io_uring_setup", "keyctl", "kexec_load", "userfaultfd", "uselib"} {
		if got := do(t, prog, AMD64, name); got != eperm {
			t.Errorf("%s with all capabilities: %#x", name, got)
		}
	}
}

func TestFilters(t *testing.T) {
	if Native() == nil || Native()[0] != AMD64 {
		t.Skip("written for amd64")
	}
	kill := KillProcess
	eacces := Errno(unix.EACCES)
	type want map[string]Action
	for _, tt := range []struct {
		name string
		f    Filter
		want want // on amd64; nil: no program
	}{
		{"default", Filter{}, want{"read": Allow, "keyctl": eperm, "9999": enosys}},
		{"default with errno", Filter{Errno: "EACCES"}, want{"read": Allow, "keyctl": eacces, "clone3": enosys, "9999": enosys}},
		{"unconfined", Filter{Mode: "unconfined"}, nil},
		{"retain all", Filter{Mode: "retain", Names: []string{"@appc.io/all"}}, nil},
		{"retain all and one", Filter{Mode: "retain", Names: []string{"read", "@appc.io/all"}}, nil},
		{"retain none", Filter{Mode: "retain", Names: []string{"@appc.io/empty"}}, want{"read": kill, "execve": Allow, "exit_group": Allow, "9999": enosys}},
		{"retain some", Filter{Mode: "retain", Names: []string{"read", "write"}}, want{"read": Allow, "write": Allow, "execve": Allow, "open": kill, "clone3": kill, "9999": enosys}},
		{"retain with errno", Filter{Mode: "retain", Errno: "EACCES", Names: []string{"read"}}, want{"read": Allow, "open": eacces}},
		{"retain foreign", Filter{Mode: "retain", Names: []string{"spu_run", "riscv_hwprobe", "read", "socketcall"}}, want{"read": Allow, "open": kill}},
		{"retain whitelist", Filter{Mode: "retain", Names: []string{"@rkt/default-whitelist"}}, want{"read": Allow, "keyctl": kill, "clone3": enosys, "clone NEWUSER": kill, "TIOCSTI": eperm}},
		{"retain Docker's whitelist", Filter{Mode: "retain", Errno: "EPERM", Names: []string{"@docker/default-whitelist"}}, want{"read": Allow, "keyctl": eperm, "clone NEWUSER": eperm, "TIOCSTI": eperm}},
		{"retain whitelist and more", Filter{Mode: "retain", Names: []string{"@rkt/default-whitelist", "keyctl", "clone"}}, want{"read": Allow, "keyctl": Allow, "clone NEWUSER": Allow, "bpf": kill}},
		{"retain blacklist", Filter{Mode: "retain", Names: []string{"@rkt/default-blacklist"}}, want{"read": kill, "keyctl": Allow}},
		{"retain groups", Filter{Mode: "retain", Names: []string{"@systemd/network-io", "@systemd/clock"}}, want{"socket": Allow, "settimeofday": Allow, "read": kill}},
		{"remove none", Filter{Mode: "remove", Names: []string{"@appc.io/empty"}}, want{"read": Allow, "keyctl": eperm}},
		{"remove nothing", Filter{Mode: "remove"}, want{"read": Allow, "keyctl": eperm}},
		{"remove some", Filter{Mode: "remove", Names: []string{"keyctl", "@appc.io/empty"}}, want{"read": Allow, "keyctl": kill, "bpf": Allow, "9999": Allow, "clone3": Allow}},
		{"remove with errno", Filter{Mode: "remove", Errno: "EACCES", Names: []string{"keyctl"}}, want{"read": Allow, "keyctl": eacces}},
		{"remove blacklist", Filter{Mode: "remove", Errno: "EPERM", Names: []string{"@docker/default-blacklist"}}, want{"read": Allow, "keyctl": eperm, "bpf": eperm, "clone3": enosys, "clone": Allow, "clone NEWUSER": eperm, "TIOCSTI": eperm, "VSOCK": eperm, "9999": Allow}},
		{"remove blacklist and more", Filter{Mode: "remove", Names: []string{"@rkt/default-blacklist", "clone", "uname"}}, want{"read": Allow, "uname": kill, "clone": kill}},
		{"remove mount", Filter{Mode: "remove", Names: []string{"@systemd/mount"}}, want{"mount": kill, "fsopen": kill, "chroot": kill, "read": Allow}},
		{"remove obsolete", Filter{Mode: "remove", Names: []string{"@systemd/obsolete"}}, want{"uselib": kill, "read": Allow}},
		{"remove privileged", Filter{Mode: "remove", Names: []string{"@systemd/privileged"}}, want{"setuid": kill, "reboot": kill, "iopl": kill, "settimeofday": kill, "swapon": kill, "init_module": kill, "chown": kill, "read": Allow}},
		{"remove process", Filter{Mode: "remove", Names: []string{"@systemd/process"}}, want{"fork": kill, "execve": Allow}},
		{"remove raw-io", Filter{Mode: "remove", Names: []string{"@systemd/raw-io"}}, want{"iopl": kill, "read": Allow}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.f.Validate(); err != nil {
				t.Errorf("Validate: %v", err)
			}
			p, err := ForApp(tt.f, rktCaps)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == nil {
				if p != nil || p.Fprog() != nil {
					t.Errorf("%d instructions, want none", len(p))
				}
				return
			}
			if err := check(p); err != nil {
				t.Fatal(err)
			}
			for name, want := range tt.want {
				var got Action
				switch name {
				case "9999":
					got = run1(t, p, AMD64, 9999)
				case "clone NEWUSER":
					got = do(t, p, AMD64, "clone", unix.CLONE_NEWUSER)
				case "TIOCSTI":
					got = do(t, p, AMD64, "ioctl", 0, unix.TIOCSTI)
				case "VSOCK":
					got = do(t, p, AMD64, "socket", unix.AF_VSOCK)
				default:
					got = do(t, p, AMD64, name)
				}
				if got != want {
					t.Errorf("%s: %#x, want %#x", name, got, want)
				}
			}
			// x32 is no way around any of them.
			if got := run1(t, p, AMD64, x32|0); got != enosys {
				t.Errorf("x32 read: %#x", got)
			}
		})
	}
}

// A call that has a second door on i386 is shut there too.
func TestDoors(t *testing.T) {
	if Native() == nil || Native()[0] != AMD64 {
		t.Skip("written for amd64")
	}
	p, err := ForApp(Filter{Mode: "remove", Errno: "EACCES", Names: []string{"socket", "semget", "semop"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	eacces := Errno(unix.EACCES)
	for _, tt := range []struct {
		name string
		arg  uint64
		want Action
	}{
		{"socketcall", 1, eacces}, {"socketcall", 2, Allow}, {"socketcall", 1 | 1<<40, eacces},
		{"ipc", 2, eacces}, {"ipc", 1, eacces}, {"ipc", 3, Allow},
		{"ipc", 2 | 1<<16, eacces}, // another version, the same call
		{"socket", 1, eacces},
	} {
		if got := do(t, p, I386, tt.name, tt.arg); got != tt.want {
			t.Errorf("%s(%#x): %#x, want %#x", tt.name, tt.arg, got, tt.want)
		}
	}
	p, err = ForApp(Filter{Mode: "retain", Names: []string{"socket", "bind"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for arg, want := range []Action{KillProcess, Allow, Allow, KillProcess} {
		if got := do(t, p, I386, "socketcall", uint64(arg)); got != want {
			t.Errorf("socketcall(%d): %#x, want %#x", arg, got, want)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for _, tt := range []struct {
		f    Filter
		want string
	}{
		{Filter{Mode: "keep"}, `unknown mode "keep"`},
		{Filter{Names: []string{"read"}}, "neither to retain nor to remove"},
		{Filter{Mode: "unconfined", Names: []string{"read"}}, "unconfined takes neither"},
		{Filter{Mode: "unconfined", Errno: "EPERM"}, "unconfined takes neither"},
		{Filter{Mode: "retain"}, "no calls to retain"},
		{Filter{Mode: "retain", Names: []string{"frobnicate"}}, `unknown system call "frobnicate"`},
		{Filter{Mode: "retain", Names: []string{"read", ""}}, `unknown system call ""`},
		{Filter{Mode: "retain", Names: []string{"@rkt/nonsense"}}, `unknown system call group "@rkt/nonsense"`},
		{Filter{Mode: "remove", Names: []string{"@systemd/nonsense"}}, `unknown system call group "@systemd/nonsense"`},
		{Filter{Mode: "remove", Names: []string{"@"}}, `unknown system call group "@"`},
		{Filter{Mode: "retain", Names: []string{"@appc.io/all", "frobnicate"}}, `unknown system call "frobnicate"`},
		{Filter{Mode: "retain", Names: []string{"read"}, Errno: "EFROB"}, `unknown errno "EFROB"`},
		{Filter{Mode: "remove", Names: []string{"execve"}}, "include execve"},
		{Filter{Mode: "remove", Names: []string{"@appc.io/all"}}, "include execve"},
		{Filter{Mode: "remove", Names: []string{"@rkt/default-whitelist"}}, "include execve"},
		{Filter{Mode: "remove", Names: []string{"@systemd/default-whitelist"}}, "include execve"},
	} {
		_, err := ForApp(tt.f, rktCaps)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "cannot build seccomp filter: ") {
			t.Errorf("%+v: error %v, want …%s…", tt.f, err, tt.want)
		}
		if v := tt.f.Validate(); v == nil || v.Error() != err.Error() {
			t.Errorf("%+v: Validate says %v", tt.f, v)
		}
		var n *NameError
		if errors.As(err, &n) != strings.HasPrefix(tt.want, "unknown system call") || n != nil && n.Hint() == "" {
			t.Errorf("%+v: %#v", tt.f, err)
		}
	}
	for _, e := range []string{"EPERM", "EACCES", "ENOSYS", "EWOULDBLOCK", "ENOTSUP", "EDEADLOCK", "EHWPOISON"} {
		if _, ok := errnoByName(e); !ok {
			t.Errorf("no %s", e)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	ok := Policy{Arches: []Arch{AMD64}, Default: Allow, Unknown: Allow, WrongArch: Allow}
	for name, spoil := range map[string]func(*Policy){
		"no architecture":      func(p *Policy) { p.Arches = nil },
		"architecture twice":   func(p *Policy) { p.Arches = []Arch{AMD64, AMD64} },
		"unknown architecture": func(p *Policy) { p.Arches = []Arch{numArches} },
		"default":              func(p *Policy) { p.Default = 1 },
		"errno":                func(p *Policy) { p.Unknown = Errno(4096) },
		"wrong arch":           func(p *Policy) { p.WrongArch = isChain },
		"rule's action":        func(p *Policy) { p.Rules = []Rule{{Action: undecided}} },
		"rule's call":          func(p *Policy) { p.Rules = []Rule{{Calls: []Call{numCalls}, Action: Allow}} },
		"argument 6":           func(p *Policy) { p.Rules = []Rule{{Args: []Arg{{Index: 6}}, Action: Allow}} },
		"comparison":           func(p *Policy) { p.Rules = []Rule{{Args: []Arg{{Op: numOps}}, Action: Allow}} },
		"conditions":           func(p *Policy) { p.Rules = []Rule{{Args: make([]Arg, maxArgs+1), Action: Allow}} },
		"too long": func(p *Policy) {
			for i := range uint64(2000) {
				p.Rules = append(p.Rules, Rule{[]Call{sysRead}, []Arg{{0, Equal, i, 0}}, Errno(1)})
			}
		},
	} {
		p := ok
		spoil(&p)
		if prog, err := Compile(&p); err == nil || prog != nil {
			t.Errorf("%s: no error", name)
		}
	}
	mustCompile(t, &ok)
}

var edges = []uint64{
	0, 1, 2, 8, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x100000000, 0x100000001, 0x1ffffffff,
	0xffffffff00000000, 0xffffffff00000001, ^uint64(0) - 1, ^uint64(0), 0x7e020000, 0x5412, 0x100005412,
}

// randomPolicy has few calls, so that rules meet.
func randomPolicy(r *rand.Rand, arches ...Arch) Policy {
	actions := []Action{Allow, Log, KillProcess, KillThread, Errno(1), Errno(38), Errno(0), Trap(7), Trace(3), Notify}
	pick := func() Action { return actions[r.IntN(len(actions))] }
	p := Policy{Arches: arches, Default: pick(), Unknown: pick(), WrongArch: pick()}
	calls := []Call{sysRead, sysWrite, sysSocket, sysBind, sysSocketcall, sysIpc, sysSemget, sysSemop, sysClone, sysSetTls, sysCacheflush, sysStatx}
	for range r.IntN(30) {
		rule := Rule{Action: pick()}
		for range r.IntN(4) {
			rule.Calls = append(rule.Calls, calls[r.IntN(len(calls))])
		}
		if r.IntN(10) == 0 {
			for range 100 {
				rule.Calls = append(rule.Calls, Call(r.IntN(numCalls)))
			}
		}
		for range r.IntN(4) {
			a := Arg{Index: uint8(r.IntN(3)), Op: Op(r.IntN(int(numOps))), Value: edges[r.IntN(len(edges))]}
			switch r.IntN(3) {
			case 0:
				a.Mask = edges[r.IntN(len(edges))]
			case 1:
				a.Mask = Low32
			}
			rule.Args = append(rule.Args, a)
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

func compare(t *testing.T, p *Policy, prog Program, d *data) {
	t.Helper()
	got, err := simulate(prog, d)
	if err != nil {
		t.Fatal(err)
	}
	if want := evaluate(p, d); got != want {
		t.Fatalf("%+v: %#x, want %#x\n%+v", d, got, want, p)
	}
}

// Compiled policies do what they mean.
func TestCompileMeaning(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	numbers := []uint32{0, 1, 3, 4, 41, 49, 56, 64, 102, 117, 120, 220, 359, 383, 397, 471, 472, 511, 512, 0xf0002, 0xf0005, 0xf0010, x32, x32 + 1, ^uint32(0)}
	for range 300 {
		p := randomPolicy(r, AMD64, I386)
		if r.IntN(2) == 0 {
			p.Arches = []Arch{ARM, ARM64}
		}
		if _, err := Compile(&p); err != nil && strings.Contains(err.Error(), "the kernel takes 4096") {
			continue
		}
		prog := mustCompile(t, &p)
		for range 300 {
			d := data{nr: numbers[r.IntN(len(numbers))], arch: archs[r.IntN(int(numArches))].audit}
			narrow := d.arch == archs[I386].audit || d.arch == archs[ARM].audit
			for i := range d.args {
				d.args[i] = edges[r.IntN(len(edges))]
				if r.IntN(3) == 0 {
					d.args[i] = r.Uint64() >> r.IntN(64)
				}
				if narrow { // as the kernel does
					d.args[i] &= Low32
				}
			}
			compare(t, &p, prog, &d)
		}
	}
}

// Every call of every architecture, under the profile as it is.
func TestDefaultMeaning(t *testing.T) {
	for _, caps := range []uint64{0, rktCaps, ^uint64(0)} {
		p := Default(caps, AMD64, I386, ARM64, ARM)
		prog := mustCompile(t, &p)
		for a := range numArches {
			for nr := range uint32(520) {
				for _, arg := range []uint64{0, 1, 38, 40, 0x5412, 0x541c, 0x7e020000} {
					compare(t, &p, prog, &data{nr: nr, arch: archs[a].audit, args: [6]uint64{arg, arg}})
				}
			}
		}
	}
}
