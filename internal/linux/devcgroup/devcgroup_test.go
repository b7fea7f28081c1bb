// SPDX-License-Identifier: Apache-2.0

package devcgroup

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]string{"c 1:3 rwm": "c 1:3 rwm", "b *:* m": "b *:* m", "c 189:* mr": "c 189:* rm", "a": "a *:* rwm", "a *:* rwm": "a *:* rwm"} {
		r, err := ParseRule(text)
		if err != nil || r.String() != want {
			t.Errorf("%q: %q, %v, want %q", text, r, err, want)
		}
	}
	for _, text := range []string{"", "c", "d 1:3 rwm", "c 1 rwm", "c 1:3", "c 1:3 rr", "c 1:3 x", "c -1:3 r", "c 1:4294967296 r", "a 1:3 rwm", "a *:* r", "c 1:3 rwm x", "cc 1:3 r"} {
		if r, err := ParseRule(text); err == nil {
			t.Errorf("%q: taken as %q", text, r)
		}
	}
}

// allows is the meaning of rules, said once more.
func allows(rules []Rule, kind byte, maj, min int64, a Access) bool {
	for _, r := range rules {
		if (r.Type == 'a' || r.Type == kind) && (r.Major == Any || r.Major == maj) && (r.Minor == Any || r.Minor == min) && a&^r.Access == 0 {
			return true
		}
	}
	return false
}

// run interprets a program over a context.
func run(t *testing.T, code []insn, ctx [3]uint32) uint32 {
	var reg [11]uint32
	for pc := 0; pc < len(code); pc++ {
		i := code[pc]
		dst, src := i.regs&15, i.regs>>4
		switch i.code {
		case load32:
			if src != r1 {
				t.Fatalf("%d reads through register %d", pc, src)
			}
			reg[dst] = ctx[i.off/4]
		case move:
			reg[dst] = uint32(i.imm)
		case moveReg:
			reg[dst] = reg[src]
		case and:
			reg[dst] &= uint32(i.imm)
		case right:
			reg[dst] >>= uint(i.imm)
		case unlessEq:
			if reg[dst] != uint32(i.imm) {
				pc += int(i.off)
			}
		case exit:
			return reg[0]
		default:
			t.Fatalf("unknown instruction %#x", i.code)
		}
	}
	t.Fatal("ran over the end")
	return 0
}

// TestProgram: program and meaning agree on random rules and devices.
func TestProgram(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() Rule {
		r := Rule{"abc"[rng.IntN(3)], int64(rng.IntN(4)) - 1, int64(rng.IntN(4)) - 1, Access(1 + rng.IntN(7))}
		if r.Type == 'a' && rng.IntN(8) > 0 {
			r.Type = 'b'
		} else if r.Type == 'a' {
			r = All()
		}
		return r
	}
	said := map[bool]int{}
	for range 2000 {
		var rules []Rule
		for range rng.IntN(5) {
			rules = append(rules, random())
		}
		code, union := program(rules), program(Union(rules))
		for range 20 {
			kind, maj, min, a := "bc"[rng.IntN(2)], int64(rng.IntN(3)), int64(rng.IntN(3)), Access(1+rng.IntN(7))
			ctx := [3]uint32{uint32(a)<<16 | uint32(strings.IndexByte("?bc", kind)), uint32(maj), uint32(min)}
			want := allows(rules, kind, maj, min, a)
			said[want]++
			if got := run(t, code, ctx) == 1; got != want {
				t.Fatalf("%q: %c %d:%d %s: %v, want %v", rules, kind, maj, min, a, got, want)
			}
			if want && run(t, union, ctx) != 1 {
				t.Fatalf("the union of %q denies %c %d:%d %s", rules, kind, maj, min, a)
			}
		}
	}
	if said[true] < 100 || said[false] < 100 {
		t.Errorf("nothing was tried: %v", said)
	}
}

// TestKernel: the kernel takes both forms and does what they say.
func TestKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	v2, err2 := cgroup.Own()
	v1, err1 := cgroup.Homes([]string{Controller})
	name := "/rkt-devcgroup-test-" + strconv.Itoa(os.Getpid())
	rules := Union(Default(), []Rule{{'c', 1, 11, Read}}) // kmsg
	for version, c := range map[string]struct {
		dir   string
		err   error
		apply func(dir string, rules []Rule) error
	}{"version 1": {v1[Controller], err1, Write1}, "version 2": {v2, err2, Attach}} {
		t.Run(version, func(t *testing.T) {
			if c.err != nil {
				t.Skipf("needs a cgroup: %v", c.err)
			}
			dir := c.dir + name
			if err := cgroup.Create(dir); err != nil {
				t.Skipf("needs a cgroup: %v", err)
			}
			defer func() {
				if err := cgroup.Remove(dir); err != nil {
					t.Error(err)
				}
			}()
			if err := c.apply(dir, rules); err != nil {
				if errors.Is(err, unix.EPERM) {
					t.Skipf("needs more privilege: %v", err)
				}
				t.Fatal(err)
			}
			tmp := t.TempDir()
			for node, want := range map[string]bool{"c 1 3 w": true, "c 1 11 r": true, "c 1 11 w": false, "c 1 1 r": false, "c 10 235 r": false, "b 7 0 r": false} {
				f := strings.Fields(node)
				path := filepath.Join(tmp, strings.Join(f, "-"))
				open := "exec 3<" + path
				if f[3] == "w" {
					open = "exec 3>" + path
				}
				script := "echo $$ >" + dir + "/cgroup.procs && mknod " + path + " " + strings.Join(f[:3], " ") + " && (" + open + ") 2>&1"
				out, err := exec.Command("sh", "-c", script).CombinedOutput()
				denied := strings.Contains(string(out), "Operation not permitted")
				if want && err != nil || !want && !denied {
					t.Errorf("%s: %v, %q, want allowed %v", node, err, out, want)
				}
			}
			// Whoever may do the same to a cgroup below gains nothing by it.
			if err := cgroup.Create(dir + "/below"); err != nil {
				t.Fatal(err)
			}
			if err := c.apply(dir+"/below", []Rule{All()}); (err == nil) != (version == "version 2") {
				t.Errorf("everything, below: %v", err)
			}
			script := "echo $$ >" + dir + "/below/cgroup.procs && (exec 3<" + tmp + "/b-7-0-r) 2>&1"
			if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err == nil || !strings.Contains(string(out), "Operation not permitted") {
				t.Errorf("below: %v, %q", err, out)
			}
		})
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"c 1:3 rwm", "b *:* m", "a", "a *:* rwm", "c 189:* r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%q: %q, %v", s, again, err)
		}
	})
}
