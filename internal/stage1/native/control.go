// SPDX-License-Identifier: Apache-2.0

package native

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// Message kinds beside those of contract.Event that `run` sends to `init`.
const (
	kindSignal = "signal" // Signal: to be given to the apps; SIGTERM stops the pod
)

// control is one end of the socket between `run` and `init`.
type control int

// inherited takes a descriptor whose number stands in the environment.
func inherited(env string) (int, error) {
	n, err := strconv.Atoi(os.Getenv(env))
	if err != nil || n < 3 {
		return -1, fmt.Errorf("cannot start: %s is not set; only rkt starts this program", env)
	}
	unix.CloseOnExec(n)
	return n, nil
}

// send gives an event and, if fd is not negative, a descriptor to the other
// end. An end that is gone is no error: whoever stays notices by itself.
func (c control) send(e contract.Event, fd int) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	for {
		err = unix.Sendmsg(int(c), b, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.EPIPE || err == unix.ECONNRESET {
		return nil
	}
	return os.NewSyscallError("sendmsg", err)
}

// receive waits for the next event; ok is false when the other end is closed.
// The caller closes fd if it is not negative.
func (c control) receive() (e contract.Event, fd int, ok bool) {
	buf := make([]byte, 64<<10)
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(int(c), buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return e, -1, false
		}
		fd = -1
		if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for i := range msgs {
				if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil && len(fds) == 1 {
					fd = fds[0]
				}
			}
		}
		if json.Unmarshal(buf[:n], &e) != nil {
			continue
		}
		return e, fd, true
	}
}

// document reads the contract document of the pod directory dir.
func document(dir string) (*contract.Pod, error) {
	b, err := os.ReadFile(dir + "/" + contract.File)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	doc := new(contract.Pod)
	if err := json.Unmarshal(b, doc); err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	if doc.Version != contract.Version {
		return nil, fmt.Errorf("cannot run pod %s: its document has version %d, this flavor knows %d", doc.UUID, doc.Version, contract.Version)
	}
	if len(doc.Apps) == 0 {
		return nil, fmt.Errorf("cannot run pod %s: it has no apps", doc.UUID)
	}
	return doc, nil
}
