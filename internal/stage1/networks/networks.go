// SPDX-License-Identifier: Apache-2.0

// Package networks has the program that attached a pod to networks
// (contract.EnvNetwork) give them back. stage0 does that for young pods and for
// those that a kill left, a flavor's `run` for all others.
package networks

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// Start starts the program in dir ("" is the working directory) for one verb,
// with the descriptor fd to answer on.
func Start(program, verb, dir string, env []string, fd int) (pid int, err error) {
	pid, err = syscall.ForkExec(program, []string{"network", verb}, &syscall.ProcAttr{
		Dir: dir, Env: env, Files: []uintptr{0, 2, 2, uintptr(fd)},
	})
	if err != nil {
		err = fmt.Errorf("cannot start %s: %w", program, err)
	}
	return pid, err
}

// Hear reads an answer; "" is the end.
func Hear(fd int) (string, error) {
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return string(buf[:max(n, 0)]), os.NewSyscallError("read", err)
		}
	}
}

// Release starts the program to give back what the pod in dir holds, and returns
// when that is done. It does not wait for the program's end: the kernel may take
// its time for that.
func Release(program, dir string, env []string) error {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(ends[0])
	_, err := Start(program, contract.NetworkRelease, dir, env, ends[1])
	unix.Close(ends[1])
	if err != nil {
		return err
	}
	return Released(Hear(ends[0]))
}

// Released is what an answer to contract.NetworkRelease means.
func Released(word string, err error) error {
	if err == nil && word != contract.NetworkDone {
		err = errors.New(word)
	}
	if err != nil {
		err = fmt.Errorf("cannot give the pod's networks back: %w", err)
	}
	return err
}

// Leave has the program (contract.EnvNetwork) give back what the pod held
// of networks, and returns when that is done, which is before the program ends.
// fd leads to one that is there already, or is negative.
func Leave(program string, fd int) error {
	if program == "" {
		return nil
	}
	if fd >= 0 && unix.Send(fd, []byte(contract.NetworkRelease), unix.MSG_NOSIGNAL) == nil {
		if word, err := Hear(fd); word != "" {
			return Released(word, err)
		}
	}
	// It is not there, or no more.
	return Release(program, "", []string{"GOMAXPROCS=1"})
}
