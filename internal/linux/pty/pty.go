// SPDX-License-Identifier: Apache-2.0

// Package pty makes pseudo-terminals of a given devpts instance and carries
// bytes between one and the caller's own terminal.
package pty

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Open makes a pair in the devpts instance whose root dev is. Both descriptors
// are close-on-exec and the caller's to close. The slave is taken from the
// master itself (TIOCGPTPEER), so no path is trusted.
func Open(dev int) (master, slave int, err error) {
	master, err = unix.Openat(dev, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("cannot open a pseudo-terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		unix.Close(master)
		return -1, -1, fmt.Errorf("cannot unlock a pseudo-terminal: %w", err)
	}
	s, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		unix.Close(master)
		return -1, -1, fmt.Errorf("cannot open the other end of a pseudo-terminal: %w", errno)
	}
	return master, int(s), nil
}

// IsTerminal tells whether fd is a terminal.
func IsTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// CopySize gives to the size of the terminal from. Failures are of no
// consequence: the size stays as it is.
func CopySize(to, from int) {
	if ws, err := unix.IoctlGetWinsize(from, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(to, unix.TIOCSWINSZ, ws)
	}
}

// Raw puts a terminal into raw mode and returns what undoes it.
func Raw(fd int) (restore func(), err error) {
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("cannot read the terminal's mode: %w", err)
	}
	t := *old
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &t); err != nil {
		return nil, fmt.Errorf("cannot set the terminal's mode: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETSF, old) }, nil
}

// escapeKey is ^], which pressed escapeCount times ends an interactive pod.
const (
	escapeKey   = 0x1d
	escapeCount = 3
)

// CopyIn carries bytes from the caller's terminal to the pty until in ends
// (false) or ^] came three times in a row (true). The first two are passed on.
func CopyIn(master, in int) (escaped bool) {
	buf := make([]byte, 4096)
	run := 0
	for {
		n, err := unix.Read(in, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return false
		}
		for _, b := range buf[:n] {
			if b != escapeKey {
				run = 0
			} else if run++; run == escapeCount {
				return true
			}
		}
		if WriteAll(master, buf[:n]) != nil {
			return false
		}
	}
}

// CopyOut carries bytes from the pty to the caller until all slaves are closed
// (nil), or the caller takes no more (an error).
func CopyOut(out, master int) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Read(master, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 { // EIO: the last slave was closed
			return nil
		}
		if err := WriteAll(out, buf[:n]); err != nil {
			return err
		}
	}
}

// Discard reads from the pty until all slaves are closed, so that nobody who
// writes to it waits for ever.
func Discard(master int) {
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(master, buf)
		if err != unix.EINTR && (err != nil || n <= 0) {
			return
		}
	}
}

// WriteAll writes all of b, waiting where fd takes no more just now.
func WriteAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(fds, -1)
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
