// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Streams are an app's standard streams, unless it has a terminal of its own.
type Streams struct {
	// App are its descriptors, for Process.Stdio.
	App [3]int
	// Pumps are reading ends of what it writes to 1 and 2, for somebody who passes
	// that on; -1 where the app writes to the caller's descriptor itself.
	Pumps [2]int

	opened []int // of App, to be closed once the app has its own
}

// OpenStreams opens app's streams by the document; root is its root, with /dev,
// uid its user as the caller knows it, and own what it writes to in place of the
// caller's 1 and 2, 0 for those.
func OpenStreams(doc *contract.Pod, app *contract.App, root int, uid uint32, own [2]int) (*Streams, error) {
	s := &Streams{App: [3]int{0, 1, 2}, Pumps: [2]int{-1, -1}}
	for i, fd := range own {
		if fd > 0 {
			s.App[i+1] = fd
		}
	}
	if err := s.open(doc, app, root); err != nil {
		s.CloseApp()
		s.closePumps()
		return nil, err
	}
	if err := LendOutput(uid, s.App[1], s.App[2]); err != nil {
		s.CloseApp()
		s.closePumps()
		return nil, err
	}
	return s, nil
}

func (s *Streams) open(doc *contract.Pod, app *contract.App, root int) error {
	null := -1
	useNull := func(i int) (err error) {
		if null < 0 {
			if null, err = safepath.OpenInRoot(root, "dev/null", unix.O_RDWR); err != nil {
				return err
			}
			s.opened = append(s.opened, null)
		}
		s.App[i] = null
		return nil
	}
	if !doc.Interactive && app.Stdin != contract.Inherit {
		if err := useNull(0); err != nil {
			return err
		}
	}
	for i, mode := range []contract.Stream{1: app.Stdout, 2: app.Stderr} {
		switch {
		case i == 0:
		case mode == contract.Null:
			if err := useNull(i); err != nil {
				return err
			}
		// Not the caller's terminal itself: what is typed could be read from it.
		case mode == contract.Log, pty.IsTerminal(s.App[i]):
			if err := s.divert(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// divert has somebody pass on what the process writes to descriptor i.
func (s *Streams) divert(i int) error {
	p := make([]int, 2)
	if err := unix.Pipe2(p, unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	s.Pumps[i-1], s.App[i] = p[0], p[1]
	s.opened = append(s.opened, p[1])
	return nil
}

// CallerStreams are the caller's own descriptors 0 to 2, but for a terminal: what
// is typed at it could be read from any of them. In its place come pipes; Pumps
// as in Streams, uid as in OpenStreams, and feed, if not -1, is where what is typed is to be written.
func CallerStreams(uid uint32) (s *Streams, feed int, err error) {
	s, feed = &Streams{App: [3]int{0, 1, 2}, Pumps: [2]int{-1, -1}}, -1
	if pty.IsTerminal(0) {
		p := make([]int, 2)
		if err := unix.Pipe2(p, unix.O_CLOEXEC); err != nil {
			return nil, -1, os.NewSyscallError("pipe2", err)
		}
		s.App[0], feed = p[0], p[1]
		s.opened = append(s.opened, p[0])
	}
	for i := 1; i <= 2 && err == nil; i++ {
		if pty.IsTerminal(i) {
			err = s.divert(i)
		}
	}
	if err == nil {
		err = LendOutput(uid, s.App[1], s.App[2])
	}
	if err != nil {
		s.CloseApp()
		s.closePumps()
		if feed >= 0 {
			unix.Close(feed)
		}
		return nil, -1, err
	}
	return s, feed, nil
}

// CloseApp closes this side's copies of what the app has by now.
func (s *Streams) CloseApp() {
	for _, fd := range s.opened {
		unix.Close(fd)
	}
	s.opened = nil
}

func (s *Streams) closePumps() {
	for _, fd := range s.Pumps {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Pumped tells whether somebody has to pass on what the app writes.
func (s *Streams) Pumped() bool { return s.Pumps[0] >= 0 || s.Pumps[1] >= 0 }
