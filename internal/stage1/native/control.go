// SPDX-License-Identifier: Apache-2.0

package native

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
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

// send gives a message and, if fd is not negative, a descriptor to the other
// end. An end that is gone is no error: whoever stays notices by itself.
func (c control) send(m contract.Message, fd int) error {
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	var err error
	for {
		err = unix.Sendmsg(int(c), m.Encode(), oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.EPIPE || err == unix.ECONNRESET {
		return nil
	}
	return os.NewSyscallError("sendmsg", err)
}

// receive waits for the next message; ok is false when the other end is closed.
// The caller closes fd if it is not negative.
func (c control) receive() (m contract.Message, fd int, ok bool) {
	buf := make([]byte, 4<<10)
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(int(c), buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return m, -1, false
		}
		fd = -1
		if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for i := range msgs {
				if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil && len(fds) == 1 {
					fd = fds[0]
				}
			}
		}
		if m, ok = contract.DecodeMessage(buf[:n]); ok {
			return m, fd, true
		}
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// document reads the contract document of the pod directory dir.
func document(dir string) (*contract.Pod, error) {
	f, err := os.Open(dir + "/" + contract.File)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	return documentIn(f)
}

// documentIn reads the document from f and closes that.
func documentIn(f *os.File) (*contract.Pod, error) {
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	doc, err := contract.Decode(b)
	if err != nil {
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
