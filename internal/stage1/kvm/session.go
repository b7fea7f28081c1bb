// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// A session is a process in the guest whose streams are this process's: the pod
// itself, or what `enter` runs.
type session struct {
	w       *wire.Writer
	channel uint32
	request wire.Process

	in      *wire.Sending
	out     [2]*wire.Receiving
	pumps   sync.WaitGroup
	restore func() // once

	mu      sync.Mutex
	started bool
	pending []unix.Signal // until it is
	over    bool

	// ended is closed when status, or err, is known and all output was passed on.
	ended  chan struct{}
	status int
	err    error
}

// newSession is for a process with argv beside app, or for the pod if app is "".
// terminal: it has a terminal of its own, if the caller has one; stdin: it reads
// what the caller gives.
func newSession(w *wire.Writer, channel uint32, app string, argv []string, terminal, stdin bool) *session {
	s := &session{w: w, channel: channel, in: wire.NewSending(w, channel, wire.Stdin), ended: make(chan struct{}),
		out:     [2]*wire.Receiving{wire.NewReceiving(), wire.NewReceiving()},
		request: wire.Process{App: app, Argv: argv, Terminal: terminal, Stdin: stdin, Term: os.Getenv("TERM")}}
	if terminal {
		if ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
			s.request.Rows, s.request.Columns = int(ws.Row), int(ws.Col)
		}
	}
	return s
}

// start asks for the process and begins to carry its streams.
func (s *session) start() error {
	if s.request.Terminal {
		restore, err := pty.Raw(0)
		if err != nil {
			return err
		}
		s.restore = sync.OnceFunc(restore)
	}
	if err := s.w.Write(wire.Frame{Kind: wire.Run, Channel: s.channel, Payload: s.request.Encode()}); err != nil {
		return err
	}
	for i := range s.out {
		s.pumps.Go(func() { s.pump(i) })
	}
	if s.request.Terminal || s.request.Stdin {
		go s.feed()
	}
	return nil
}

// pump passes on what the process writes. When the caller takes no more, the process
// learns of it as it would of a pipe that nobody reads.
func (s *session) pump(i int) {
	stream := byte(wire.Stdout + i)
	gone := false
	for {
		b, ok := s.out[i].Next()
		if !ok {
			return
		}
		if !gone && pty.WriteAll(i+1, b) != nil {
			gone = true
			_ = s.w.Write(wire.Frame{Kind: wire.End, Channel: s.channel, Stream: stream})
			if s.request.Terminal { // nobody sees the app any more
				s.signal(unix.SIGHUP)
			}
		}
		s.out[i].Done(len(b))
		_ = s.w.Write(wire.Frame{Kind: wire.Credit, Channel: s.channel, Stream: stream, Payload: wire.Number(len(b))})
	}
}

// feed sends what the caller gives.
func (s *session) feed() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	go func() {
		defer w.Close()
		if s.request.Terminal {
			if pty.CopyIn(int(w.Fd()), 0) {
				s.signal(unix.SIGTERM)
			}
			return
		}
		_ = pty.CopyOut(int(w.Fd()), 0)
	}()
	buf := make([]byte, wire.MaxPayload)
	for {
		n, err := r.Read(buf)
		if err != nil {
			break
		}
		if _, err := s.in.Write(buf[:n]); err != nil {
			return
		}
	}
	_ = s.in.End()
}

// signal gives sig to the process, once it runs.
func (s *session) signal(sig unix.Signal) {
	if sig == unix.SIGWINCH {
		if s.request.Terminal {
			if ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
				_ = s.w.Write(wire.Frame{Kind: wire.Resize, Channel: s.channel, Payload: wire.Size(ws.Row, ws.Col)})
			}
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.pending = append(s.pending, sig)
		return
	}
	_ = s.w.Write(wire.Frame{Kind: wire.Signal, Channel: s.channel, Payload: []byte{byte(sig)}})
}

// handle takes a frame of the session's channel. An error is a guest that does not
// keep to the protocol.
func (s *session) handle(f wire.Frame) error {
	s.mu.Lock()
	if s.over && f.Kind == wire.Credit { // for what it was sent last
		s.mu.Unlock()
		return nil
	}
	if s.over || f.Kind != wire.Started && f.Kind != wire.Failed && !s.started {
		s.mu.Unlock()
		return fmt.Errorf("%w: a frame of kind %d out of turn", wire.ErrProtocol, f.Kind)
	}
	s.mu.Unlock()
	switch f.Kind {
	case wire.Started:
		s.mu.Lock()
		s.started = true
		pending := s.pending
		s.pending = nil
		s.mu.Unlock()
		for _, sig := range pending {
			s.signal(sig)
		}
	case wire.Failed:
		s.end(0, errors.New(printable(f.Payload)))
	case wire.Exited:
		s.end(int(f.Payload[0]), nil)
	case wire.Credit:
		if f.Stream != wire.Stdin {
			return fmt.Errorf("%w: room for what only it sends", wire.ErrProtocol)
		}
		return s.in.Credit(f.Taken())
	case wire.Data, wire.End:
		if f.Stream == wire.Stdin {
			return fmt.Errorf("%w: data of the stream that it reads", wire.ErrProtocol)
		}
		if f.Kind == wire.End {
			s.out[f.Stream-1].End()
			return nil
		}
		return s.out[f.Stream-1].Put(f.Payload)
	default:
		return fmt.Errorf("%w: a frame of kind %d", wire.ErrProtocol, f.Kind)
	}
	return nil
}

// end ends the session: what has arrived is passed on first. Only the first end
// counts.
func (s *session) end(status int, err error) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	s.over = true
	s.mu.Unlock()
	s.in.Close()
	for _, o := range s.out {
		o.End()
	}
	go func() {
		s.pumps.Wait()
		s.giveTerminalBack()
		s.status, s.err = status, err
		close(s.ended)
	}()
}

// giveTerminalBack makes the caller's terminal what it was.
func (s *session) giveTerminalBack() {
	if s.restore != nil {
		s.restore()
	}
}

// printable is a text of the guest's as it may be shown: one line, no control
// characters, not long.
func printable(b []byte) string {
	out := make([]byte, 0, 512)
	for _, c := range b[:min(len(b), cap(out))] {
		if c < ' ' || c > '~' {
			c = '?'
		}
		out = append(out, c)
	}
	return string(out)
}
