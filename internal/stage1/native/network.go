// SPDX-License-Identifier: Apache-2.0

package native

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// leaveNetworks has the program (contract.EnvNetwork) give back what the pod held
// of networks, and returns when that is done, which is before the program ends.
// fd leads to one that is there already, or is negative.
func leaveNetworks(program string, fd int) error {
	if program == "" {
		return nil
	}
	var word string
	var err error
	if fd >= 0 && unix.Send(fd, []byte(contract.NetworkRelease), unix.MSG_NOSIGNAL) == nil {
		word, err = hear(fd)
	}
	if word == "" { // it is not there, or no more
		word, err = startRelease(program)
	}
	if err == nil && word != contract.NetworkDone {
		err = errors.New(word)
	}
	if err != nil {
		err = fmt.Errorf("cannot give the pod's networks back: %w", err)
	}
	return err
}

func startRelease(program string) (word string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	_, err = syscall.ForkExec(program, []string{program, contract.NetworkRelease}, &syscall.ProcAttr{
		Env: []string{"GOMAXPROCS=1"}, Files: []uintptr{0, 2, 2, w.Fd()},
	})
	w.Close()
	if err != nil {
		return "", err
	}
	return hear(int(r.Fd()))
}

// hear reads one answer; "" is the end.
func hear(fd int) (string, error) {
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return string(buf[:max(n, 0)]), os.NewSyscallError("read", err)
		}
	}
}
