// SPDX-License-Identifier: Apache-2.0

// Package machine has a pod made known to systemd-machined, and unknown again, by
// the program that can (contract.EnvMachine). stage0 does that for pods of flavors
// that have an `init`, and for young pods' ends; a flavor's `run` for all others.
package machine

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// start starts the program in the pod's directory dir ("" is the working directory).
func start(program, dir string, args ...string) (pid int, err error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot open /dev/null: %w", err)
	}
	defer unix.Close(null)
	pid, err = syscall.ForkExec(program, append([]string{"systemd"}, args...), &syscall.ProcAttr{
		Dir: dir, Env: []string{"GOMAXPROCS=1"}, Files: []uintptr{uintptr(null), uintptr(null), 2},
	})
	if err != nil {
		err = fmt.Errorf("cannot start %s: %w", program, err)
	}
	return pid, err
}

// Register begins to make the pod in dir known, with leader as its first process,
// and does not wait for that: it returns the child that does it, which says on
// descriptor 2 what goes wrong.
func Register(program, dir, leader string) (pid int, err error) {
	return start(program, dir, contract.MachineRegister, leader, "container")
}

// Unregister begins to make the pod in dir unknown again; done, which is never nil,
// returns when that is done.
func Unregister(program, dir string) (done func() error) {
	pid, err := start(program, dir, contract.MachineUnregister)
	return func() error {
		if err != nil {
			return err
		}
		_, err := wait.For(pid)
		return err
	}
}
