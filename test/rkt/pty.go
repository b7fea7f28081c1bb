// SPDX-License-Identifier: Apache-2.0

package rkt

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Terminal is an rkt at a terminal, with the test at the keyboard.
type Terminal struct {
	*Process
	master *os.File
}

// Type starts rkt at a new terminal of 24 lines and 80 columns.
func (h *Host) Type(args ...string) *Terminal {
	h.t.Helper()
	return h.TypeBy(nil, args...)
}

// TypeBy is Type by a program that executes rkt in its own place, as in StartBy;
// nil is none.
func (h *Host) TypeBy(argv []string, args ...string) *Terminal {
	h.t.Helper()
	master, slave, err := openpty()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := h.command(context.Background(), args)
	if argv != nil {
		cmd.Path, cmd.Args = argv[0], append(append([]string(nil), argv...), cmd.Args...)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p := h.start(cmd, master)
	_ = slave.Close()
	return &Terminal{p, master}
}

// Send types text.
func (t *Terminal) Send(text string) {
	t.t.Helper()
	if _, err := t.master.WriteString(text); err != nil {
		t.t.Fatalf("cannot type %q: %v", text, err)
	}
}

// Resize changes the size of the terminal's window.
func (t *Terminal) Resize(rows, cols uint16) {
	t.t.Helper()
	if err := unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		t.t.Fatal(err)
	}
}

// Echo reports whether the terminal echoes and collects lines, as it does
// when no program has changed it.
func (t *Terminal) Echo() bool {
	t.t.Helper()
	tio, err := unix.IoctlGetTermios(int(t.master.Fd()), unix.TCGETS)
	if err != nil {
		t.t.Fatal(err)
	}
	return tio.Lflag&unix.ECHO != 0 && tio.Lflag&unix.ICANON != 0
}

func openpty() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}
