// SPDX-License-Identifier: Apache-2.0

// Package journal opens streams to systemd-journald by its own protocol, as
// systemd does for services: whatever is written to one is taken line by line, as
// of whoever wrote it (systemd-cat(1); systemd, journald-stream.c).
package journal

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNone says that a descriptor is no stream to the journal.
var ErrNone = errors.New("not a stream to the journal")

// Streams tells which of the descriptors 1 and 2 are the stream that variable, the
// value of JOURNAL_STREAM, speaks of (systemd.exec(5)).
func Streams(variable string) (which [2]bool) {
	if variable == "" {
		return which
	}
	for i := range which {
		var st unix.Stat_t
		if unix.Fstat(i+1, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			which[i] = variable == strconv.FormatUint(st.Dev, 10)+":"+strconv.FormatUint(st.Ino, 10)
		}
	}
	return which
}

// Open opens another stream to the journal that fd is a stream to. Its lines are
// identifier's (SYSLOG_IDENTIFIER), and unit's where journald cannot see any more
// in whose cgroup the writer was; they are of level info unless they begin with
// another, as in sd-daemon(3). The caller closes it.
func Open(fd int, identifier, unit string) (int, error) {
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return -1, ErrNone
	}
	at, ok := peer.(*unix.SockaddrUnix)
	// A journal's namespace has a directory of its own.
	if !ok || path.Base(at.Name) != "stdout" || !strings.HasPrefix(at.Name, "/run/systemd/journal") {
		return -1, ErrNone
	}
	if strings.ContainsAny(identifier+unit, "\n\x00") {
		return -1, fmt.Errorf("cannot open a stream to the journal: %q is no name", identifier)
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	// Identifier, unit, level, whether lines begin with levels, and whether they go
	// on to syslog, the kernel's log and the console: that is journald.conf's.
	header := identifier + "\n" + unit + "\n6\n1\n0\n0\n0\n"
	if err = unix.Connect(s, at); err == nil {
		if err = unix.Shutdown(s, unix.SHUT_RD); err == nil {
			_, err = unix.Write(s, []byte(header))
		}
	}
	if err != nil {
		unix.Close(s)
		return -1, fmt.Errorf("cannot open a stream to the journal at %s: %w", at.Name, err)
	}
	return s, nil
}
