// SPDX-License-Identifier: Apache-2.0

// Package scm reads the control messages of sockets (cmsg(3), unix(7), SCM_RIGHTS).
package scm

import "golang.org/x/sys/unix"

// Rights are the descriptors that came with a message, in their order, as oob of
// recvmsg(2). They are the caller's to close.
func Rights(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		list, _ := unix.ParseUnixRights(&messages[i]) // or it is of another kind
		fds = append(fds, list...)
	}
	return fds
}

// Right is the one descriptor that came with a message, the caller's to close; -1 for
// none. Of several, for which there may be room (CMSG_SPACE(3)), none is kept.
func Right(oob []byte) int {
	fds := Rights(oob)
	if len(fds) == 1 {
		return fds[0]
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return -1
}
