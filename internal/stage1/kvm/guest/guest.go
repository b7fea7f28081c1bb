// SPDX-License-Identifier: Apache-2.0

// Package guest is what runs in a virtual machine of the kvm flavor: its first
// process, which makes the machine ready, and is told by the host what to run.
//
// The pod itself is a native one: assembled by package assemble and taken over by
// package native, in the machine's own kernel, as it would be on a host. The same
// program is all of it, by its first argument: nothing (the machine's pid 1), run
// (in stage0's place), init and enter (native's). A reader finds the machine's life
// in this order: guest.go, machine.go, process.go, pod.go.
package guest

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// Serve is the machine's first process. It does not return but with an error, after
// which the machine is of no use.
func Serve() error {
	greeting := wire.Greeting{Version: wire.Version, Kernel: uptime()}
	if err := prepare(); err != nil {
		return err
	}
	greeting.Modules = uptime()
	port, err := openPort()
	if err != nil {
		return err
	}
	greeting.Port = uptime()
	s := &server{out: wire.NewWriter(port), processes: map[uint32]*process{}}
	if err := s.out.Write(wire.Frame{Kind: wire.Hello, Payload: greeting.Encode()}); err != nil {
		return fmt.Errorf("cannot speak to the host: %w", err)
	}
	// Apps may send pid 1 whatever they like: it is the machine's, not theirs.
	signal.Notify(make(chan os.Signal, 1))
	return s.serve(wire.NewReader(port, wire.MaxBoot))
}

// uptime is nanoseconds since the kernel began.
func uptime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return t.Nano()
}

type server struct {
	out   *wire.Writer
	ready bool // Boot has come

	mu        sync.Mutex
	processes map[uint32]*process

	events eventsReader
}

// serve does what the host says, until that is gone.
func (s *server) serve(in *wire.Reader) error {
	go reap(s)
	for {
		f, err := in.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot hear the host: %w", err)
		}
		if err := s.handle(f); err != nil {
			return err
		}
	}
}

func (s *server) handle(f wire.Frame) error {
	switch f.Kind {
	case wire.Boot:
		m, err := wire.DecodeMachine(f.Payload)
		if err != nil {
			return fmt.Errorf("cannot read what the machine is to be: %w", err)
		}
		if err := setUp(&m); err != nil {
			return err
		}
		s.ready = true
		go s.tellEvents()
		return nil
	case wire.Run:
		p, err := wire.DecodeProcess(f.Payload)
		if err == nil && !s.ready {
			err = fmt.Errorf("cannot start anything: the machine is not ready")
		}
		if err == nil {
			err = s.start(f.Channel, &p)
		}
		if err != nil {
			return s.out.Write(wire.Frame{Kind: wire.Failed, Channel: f.Channel, Payload: text(err)})
		}
		return nil
	}
	s.mu.Lock()
	p := s.processes[f.Channel]
	s.mu.Unlock()
	if p == nil {
		return nil // it has just ended
	}
	return p.handle(f)
}

// text is an error as a frame's payload.
func text(err error) []byte {
	b := []byte(err.Error())
	return b[:min(len(b), 4096)]
}

// reap waits for all children: those that were started, and what they left behind.
func reap(s *server) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch err {
		case nil:
			s.ended(pid, ws)
		case unix.ECHILD:
			time.Sleep(2 * time.Millisecond) // none yet
		}
	}
}

// powerOff ends the machine.
func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// Main is pid 1: Serve, and the machine's end.
func Main() {
	if err := Serve(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	powerOff()
}
