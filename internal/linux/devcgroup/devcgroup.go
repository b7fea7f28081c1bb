// SPDX-License-Identifier: Apache-2.0

// Package devcgroup says which device nodes the processes of a cgroup may open
// and make: by the controller "devices" of cgroup version 1, or by a program of
// the kernel's own machine in version 2 (Linux, Documentation/admin-guide/
// cgroup-v1/devices.rst; cgroup-v2.rst, "Device controller").
package devcgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Controller is the version 1 controller's name. Version 2 has none.
const Controller = "devices"

// Access is what may be done with a device node.
type Access uint8

// The kernel's numbers (linux/bpf.h).
const (
	Mknod Access = 1 << iota
	Read
	Write
)

// ParseAccess reads a word of the letters r, w and m, each once at most.
func ParseAccess(s string) (a Access, err error) {
	for _, c := range s {
		i := strings.IndexRune("mrw", c)
		if i < 0 || a&(1<<i) != 0 {
			return 0, fmt.Errorf("access %q is not made of r, w and m", s)
		}
		a |= 1 << i
	}
	if a == 0 {
		return 0, errors.New("access is empty: it is made of r, w and m")
	}
	return a, nil
}

// String is the letters, as the kernel writes them.
func (a Access) String() string {
	s := ""
	for _, l := range []struct {
		bit  Access
		word string
	}{{Read, "r"}, {Write, "w"}, {Mknod, "m"}} {
		if a&l.bit != 0 {
			s += l.word
		}
	}
	return s
}

// Any stands for every number.
const Any = -1

// A Rule allows Access to devices; what no single rule allows is denied.
type Rule struct {
	Type         byte // 'c' or 'b'; 'a' is all devices, whatever the numbers
	Major, Minor int64
	Access       Access
}

// ParseRule reads "c 1:3 rwm", an asterisk for any number; "a" alone and
// "a *:* rwm" are everything.
func ParseRule(s string) (Rule, error) {
	bad := fmt.Errorf("device rule %q is not of the form %q", s, "c|b|a MAJOR:MINOR rwm")
	f := strings.Fields(s)
	if len(f) == 1 && f[0] == "a" {
		return All(), nil
	}
	if len(f) != 3 || len(f[0]) != 1 || !strings.Contains("abc", f[0]) {
		return Rule{}, bad
	}
	r := Rule{Type: f[0][0]}
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return Rule{}, bad
	}
	var err error
	if r.Major, err = number(major); err == nil {
		r.Minor, err = number(minor)
	}
	if err != nil {
		return Rule{}, bad
	}
	if r.Access, err = ParseAccess(f[2]); err != nil {
		return Rule{}, fmt.Errorf("device rule %q: %w", s, err)
	}
	if r.Type == 'a' && r != All() {
		return Rule{}, fmt.Errorf("device rule %q: all devices are allowed as %q", s, All())
	}
	return r, nil
}

func number(s string) (int64, error) {
	if s == "*" {
		return Any, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return int64(n), err
}

// All is the rule that allows everything.
func All() Rule { return Rule{'a', Any, Any, Read | Write | Mknod} }

// Of is the rule for what is at a device node.
func Of(st *unix.Stat_t, a Access) Rule {
	r := Rule{Type: 'c', Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), Access: a}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		r.Type = 'b'
	}
	return r
}

// String is the rule as ParseRule and the kernel read it.
func (r Rule) String() string {
	word := func(n int64) string {
		if n == Any {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return string(r.Type) + " " + word(r.Major) + ":" + word(r.Minor) + " " + r.Access.String()
}

// Default is what every app may do: open the devices that all programs expect
// and the terminals of its own devpts, and make any node, which it cannot open
// unless a rule allows that. The same as runc's.
func Default() []Rule {
	const rwm = Read | Write | Mknod
	return []Rule{
		{'c', Any, Any, Mknod},
		{'b', Any, Any, Mknod},
		{'c', 1, 3, rwm},     // null
		{'c', 1, 5, rwm},     // zero
		{'c', 1, 7, rwm},     // full
		{'c', 1, 8, rwm},     // random
		{'c', 1, 9, rwm},     // urandom
		{'c', 5, 0, rwm},     // tty
		{'c', 5, 2, rwm},     // ptmx
		{'c', 136, Any, rwm}, // pts
	}
}

// Union is what any of the lists allows, each device once, sorted.
func Union(lists ...[]Rule) []Rule {
	var all []Rule
	for _, r := range slices.Concat(lists...) {
		i := slices.IndexFunc(all, func(o Rule) bool { return o.Type == r.Type && o.Major == r.Major && o.Minor == r.Minor })
		if i < 0 {
			all = append(all, r)
		} else {
			all[i].Access |= r.Access
		}
	}
	if slices.Contains(all, All()) {
		return []Rule{All()}
	}
	slices.SortFunc(all, func(a, b Rule) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// Write1 gives the version 1 cgroup dir, which must have none below it, just
// these rules. The cgroup above must allow as much.
func Write1(dir string, rules []Rule) error {
	deny, err := os.OpenFile(dir+"/devices.deny", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot deny devices: %w", err)
	}
	_, err = deny.WriteString("a")
	if err = errors.Join(err, deny.Close()); err != nil {
		return fmt.Errorf("cannot deny devices: %w", err)
	}
	allow, err := os.OpenFile(dir+"/devices.allow", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot allow devices: %w", err)
	}
	defer allow.Close()
	for _, r := range rules {
		text := r.String()
		if r == All() {
			text = "a"
		}
		if _, err := allow.WriteString(text); err != nil {
			if errors.Is(err, unix.EPERM) {
				err = errors.New("the cgroup above does not allow it, or CAP_SYS_ADMIN is missing")
			}
			return fmt.Errorf("cannot allow devices %q: %w", text, err)
		}
	}
	return nil
}
