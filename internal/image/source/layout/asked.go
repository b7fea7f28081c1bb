// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Asked opens files by asking rkt for them over conn, as package wire says:
// this process may open none itself.
func Asked(conn *os.File) Opener {
	var mu sync.Mutex
	return func(name string) (io.ReadCloser, int64, error) {
		mu.Lock()
		f, err := ask(int(conn.Fd()), name)
		mu.Unlock()
		if errors.Is(err, unix.ENODEV) {
			err = fmt.Errorf("%s is not a regular file", name)
		}
		if err != nil {
			return nil, 0, err
		}
		st, err := f.Stat()
		if err != nil {
			_ = f.Close()
			return nil, 0, err
		}
		return f, st.Size(), nil
	}
}

func ask(conn int, name string) (*os.File, error) {
	if err := unix.Sendmsg(conn, []byte(name), nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	var answer [4]byte
	rights := make([]byte, unix.CmsgSpace(4))
	for {
		n, m, _, _, err := unix.Recvmsg(conn, answer[:], rights, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n != len(answer) {
			err = io.ErrUnexpectedEOF
		}
		if errno := syscall.Errno(binary.NativeEndian.Uint32(answer[:])); err == nil && errno != 0 {
			err = errno
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return received(name, rights[:m])
	}
}

func received(name string, rights []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err == nil && len(messages) == 1 {
		var fds []int
		if fds, err = unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			return os.NewFile(uintptr(fds[0]), name), nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.Join(err, io.ErrUnexpectedEOF)}
}
