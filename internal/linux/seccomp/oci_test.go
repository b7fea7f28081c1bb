// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mustParse(t testing.TB, text string) *Profile {
	t.Helper()
	p, err := ParseProfile([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

var amd64Machine = Machine{usualCaps, Kernel{6, 1}, []Arch{AMD64, I386}}

func ask(t testing.TB, text string, m *Machine, c Call, args ...uint64) Action {
	t.Helper()
	prog, err := mustParse(t, text).compile(m)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if err := check(prog); err != nil {
		t.Fatal(err)
	}
	return run1(t, prog, m.Arches[0], mustNumber(c, m.Arches[0]), args...)
}

func allowing(rules string) string {
	return `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[` + rules + `]}`
}

func denying(rules string) string {
	return `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"execve","action":"SCMP_ACT_ALLOW"},` + rules + `]}`
}

func TestProfileMeaning(t *testing.T) {
	mkdir := func(more string) string { return `{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"` + more + `}` }
	when := func(args string) string { return allowing(mkdir(`,"args":[` + args + `]`)) }
	bad := amd64Machine
	bad.Caps = 1 << unix.CAP_SYS_ADMIN
	for _, c := range []struct {
		text string
		m    *Machine
		args []uint64
		want Action
	}{
		// Errors and actions.
		{allowing(mkdir("")), nil, nil, Errno(unix.EPERM)},
		{allowing(mkdir(`,"errnoRet":0`)), nil, nil, Errno(0)},
		{allowing(mkdir(`,"errnoRet":28`)), nil, nil, Errno(unix.ENOSPC)},
		{allowing(mkdir(`,"errno":"EIO"`)), nil, nil, Errno(unix.EIO)},
		{allowing(mkdir(`,"errno":"EIO","errnoRet":5`)), nil, nil, Errno(unix.EIO)},
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_KILL"}`), nil, nil, KillThread},
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_KILL_THREAD"}`), nil, nil, KillThread},
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_KILL_PROCESS"}`), nil, nil, KillProcess},
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_TRAP"}`), nil, nil, Trap(0)},
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_LOG"}`), nil, nil, Log},
		{denying(`{"name":"rmdir","action":"SCMP_ACT_ALLOW"}`), nil, nil, Errno(unix.EPERM)},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[{"name":"execve","action":"SCMP_ACT_ALLOW"}]}`, nil, nil, Errno(unix.ENOSYS)},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EIO","syscalls":[{"name":"execve","action":"SCMP_ACT_ALLOW"}]}`, nil, nil, Errno(unix.EIO)},
		// What has no conditions goes before what has; else the first counts.
		{allowing(mkdir(`,"errnoRet":5,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]`) + `,` + mkdir(`,"errnoRet":6`) + `,` + mkdir(`,"errnoRet":7`)), nil, []uint64{1}, Errno(6)},
		{allowing(mkdir(`,"errnoRet":5,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]`) + `,` + mkdir(`,"errnoRet":6,"args":[{"index":0,"value":2,"op":"SCMP_CMP_LT"}]`)), nil, []uint64{1}, Errno(5)},
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_LOG","args":[{"index":0,"value":9,"op":"SCMP_CMP_LT"}]},` + mkdir(`,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]`) +
			`,{"name":"mkdir","action":"SCMP_ACT_KILL","args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]},{"name":"mkdir","action":"SCMP_ACT_KILL_PROCESS","args":[{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]}`), nil, []uint64{2, 2}, KillProcess},
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_LOG","args":[{"index":0,"value":9,"op":"SCMP_CMP_LT"}]},` + mkdir(`,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]`)), nil, []uint64{1}, Errno(1)},
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_LOG","args":[{"index":0,"value":9,"op":"SCMP_CMP_LT"}]},` + mkdir(`,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]`)), nil, []uint64{2}, Log},
		// What the default does anyway is no rule.
		{allowing(`{"name":"mkdir","action":"SCMP_ACT_ALLOW"},` + mkdir(`,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]`)), nil, []uint64{1}, Errno(1)},
		// Two conditions on two arguments: both; on one: either.
		{when(`{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}`), nil, []uint64{1, 3}, Allow},
		{when(`{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}`), nil, []uint64{1, 2}, Errno(1)},
		{when(`{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}`), nil, []uint64{2}, Errno(1)},
		// 64 bits, and masks.
		{when(`{"index":0,"value":1,"op":"SCMP_CMP_EQ"}`), nil, []uint64{1<<32 | 1}, Allow},
		{when(`{"index":5,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}`), nil, []uint64{0, 0, 0, 0, 0, ^uint64(0)}, Errno(1)},
		{when(`{"index":0,"value":255,"valueTwo":4097,"op":"SCMP_CMP_MASKED_EQ"}`), nil, []uint64{0xff01}, Errno(1)},
		{when(`{"index":0,"value":0,"op":"SCMP_CMP_MASKED_EQ"}`), nil, []uint64{0xff01}, Errno(1)},
		// Includes and excludes.
		{allowing(mkdir(`,"includes":{"caps":["CAP_SYS_ADMIN"]}`)), nil, nil, Allow},
		{allowing(mkdir(`,"includes":{"caps":["CAP_SYS_ADMIN"]}`)), &bad, nil, Errno(1)},
		{allowing(mkdir(`,"includes":{"caps":["CAP_SYS_ADMIN","CAP_CHOWN"]}`)), &bad, nil, Allow},
		{allowing(mkdir(`,"includes":{"caps":["CAP_OF_TOMORROW"]}`)), nil, nil, Allow},
		{allowing(mkdir(`,"excludes":{"caps":["CAP_OF_TOMORROW"]}`)), nil, nil, Errno(1)},
		{allowing(mkdir(`,"excludes":{"caps":["CAP_SYS_ADMIN","CAP_CHOWN"]}`)), &bad, nil, Allow},
		{allowing(mkdir(`,"excludes":{"arches":["amd64"]}`)), nil, nil, Allow},
		{allowing(mkdir(`,"includes":{"arches":["x86"]}`)), nil, nil, Allow},
		{allowing(mkdir(`,"includes":{"minKernel":"6.1"}`)), nil, nil, Errno(1)},
		{allowing(mkdir(`,"includes":{"minKernel":"6.2"}`)), nil, nil, Allow},
		{allowing(mkdir(`,"excludes":{"minKernel":"6.1"}`)), nil, nil, Allow},
		{allowing(mkdir(`,"excludes":{"minKernel":"10.0"}`)), nil, nil, Errno(1)},
		// Names of tomorrow, where the default denies them or the rule does not.
		{denying(`{"names":["mkdir","mkdir9"],"action":"SCMP_ACT_ALLOW"}`), nil, nil, Allow},
		{denying(`{"names":["mkdir","mkdir9"],"action":"SCMP_ACT_KILL"}`), nil, nil, KillThread},
		{allowing(`{"names":["mkdir","mkdir9"],"action":"SCMP_ACT_LOG"}`), nil, nil, Log},
		{allowing(`{"names":["mkdir9"],"action":"SCMP_ACT_ERRNO","includes":{"arches":["arm64"]}}`), nil, nil, Allow},
	} {
		m := c.m
		if m == nil {
			m = &amd64Machine
		}
		if got := ask(t, c.text, m, sysMkdir, c.args...); got != c.want {
			t.Errorf("%s: mkdir(%#x) = %#x, want %#x", c.text, c.args, got, c.want)
		}
	}
}

// Numbers of no table, other architectures' calls.
func TestProfileStrangers(t *testing.T) {
	for _, c := range []struct {
		text string
		arch Arch
		nr   uint32
		want Action
	}{
		{denying(`{"name":"read","action":"SCMP_ACT_ALLOW"}`), AMD64, 511, actENOSYS},
		{strings.Replace(denying(`{"name":"read","action":"SCMP_ACT_ALLOW"}`), "ACT_ERRNO", "ACT_KILL", 1), AMD64, 511, actENOSYS},
		{allowing(``), AMD64, 511, Allow},
		{strings.Replace(allowing(``), "ALLOW", "LOG", 1), AMD64, 511, Log},
		{allowing(``), AMD64, x32 + 1, actENOSYS},
		{allowing(``), I386, 3, KillProcess}, // not listed
		{`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"]}`, I386, 3, Allow},
		{`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"]}`, AMD64, 0, Allow}, // the machine's own
		{`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_ARM"]}`, ARM, 3, KillProcess},
		{`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_X86"]}]}`, I386, 3, KillProcess},
		{`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]}`, I386, 3, Allow},
	} {
		prog, err := mustParse(t, c.text).compile(&amd64Machine)
		if err != nil {
			t.Fatal(err)
		}
		if got := run1(t, prog, c.arch, c.nr); got != c.want {
			t.Errorf("%s: %s %d = %#x, want %#x", c.text, c.arch, c.nr, got, c.want)
		}
	}
}

func TestProfileRefused(t *testing.T) {
	arg := func(s string) string {
		return allowing(`{"name":"mkdir","action":"SCMP_ACT_ERRNO","args":[` + s + `]}`)
	}
	for text, want := range map[string]string{
		``:                                    "at byte 0: unexpected end",
		`[]`:                                  "an object is wanted",
		`{}`:                                  "it has no defaultAction",
		`null`:                                "it has no defaultAction",
		`{"DefaultAction":"SCMP_ACT_ALLOW"}`:  `unknown key "DefaultAction"`,
		`{"defaultAction":"SCMP_ACT_PERMIT"}`: `unknown action "SCMP_ACT_PERMIT"`,
		`{"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"/run/x"}`:                                                                   `unknown key "listenerPath"`,
		`{"defaultAction":"SCMP_ACT_NOTIFY"}`:                                                                                           "needs an agent",
		`{"defaultAction":"SCMP_ACT_TRACE"}`:                                                                                            "needs a tracer",
		`{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}`:                                                                        `an errno beside the action "SCMP_ACT_ALLOW"`,
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}`:                                                                     "errno 4096 is greater than 4095",
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EWHAT"}`:                                                                     `unknown errno "EWHAT"`,
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EIO","defaultErrnoRet":1}`:                                                   "errno EIO is 5, but errnoRet is 1",
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}`:                                                          `unknown architecture "SCMP_ARCH_VAX"`,
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_ARM"}]}`:             "both architectures and archMap",
		`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}`:                                         "is for an agent",
		`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}`:                                               `unknown flag "SECCOMP_FILTER_FLAG_NEW_LISTENER"`,
		allowing(`{"action":"SCMP_ACT_ERRNO"}`):                                                                                         "rule 1: it names no call",
		allowing(`{"names":["mkdir"]}`):                                                                                                 "rule 1: it has no action",
		allowing(`{"name":"a","names":["b"],"action":"SCMP_ACT_ERRNO"}`):                                                                "rule 1: both name and names",
		allowing(`{"names":[""],"action":"SCMP_ACT_ERRNO"}`):                                                                            "rule 1: a name is empty",
		allowing(`{"name":"a","action":"SCMP_ACT_KILL","errnoRet":1}`):                                                                  "rule 1: an errno beside the action",
		allowing(`{"name":"a","action":"SCMP_ACT_KILL"},{"name":"b","action":"SCMP_ACT_ALLOW","when":1}`):                               `rule 2: unknown key "when"`,
		allowing(`{"name":"a","action":"SCMP_ACT_KILL","includes":{"kernel":"1"}}`):                                                     `rule 1: unknown key "kernel"`,
		allowing(`{"name":"a","action":"SCMP_ACT_KILL","includes":{"minKernel":"4.8.1"}}`):                                              `rule 1: minKernel "4.8.1" is not of the form 4.8`,
		allowing(`{"name":"a","action":"SCMP_ACT_KILL","includes":{"minKernel":"4"}}`):                                                  `rule 1: minKernel "4" is not of the form 4.8`,
		allowing(`{"name":"a","action":"SCMP_ACT_KILL","includes":{"caps":["SYS_ADMIN"]}}`):                                             `rule 1: "SYS_ADMIN" is not a capability`,
		arg(`{"index":6,"value":1,"op":"SCMP_CMP_EQ"}`):                                                                                 "rule 1: calls have no argument 6",
		arg(`{"index":0,"value":1,"op":"=="}`):                                                                                          `rule 1: unknown comparison "=="`,
		arg(`{"index":0,"value":1}`):                                                                                                    `rule 1: unknown comparison ""`,
		arg(`{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_EQ"}`):                                                                    `rule 1: valueTwo beside "SCMP_CMP_EQ"`,
		arg(`{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}`):                                                                                "not a whole number",
		arg(`{"index":0,"value":18446744073709551616,"op":"SCMP_CMP_EQ"}`):                                                              "out of range",
		arg(`{"index":0,"values":1,"op":"SCMP_CMP_EQ"}`):                                                                                `rule 1: unknown key "values"`,
		arg(strings.Repeat(`{"index":0,"value":1,"op":"SCMP_CMP_EQ"},`, 16) + `{"index":0,"value":1,"op":"SCMP_CMP_EQ"}`):               "rule 1: more than 16 conditions",
		allowing(strings.Repeat(`{"name":"a","action":"SCMP_ACT_LOG"},`, maxProfileRules) + `{"name":"a","action":"SCMP_ACT_LOG"}`):     "more than 2048 rules",
		allowing(`{"names":["a"` + strings.Repeat(`,"a"`, maxProfileNames) + `],"action":"SCMP_ACT_LOG"}`):                              "name more than 16384 calls",
		allowing(`{"names":["a"` + strings.Repeat(`,"a"`, 4096) + `],"action":"SCMP_ACT_LOG","args":[{"index":0,"op":"SCMP_CMP_EQ"}]}`): "compare more than 4096",
		strings.Repeat(" ", MaxProfile+1):                                                                                               "larger than 1048576 bytes",
		`{"comment":` + strings.Repeat("[", 20000):                                                                                      "nested deeper",
	} {
		_, err := ParseProfile([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.200s: %v, want %s", text, err, want)
		}
	}
}

func TestProfileNotOfThisMachine(t *testing.T) {
	many := make([]string, 0, 2000)
	for i := range 2000 {
		many = append(many, `{"name":"mkdir","action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":`+strconv.Itoa(i<<33)+`,"op":"SCMP_CMP_EQ"}]}`)
	}
	for text, want := range map[string]string{
		allowing(`{"names":["mkdir","mkdir9"],"action":"SCMP_ACT_ERRNO"}`):               `rule 1: it is to deny a call that the default allows: unknown system call "mkdir9"`,
		allowing(`{"name":"execve","action":"SCMP_ACT_ERRNO"}`):                          "does not allow execve",
		`{"defaultAction":"SCMP_ACT_ERRNO"}`:                                             "does not allow execve",
		`{"defaultAction":"SCMP_ACT_KILL","syscalls":[]}`:                                "does not allow execve",
		allowing(strings.Join(many, ",")):                                                "instructions, the kernel takes 4096",
		allowing(`{"name":"` + strings.Repeat("x", 500) + `","action":"SCMP_ACT_KILL"}`): `unknown system call "` + strings.Repeat("x", 64) + `…"`,
	} {
		_, err := mustParse(t, text).compile(&amd64Machine)
		if err == nil || !strings.HasPrefix(err.Error(), "cannot use seccomp profile: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: %v, want %s", text, err, want)
		}
	}
	_, err := mustParse(t, allowing(`{"name":"mkdir9","action":"SCMP_ACT_ERRNO"}`)).compile(&amd64Machine)
	if n := (*NameError)(nil); !errors.As(err, &n) || n.Name != "mkdir9" {
		t.Errorf("%v has no NameError", err)
	}
}

// A profile as large as the kernel takes, where jumps are long.
func TestProfileLarge(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	actions := []string{"LOG", "KILL", "TRAP", "ERRNO", "KILL_PROCESS"}
	ops := []string{"NE", "LT", "LE", "EQ", "GE", "GT", "EQ", "EQ"}
	names := []string{"mkdir", "read", "socket", "openat", "semop", "prctl", "ioctl"}
	rules := make([]string, 0, 200)
	for range 200 {
		rules = append(rules, fmt.Sprintf(`{"name":%q,"action":"SCMP_ACT_%s","args":[{"index":%d,"value":%d,"op":"SCMP_CMP_%s"},{"index":3,"value":255,"valueTwo":%d,"op":"SCMP_CMP_MASKED_EQ"}]}`,
			names[r.IntN(len(names))], actions[r.IntN(len(actions))], r.IntN(3), r.Uint64()>>r.IntN(64), ops[r.IntN(len(ops))], r.IntN(4)))
	}
	p := mustParse(t, `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_ARM"],"syscalls":[`+strings.Join(rules, ",")+`]}`)
	for _, m := range []Machine{amd64Machine, {0, Kernel{6, 1}, []Arch{ARM64, ARM}}} {
		policy, err := p.policy(&m)
		if err != nil {
			t.Fatal(err)
		}
		prog := mustCompile(t, policy)
		met := map[Action]int{}
		for i := range policy.Rules {
			rule := &policy.Rules[i]
			for _, a := range policy.Arches {
				nr, ok := rule.Calls[0].Number(a)
				if !ok {
					continue
				}
				for near := range uint64(9) {
					d := data{nr: nr, arch: archs[a].audit, args: [6]uint64{3: near / 3}}
					d.args[rule.Args[0].Index] = rule.Args[0].Value + near%3 - 1
					for i := range d.args {
						if archs[a].narrow {
							d.args[i] &= Low32
						}
					}
					got, err := simulate(prog, &d)
					if err != nil {
						t.Fatal(err)
					}
					if want := evaluate(policy, &d); got != want {
						t.Fatalf("%s by %s, %#x: %#x, want %#x", rule.Calls[0], a, d.args, got, want)
					}
					met[got]++
				}
			}
		}
		t.Logf("%d instructions, outcomes %v", len(prog), met)
		if len(prog) < 2000 || len(met) < 6 {
			t.Errorf("%d instructions, outcomes %v", len(prog), met)
		}
	}
}

// execve may depend on its arguments: only the app can tell.
func TestProfileConditionalExec(t *testing.T) {
	text := `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"execve","action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":4096,"op":"SCMP_CMP_GT"}]}]}`
	if got := ask(t, text, &amd64Machine, sysExecve, 5000); got != Allow {
		t.Errorf("%#x", got)
	}
}

func TestProfileFlags(t *testing.T) {
	if len(Native()) == 0 {
		t.Skip("no table for " + runtime.GOARCH)
	}
	_, flags, err := ForProfile(mustParse(t, `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_TSYNC"]}`), 0)
	if err != nil || flags != unix.SECCOMP_FILTER_FLAG_LOG|unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW {
		t.Errorf("%#x, %v", flags, err)
	}
}

func TestKernel(t *testing.T) {
	for s, want := range map[string]Kernel{"6.1.0-13-amd64": {6, 1}, "5.10": {5, 10}, "4.8-rc1": {4, 8}} {
		if k, _, ok := parseKernel(s); !ok || k != want {
			t.Errorf("%s: %v, %v", s, k, ok)
		}
	}
	for _, s := range []string{"", "6", "6.", ".1", "a.b", "6-1"} {
		if k, _, ok := parseKernel(s); ok {
			t.Errorf("%q: %v", s, k)
		}
	}
	if k, err := ThisKernel(); err != nil || k[0] < 4 {
		t.Errorf("%v, %v", k, err)
	}
}

// What is taken compiles to what the kernel takes, and means what its policy
// says, or is refused.
func FuzzProfile(f *testing.F) {
	// Short seeds: time goes into making smaller what long ones lead to.
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"defaultErrno":"ENOSYS","architectures":["SCMP_ARCH_X86"],"syscalls":[{"names":["execve","read"],"action":"SCMP_ACT_ALLOW"}]}`))
	f.Add([]byte(allowing(`{"name":"clone","action":"SCMP_ACT_KILL","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"caps":["CAP_CHOWN"],"arches":["amd64"]}}`)))
	f.Add([]byte(denying(`{"names":["semop","socket","prctl"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":1,"op":"SCMP_CMP_GT"},{"index":0,"value":3,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}],"excludes":{"minKernel":"4.8","caps":["CAP_BPF"]}}`)))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_LOG","archMap":[{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],"flags":["SECCOMP_FILTER_FLAG_LOG"],"comment":{"a":[null]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseProfile(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of two lines: %q", err)
			}
			return
		}
		for _, m := range []Machine{amd64Machine, {0, Kernel{4, 7}, []Arch{ARM64, ARM}}} {
			policy, err := p.policy(&m)
			if err != nil {
				continue
			}
			prog, err := Compile(policy)
			if err != nil {
				continue
			}
			if err := check(prog); err != nil {
				t.Fatal(err)
			}
			for _, r := range policy.Rules {
				for _, c := range r.Calls[:min(len(r.Calls), 4)] { // the oracle is slow
					for _, a := range policy.Arches {
						nr, ok := c.Number(a)
						if !ok {
							continue
						}
						d := data{nr: nr, arch: archs[a].audit}
						for _, arg := range r.Args {
							d.args[arg.Index] = arg.Value
							if archs[a].narrow {
								d.args[arg.Index] &= Low32
							}
						}
						got, err := simulate(prog, &d)
						if err != nil {
							t.Fatal(err)
						}
						if want := evaluate(policy, &d); got != want {
							t.Fatalf("%s by %s, %#x: %#x, want %#x", c, a, d.args, got, want)
						}
					}
				}
			}
		}
	})
}
