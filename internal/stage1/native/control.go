// SPDX-License-Identifier: Apache-2.0

package native

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/scm"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Control is one end of the socket between `run` and `init`.
type Control int

// Send gives a message and, if fd is not negative, a descriptor to the other
// end. An end that is gone is no error: whoever stays notices by itself.
func (c Control) Send(m contract.Message, fd int) error {
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

// Receive waits for the next message; ok is false when the other end is closed.
// The caller closes fd if it is not negative. Who sends more than one descriptor at
// once sends none.
func (c Control) Receive() (m contract.Message, fd int, ok bool) {
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
		fd = scm.Right(oob[:oobn])
		if m, ok = contract.DecodeMessage(buf[:n]); ok {
			return m, fd, true
		}
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
