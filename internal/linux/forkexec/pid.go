// SPDX-License-Identifier: Apache-2.0

package forkexec

import (
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TellPID appends a call after which the environment that Exec gives has a
// variable with the program's pid, as the program itself sees it. Nobody else
// knows that before: the child writes it, into memory made ready here. It is for
// one variable; it comes before anything that forbids getpid(2).
func (c *Child) TellPID(variable string) error {
	if variable == "" || strings.ContainsAny(variable, "=\x00") {
		return fmt.Errorf("cannot tell a program its pid by a variable %q", variable)
	}
	var digits [16]byte
	text := append(append([]byte(variable), '='), digits[:]...)
	c.own = &text[0]
	c.Call("tell the program its pid", unix.SYS_GETPID)
	c.calls[len(c.calls)-1].digits = (*[16]byte)(text[len(variable)+1:])
	return nil
}

// environment is Strings, with what TellPID adds.
func (c *Child) environment(env []string) (uintptr, error) {
	if c.own == nil {
		return c.Strings(env)
	}
	list, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return 0, fmt.Errorf("cannot pass a variable to the kernel: it has a NUL byte")
	}
	list = append(list[:len(env)], c.own, nil)
	c.Keep(list)
	return uintptr(unsafe.Pointer(&list[0])), nil
}

// write writes n in decimal, and a zero byte behind it. It runs in the child.
//
//go:nosplit
//go:norace
//go:nocheckptr
func write(to *[16]byte, n uintptr) {
	length := uintptr(1)
	for rest := n; rest >= 10; rest /= 10 {
		length++
	}
	to[length&15] = 0
	for length > 0 {
		length--
		to[length&15] = byte('0' + n%10)
		n /= 10
	}
}
