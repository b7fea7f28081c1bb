// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/caps"
)

// ociProfile is a profile as the runtimes' own readers see it: the test's
// reading of it, apart from ParseProfile's.
type ociProfile struct {
	DefaultAction   string
	DefaultErrnoRet *uint32
	Architectures   []string
	ArchMap         []struct {
		Architecture     string
		SubArchitectures []string
	}
	Syscalls []struct {
		Name     string
		Names    []string
		Action   string
		ErrnoRet *uint32
		Args     []struct {
			Index           uint32
			Value, ValueTwo uint64
			Op              string
		}
		Includes, Excludes struct {
			Caps, Arches []string
			MinKernel    string
		}
	}
}

func ociAction(t *testing.T, name string, errno *uint32) uint32 {
	t.Helper()
	e := uint32(1)
	if errno != nil {
		e = *errno
	}
	a, ok := map[string]uint32{
		"SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000,
		"SCMP_ACT_TRAP": 0x30000, "SCMP_ACT_ERRNO": 0x50000 | e, "SCMP_ACT_LOG": 0x7ffc0000, "SCMP_ACT_ALLOW": 0x7fff0000,
	}[name]
	if !ok {
		t.Fatalf("action %q", name)
	}
	return a
}

// ociOps are libseccomp's numbers.
var ociOps = map[string]int{
	"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7,
}

// lines are what the runtimes tell libseccomp of a profile, and the arguments
// that its conditions look at, by call.
func (p *ociProfile) lines(t *testing.T, m *Machine) (lines string, args map[string]map[uint32]bool) {
	t.Helper()
	var in strings.Builder
	byDefault := ociAction(t, p.DefaultAction, p.DefaultErrnoRet)
	fmt.Fprintf(&in, "init %d %d\n", byDefault, uint32(KillProcess))
	own := map[Arch]string{AMD64: "SCMP_ARCH_X86_64", ARM64: "SCMP_ARCH_AARCH64"}[m.Arches[0]]
	name := map[Arch]string{AMD64: "amd64", ARM64: "arm64"}[m.Arches[0]]
	subs := p.Architectures
	for _, a := range p.ArchMap {
		if a.Architecture == own {
			subs = a.SubArchitectures
		}
	}
	fmt.Fprintf(&in, "arch %d\n", archs[m.Arches[0]].audit)
	if second := map[Arch]string{I386: "SCMP_ARCH_X86", ARM: "SCMP_ARCH_ARM"}[m.Arches[1]]; slices.Contains(subs, second) {
		fmt.Fprintf(&in, "arch %d\n", archs[m.Arches[1]].audit)
	}
	has := func(c string) bool {
		s, err := caps.Parse([]string{c})
		return err == nil && uint64(s)&m.Caps != 0
	}
	reached := func(k string) bool {
		var want Kernel
		if _, err := fmt.Sscanf(k, "%d.%d", &want[0], &want[1]); err != nil {
			t.Fatal(err)
		}
		return m.Kernel[0] > want[0] || m.Kernel[0] == want[0] && m.Kernel[1] >= want[1]
	}
	args = map[string]map[uint32]bool{}
next:
	for _, s := range p.Syscalls {
		for _, c := range s.Includes.Caps {
			if !has(c) {
				continue next
			}
		}
		for _, c := range s.Excludes.Caps {
			if has(c) {
				continue next
			}
		}
		if len(s.Includes.Arches) > 0 && !slices.Contains(s.Includes.Arches, name) || slices.Contains(s.Excludes.Arches, name) ||
			s.Includes.MinKernel != "" && !reached(s.Includes.MinKernel) || s.Excludes.MinKernel != "" && reached(s.Excludes.MinKernel) {
			continue
		}
		action := ociAction(t, s.Action, s.ErrnoRet)
		if action == byDefault {
			continue
		}
		if s.Name != "" {
			s.Names = []string{s.Name}
		}
		words := make([]string, len(s.Args))
		apart := map[uint32]bool{}
		for i, a := range s.Args {
			words[i] = fmt.Sprintf("%d %d %d %d", a.Index, ociOps[a.Op], a.Value, a.ValueTwo)
			apart[a.Index] = true
		}
		for _, n := range s.Names {
			for i := range apart {
				if args[n] == nil {
					args[n] = map[uint32]bool{}
				}
				args[n][i] = true
			}
			if len(apart) < len(words) { // as runc, crun and podman do
				for _, w := range words {
					fmt.Fprintf(&in, "rule %d %s 1 %s\n", action, n, w)
				}
				continue
			}
			fmt.Fprintf(&in, "rule %d %s %d %s\n", action, n, len(words), strings.Join(words, " "))
		}
	}
	return in.String(), args
}

// machines are those a profile is compared on: every architecture, capabilities
// and kernels on both sides of what profiles ask for.
func machines() []Machine {
	var list []Machine
	for _, arches := range [][]Arch{{AMD64, I386}, {ARM64, ARM}} {
		for _, c := range []uint64{0, usualCaps, 1 << unix.CAP_SYS_ADMIN, ^uint64(0)} {
			list = append(list, Machine{c, Kernel{6, 1}, arches})
		}
		list = append(list, Machine{usualCaps, Kernel{4, 7}, arches}, Machine{usualCaps, Kernel{4, 8}, arches})
	}
	return list
}

// Every call of every architecture under whole profiles, as the runtimes
// translate them for libseccomp.
func TestProfilesAgainstLibseccomp(t *testing.T) {
	bin := buildOracle(t)
	files, err := filepath.Glob("testdata/profiles/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("profiles %q, %v", files, err)
	}
	if installed := "/usr/share/containers/seccomp.json"; exists(installed) {
		files = append(files, installed)
	} else {
		t.Log("without podman's profile: golang-github-containers-common is not installed")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseProfile(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var theirs ociProfile
		if err := json.Unmarshal(text, &theirs); err != nil {
			t.Fatal(err)
		}
		for _, m := range machines() {
			compareProfile(t, bin, file, p, &theirs, &m)
		}
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func compareProfile(t *testing.T, bin, file string, p *Profile, theirs *ociProfile, m *Machine) {
	t.Helper()
	prog, err := p.compile(m)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if err := check(prog); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	lines, args := theirs.lines(t, m)
	reference, unknown := askOracle(t, bin, lines)
	if reference == nil {
		t.Fatalf("%s: libseccomp refuses it", file)
	}
	values := theirs.values()
	byDefault := Action(ociAction(t, theirs.DefaultAction, theirs.DefaultErrnoRet))
	compared, differ := 0, 0
	for a := range numArches {
		for _, nr := range everyNumber() {
			c, known := callAt(a, nr)
			if known && unknown[c] {
				continue
			}
			ours := func(d *data) {
				compared++
				got, err := simulate(prog, d)
				if err != nil {
					t.Fatal(err)
				}
				want, err := simulate(reference, d)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case a == AMD64 && m.Arches[0] == AMD64 && nr >= x32 && nr != ^uint32(0):
					want = Errno(unix.ENOSYS)
				case !known && slices.Contains(m.Arches, a) && want == byDefault && !byDefault.permits():
					want = Errno(unix.ENOSYS)
				}
				if got != want {
					if differ++; differ < 20 {
						t.Errorf("%s on %v, capabilities %#x, %v: %s(%#x) by %s: %#x, libseccomp says %#x", file, m.Arches, m.Caps, m.Kernel, c, d.args, a, got, want)
					}
				}
			}
			var indices []uint32
			if known {
				indices = slices.Collect(maps.Keys(args[c.String()]))
			}
			d := data{nr: nr, arch: archs[a].audit}
			if len(indices) == 0 {
				ours(&d)
				d.args = [6]uint64{1, 2, 3, 4, 5, 6}
				ours(&d)
				continue
			}
			for _, v := range values {
				for _, w := range values {
					d.args = [6]uint64{w, w, w, w, w, w}
					d.args[indices[0]] = v
					if archs[a].narrow {
						for i := range d.args {
							d.args[i] &= Low32
						}
					}
					ours(&d)
				}
			}
		}
	}
	t.Logf("%s on %v, capabilities %#x, %v: %d instructions, libseccomp %d; %d comparisons", filepath.Base(file), m.Arches, m.Caps, m.Kernel, len(prog), len(reference), compared)
	if compared < 2000 {
		t.Errorf("only %d comparisons", compared)
	}
}

// values are those that the profile compares with, their neighbours, and what
// 64 bits make of them.
func (p *ociProfile) values() []uint64 {
	set := map[uint64]bool{0: true, 1: true, ^uint64(0): true, 1 << 31: true, 1 << 32: true}
	for _, s := range p.Syscalls {
		for _, a := range s.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				for _, w := range []uint64{v - 1, v, v + 1, v | 1<<32, v & -v} {
					set[w] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
