// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// Enter is the `enter` entry point: it has argv run beside the app, in the machine,
// and returns argv's exit status.
func Enter(name string, argv []string) (int, error) {
	doc, err := poddir.Document(".")
	if err != nil {
		return 0, err
	}
	if doc.App(name) == nil {
		return 0, fmt.Errorf("cannot enter app %q: the pod has none of that name", name)
	}
	if err := awaitApp(name); err != nil {
		return 0, fmt.Errorf("cannot enter app %q: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socketName}); err != nil {
		return 0, fmt.Errorf("cannot enter app %q: the pod does not listen any more: %w", name, err)
	}
	signal.Ignore(unix.SIGPIPE)
	s := newSession(wire.NewWriter(endpoint(fd)), podChannel, name, argv, pty.IsTerminal(0) && pty.IsTerminal(1), true)
	signals := poddir.Signals()
	if err := s.start(); err != nil {
		return 0, err
	}
	go func() {
		for sig := range signals {
			s.signal(sig.(unix.Signal))
		}
	}()
	in := wire.NewReader(endpoint(fd), wire.MaxPayload)
	for {
		f, err := in.Read()
		if err == nil {
			err = s.handle(f)
		}
		if err != nil {
			s.end(128+int(unix.SIGKILL), nil) // with the pod
			break
		}
		if f.Kind == wire.Exited || f.Kind == wire.Failed {
			break
		}
	}
	<-s.ended
	if s.err != nil {
		return 0, fmt.Errorf("cannot enter app %q: %w", name, s.err)
	}
	return s.status, nil
}

// patience is how long enter waits for an app to start: both tries of a machine to
// come up, and then some.
const patience = probeLimit + tcgLimit + 30*time.Second

// awaitApp waits until the app has started, or ended, in a machine that takes its
// time; it gives up when the pod ends before. Signals end the caller meanwhile.
func awaitApp(name string) error {
	run := -1
	defer func() {
		if run >= 0 {
			unix.Close(run)
		}
	}()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		e, err := poddir.Events(".")
		if err != nil {
			return err
		}
		if a := e.Apps[name]; a.PID != 0 || a.Ended {
			return nil
		}
		if run < 0 && e.Run > 0 {
			if run, err = pidfd.Open(e.Run); err != nil {
				return err
			}
			if run < 0 {
				return errEnded
			}
		}
		// A look now and then; the pod's end is told at once. Without a descriptor
		// the kernel passes over the entry, and this only waits.
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(run), Events: unix.POLLIN}}, 10); n > 0 {
			return errEnded
		}
	}
	return fmt.Errorf("it has not started within %v", patience)
}

var errEnded = errors.New("the pod has ended before it started")
