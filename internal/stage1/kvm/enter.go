// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

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
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socketName}); err != nil {
		return 0, fmt.Errorf("cannot enter app %q: the pod does not listen: %w", name, err)
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
