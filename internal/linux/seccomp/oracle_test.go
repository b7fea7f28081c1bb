// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// buildOracle compiles testdata/oracle.c, which makes filters with libseccomp.
func buildOracle(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("needs gcc")
	}
	out := filepath.Join(t.TempDir(), "oracle")
	if b, err := exec.Command(gcc, "-O1", "-Wall", "-o", out, "testdata/oracle.c", "-lseccomp").CombinedOutput(); err != nil {
		if bytes.Contains(b, []byte("seccomp.h")) || bytes.Contains(b, []byte("-lseccomp")) {
			t.Skip("needs libseccomp-dev")
		}
		t.Fatalf("%v: %s", err, b)
	}
	return out
}

// scmpOps are libseccomp's numbers of our comparisons.
var scmpOps = [numOps]int{NotEqual: 1, Less: 2, LessEqual: 3, Equal: 4, GreaterEqual: 5, Greater: 6}

const scmpMaskedEqual = 7

// oracle is libseccomp's program for a policy, nil if it refuses a rule, and
// the calls it does not know.
// libseccomp takes one condition for each argument, so that ranges are spelled
// out; and masks only with Equal, so that Low32 is left out elsewhere.
func oracle(t *testing.T, bin string, p *Policy) (Program, map[Call]bool) {
	t.Helper()
	var in strings.Builder
	fmt.Fprintf(&in, "init %d %d\n", p.Default, p.WrongArch)
	for _, a := range p.Arches {
		fmt.Fprintf(&in, "arch %d\n", archs[a].audit)
	}
	rule := func(r *Rule, args []Arg) {
		if r.Action == p.Default {
			return // libseccomp refuses
		}
		for _, c := range r.Calls {
			fmt.Fprintf(&in, "rule %d %s %d", r.Action, c, len(args))
			for _, a := range args {
				if a.Op == Equal && a.Mask != 0 {
					fmt.Fprintf(&in, " %d %d %d %d", a.Index, scmpMaskedEqual, a.Mask, a.Value)
				} else {
					fmt.Fprintf(&in, " %d %d %d 0", a.Index, scmpOps[a.Op], a.Value)
				}
			}
			in.WriteByte('\n')
		}
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if len(r.Args) == 2 && r.Args[0].Index == r.Args[1].Index && r.Args[0].Op == GreaterEqual && r.Args[1].Op == LessEqual {
			for v := r.Args[0].Value; v <= r.Args[1].Value; v++ {
				rule(r, []Arg{{r.Args[0].Index, Equal, v, 0}})
			}
			continue
		}
		rule(r, r.Args)
	}
	return askOracle(t, bin, in.String())
}

// askOracle hands libseccomp the lines that testdata/oracle.c reads.
func askOracle(t *testing.T, bin, in string) (Program, map[Call]bool) {
	t.Helper()
	cmd := exec.Command(bin)
	cmd.Stdin = strings.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 3 {
		return nil, nil
	}
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, stderr.Bytes(), in)
	}
	unknown := map[Call]bool{}
	for name := range strings.FieldsSeq(stderr.String()) {
		if c, ok := Lookup(name); ok {
			unknown[c] = true
		}
	}
	var prog Program
	for ; len(out) > 0; out = out[8:] {
		prog = append(prog, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(out),
			Jt:   out[2], Jf: out[3],
			K: binary.NativeEndian.Uint32(out[4:]),
		})
	}
	return prog, unknown
}

// agree compares our program and libseccomp's for one call, and returns what
// both say.
func agree(t *testing.T, ours, theirs Program, p *Policy, d *data) Action {
	t.Helper()
	got, err := simulate(ours, d)
	if err != nil {
		t.Fatal(err)
	}
	want, err := simulate(theirs, d)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(p.Arches, AMD64) && d.arch == archs[AMD64].audit && d.nr >= x32 && d.nr != ^uint32(0) {
		// libseccomp counts x32 as another architecture.
		if want == p.WrongArch {
			want = Errno(unix.ENOSYS)
		}
	}
	if got != want {
		c, _ := callAt(archOf(d.arch), d.nr)
		var rules []Rule
		for _, r := range p.Rules {
			if slices.Contains(r.Calls, c) {
				rules = append(rules, r)
			}
		}
		t.Fatalf("%+v: %#x, libseccomp says %#x\nrules of %s: %+v", d, got, want, c, rules)
	}
	return got
}

func archOf(audit uint32) Arch {
	for a := range numArches {
		if archs[a].audit == audit {
			return a
		}
	}
	return numArches
}

// everyNumber is all that a table or a filter could trip over.
func everyNumber() []uint32 {
	var n []uint32
	for i := range uint32(530) {
		n = append(n, i)
	}
	for i := range uint32(18) {
		n = append(n, 0xeffff+i)
	}
	return append(n, x32-1, x32, x32+1, x32+59, x32+512, 0x7fffffff, 0x80000000, ^uint32(0)-1, ^uint32(0))
}

func callAt(a Arch, nr uint32) (Call, bool) {
	for c := range Call(numCalls) {
		if n, ok := c.Number(a); ok && n == nr {
			return c, true
		}
	}
	return 0, false
}

func TestDefaultAgainstLibseccomp(t *testing.T) {
	bin := buildOracle(t)
	values := []uint64{
		1 << 7, 1 << 9, 1 << 10, 1 << 16, 1 << 17, 1 << 18, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30, 1 << 31,
		0x7e020000, 0x3d0f00, 0x20000, 0x20008, 0x40000, 0x5411, 0x5412, 0x5413, 0x541b, 0x541c, 0x541d, 0xfffffffe, 0xffffffff,
	}
	for v := range uint64(50) {
		values = append(values, v)
	}
	for _, caps := range []uint64{0, rktCaps, 1 << unix.CAP_SYS_ADMIN, ^uint64(0)} {
		for _, arches := range [][]Arch{{AMD64, I386}, {ARM64, ARM}, {AMD64}, {I386}, {ARM64}, {ARM}} {
			p := Default(caps, arches...)
			p.Unknown = p.Default // libseccomp has no such notion
			// libseccomp's answer to clone3 allowed and denied at once is its own
			// affair; ours is that the first rule counts.
			if caps>>unix.CAP_SYS_ADMIN&1 != 0 {
				p.Rules = withoutConditionals(p.Rules, sysClone, sysClone3, sysUnshare)
			}
			// First ioctl rules deny, the last allows: in libseccomp's words.
			p.Rules = withoutConditionals(p.Rules, sysIoctl)
			p.Rules = append(p.Rules, Rule{[]Call{sysIoctl}, []Arg{{1, NotEqual, 0x5412, 0}}, Allow})

			ours := mustCompile(t, &p)
			theirs, unknown := oracle(t, bin, &p)
			t.Logf("%v, capabilities %#x: %d instructions, libseccomp %d; %d calls unknown to it", arches, caps, len(ours), len(theirs), len(unknown))
			compared := 0
			for a := range numArches {
				for _, nr := range everyNumber() {
					c, known := callAt(a, nr)
					if known && unknown[c] {
						continue
					}
					vs := values
					if !known || !slices.ContainsFunc(conditional[:], func(r Rule) bool { return r.Calls[0] == c }) {
						vs = values[:3]
					}
					for _, v := range vs {
						d := data{nr: nr, arch: archs[a].audit, args: [6]uint64{v, v, v, v, v, v}}
						agree(t, ours, theirs, &p, &d)
						compared++
					}
				}
			}
			if compared < 5000 {
				t.Errorf("only %d comparisons", compared)
			}
		}
	}
}

func withoutConditionals(rules []Rule, calls ...Call) []Rule {
	var kept []Rule
	for _, r := range rules {
		skip := false
		for _, c := range calls {
			skip = skip || len(r.Calls) == 1 && r.Calls[0] == c
		}
		if !skip {
			kept = append(kept, r)
		}
	}
	return kept
}

// Any comparison of any argument. One rule at a time: libseccomp 2.5 forgets
// some of several for one call, and loads of the number when other calls have
// such conditions too. TestCompileMeaning has many at once.
func TestConditionsAgainstLibseccomp(t *testing.T) {
	bin := buildOracle(t)
	r := rand.New(rand.NewPCG(3, 4))
	refused, met := 0, 0
	for range 200 {
		p := Policy{Default: Errno(1), Unknown: Errno(1), WrongArch: KillProcess}
		p.Arches = [][]Arch{{AMD64}, {ARM64}, {AMD64, I386}, {ARM64, ARM}}[r.IntN(4)]
		// Under a 32-bit architecture libseccomp refuses some larger values and
		// cuts others; we take them as they are.
		limit := ^uint64(0)
		if len(p.Arches) > 1 {
			limit = Low32
		}
		rule := Rule{Calls: []Call{sysStatx}, Action: Log}
		for i := range uint8(6) {
			if r.IntN(3) != 0 {
				continue
			}
			a := Arg{Index: i, Op: Op(r.IntN(int(numOps))), Value: edges[r.IntN(len(edges))] & limit}
			if a.Op == Equal && r.IntN(2) == 0 {
				a.Mask = edges[1+r.IntN(len(edges)-1)] & limit
				a.Value &= a.Mask
				if a.Mask == 0 {
					continue
				}
			}
			rule.Args = append(rule.Args, a)
		}
		p.Rules = []Rule{rule}
		ours := mustCompile(t, &p)
		theirs, _ := oracle(t, bin, &p)
		if theirs == nil {
			refused++
			continue
		}
		for _, a := range p.Arches {
			nr := mustNumber(sysStatx, a)
			agree(t, ours, theirs, &p, &data{nr: nr - 1, arch: archs[a].audit})
			for range 300 {
				d := data{nr: nr, arch: archs[a].audit}
				for i := range d.args {
					d.args[i] = edges[r.IntN(len(edges))] + uint64(r.IntN(3)) - 1
					if archs[a].narrow {
						d.args[i] &= Low32
					}
				}
				if agree(t, ours, theirs, &p, &d) == Log {
					met++
				}
			}
		}
	}
	if met < 5000 {
		t.Errorf("conditions met in only %d comparisons", met)
	}
	if refused > 20 {
		t.Errorf("libseccomp refused %d of 200 rules", refused)
	}
}

// Rules for calls behind socketcall and ipc.
func TestDoorsAgainstLibseccomp(t *testing.T) {
	bin := buildOracle(t)
	calls := []Call{sysSocket, sysBind, sysAccept4, sysSendmmsg, sysRecv, sysSemop, sysSemget, sysMsgrcv, sysShmat, sysShmctl}
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		p := Policy{Arches: []Arch{I386}, Default: Allow, Unknown: Allow, WrongArch: KillProcess}
		for _, c := range calls {
			if r.IntN(2) == 0 {
				p.Rules = append(p.Rules, Rule{Calls: []Call{c}, Action: Errno(unix.Errno(1 + r.IntN(30)))})
			}
		}
		ours := mustCompile(t, &p)
		theirs, _ := oracle(t, bin, &p)
		for _, nr := range everyNumber() {
			for sub := range uint64(30) {
				agree(t, ours, theirs, &p, &data{nr: nr, arch: archs[I386].audit, args: [6]uint64{sub}})
			}
		}
	}
}

// The tables have libseccomp's numbers.
func TestNumbersAgainstLibseccomp(t *testing.T) {
	bin := buildOracle(t)
	for a := range numArches {
		out, err := exec.Command(bin, "numbers", fmt.Sprint(archs[a].audit)).Output()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for line := range strings.Lines(string(out)) {
			var want uint32
			var name string
			if _, err := fmt.Sscan(line, &want, &name); err != nil {
				t.Fatal(err)
			}
			c, ok := Lookup(name)
			if !ok {
				t.Errorf("%s %s: unknown name", a, name)
				continue
			}
			if got, ok := c.Number(a); !ok || got != want {
				t.Errorf("%s %s = %d, %v; libseccomp says %d", a, name, got, ok, want)
			}
			seen++
		}
		if seen < 300 {
			t.Errorf("%s: libseccomp knows %d calls", a, seen)
		}
	}
}
