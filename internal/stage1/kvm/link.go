// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// podChannel is that of the pod itself; those of commands beside it follow.
const podChannel = 1

// A link is the way to the guest: it gives each frame from there to whom it is for,
// and takes frames of callers of `enter` to it.
type link struct {
	w       *wire.Writer
	event   func(line string) error
	greeted chan wire.Greeting

	hello bool

	mu      sync.Mutex
	pod     *session // nil before the guest was asked to run it
	next    uint32
	entered map[uint32]*caller
}

// An endpoint reads and writes a descriptor whole, without Go's poller.
type endpoint int

func (e endpoint) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(e), b)
		if err == unix.EINTR {
			continue
		}
		if n == 0 && err == nil && len(b) > 0 {
			return 0, io.EOF
		}
		return max(n, 0), err
	}
}

func (e endpoint) Write(b []byte) (int, error) {
	if err := pty.WriteAll(int(e), b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// hear takes frames from the guest until there are no more, or one that is not by
// the protocol.
func (l *link) hear(in *wire.Reader) error {
	for {
		f, err := in.Read()
		if err == nil {
			err = l.handle(f)
		}
		if err != nil {
			return err
		}
	}
}

func (l *link) handle(f wire.Frame) error {
	switch f.Kind {
	case wire.Hello:
		g, err := wire.DecodeGreeting(f.Payload)
		if err != nil || l.hello {
			return fmt.Errorf("%w: its greeting", wire.ErrProtocol)
		}
		l.hello = true
		l.greeted <- g
		return nil
	}
	if !l.hello {
		return fmt.Errorf("%w: it does not greet", wire.ErrProtocol)
	}
	if f.Kind == wire.Event {
		return l.event(string(f.Payload))
	}
	l.mu.Lock()
	if f.Channel == podChannel && l.pod != nil {
		l.mu.Unlock()
		return l.pod.handle(f)
	}
	c := l.entered[f.Channel]
	if f.Kind == wire.Exited || f.Kind == wire.Failed {
		delete(l.entered, f.Channel)
	}
	l.mu.Unlock()
	if c == nil {
		if f.Kind == wire.Credit {
			return nil // for what it was sent last
		}
		return fmt.Errorf("%w: a frame for nobody", wire.ErrProtocol)
	}
	return c.give(f)
}

// setPod says whose frames those of podChannel are.
func (l *link) setPod(pod *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pod = pod
}

// close ends what callers wait for.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.entered {
		c.close()
	}
}

// serve takes callers of `enter` at a listening socket.
func (l *link) serve(listen int) {
	for {
		fd, _, err := unix.Accept4(listen, unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			go l.attend(fd)
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			time.Sleep(acceptPause) // until others have gone
		default:
			return
		}
	}
}

// acceptPause is how long callers wait when there is no descriptor for them.
const acceptPause = 50 * time.Millisecond

// maxCallers bounds those of `enter` at one time.
const maxCallers = 256

// attend takes what a caller sends to the guest. A caller that goes away takes its
// command along.
func (l *link) attend(fd int) {
	in := wire.NewReader(endpoint(fd), wire.MaxBoot)
	first, err := in.Read()
	if err != nil || first.Kind != wire.Run {
		unix.Close(fd)
		return
	}
	c := newCaller(fd)
	defer func() {
		<-c.written
		unix.Close(fd)
	}()
	l.mu.Lock()
	if len(l.entered) >= maxCallers {
		l.mu.Unlock()
		c.close()
		return
	}
	l.next++
	channel := podChannel + l.next
	c.left = func(f wire.Frame) { // in its place, so that the guest goes on
		f = wire.Frame{Kind: wire.Credit, Channel: channel, Stream: f.Stream, Payload: wire.Number(len(f.Payload))}
		_ = l.w.Write(f)
	}
	l.entered[channel] = c
	l.mu.Unlock()
	first.Channel = channel
	if l.w.Write(first) != nil {
		c.close()
		return
	}
	for {
		f, err := in.Read()
		if err != nil {
			break
		}
		switch f.Kind {
		case wire.Credit:
			c.took(f)
		case wire.Data, wire.End, wire.Resize, wire.Signal:
		default:
			err = wire.ErrProtocol
		}
		if f.Channel = channel; err != nil || l.w.Write(f) != nil {
			break
		}
	}
	if !c.leave() {
		_ = l.w.Write(wire.Frame{Kind: wire.Signal, Channel: channel, Payload: []byte{byte(unix.SIGKILL)}})
	}
}

// A caller is one of `enter`, to which frames are written in their order by a
// goroutine of its own: one that reads nothing holds up nobody else.
type caller struct {
	fd      int
	w       *wire.Writer
	left    func(wire.Frame) // takes data that came too late for it
	written chan struct{}    // closed when nothing more is written

	mu    sync.Mutex
	cond  *sync.Cond
	queue []wire.Frame
	held  [3]int // bytes under way, by stream
	gone  bool   // the caller is
	over  bool   // nothing more comes for it
}

func newCaller(fd int) *caller {
	c := &caller{fd: fd, w: wire.NewWriter(endpoint(fd)), written: make(chan struct{})}
	c.cond = sync.NewCond(&c.mu)
	go c.write()
	return c
}

// maxQueue bounds frames that wait for a caller: a window of its streams in pieces
// of any size, for each of which there is a byte at least, and a few beside.
const maxQueue = 4096

// give takes a frame from the guest. An error is a guest that sends what there is no
// room for.
func (c *caller) give(f wire.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Kind == wire.Data {
		if c.held[f.Stream] += len(f.Payload); c.held[f.Stream] > wire.Window || f.Stream == wire.Stdin {
			return fmt.Errorf("%w: data that there is no room for", wire.ErrProtocol)
		}
	}
	if len(c.queue) >= maxQueue {
		return fmt.Errorf("%w: too many frames", wire.ErrProtocol)
	}
	c.queue = append(c.queue, f)
	c.over = c.over || f.Kind == wire.Exited || f.Kind == wire.Failed
	c.cond.Broadcast()
	return nil
}

// took gives room for what the caller has taken.
func (c *caller) took(f wire.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[f.Stream] = max(c.held[f.Stream]-f.Taken(), 0)
}

// leave says that the caller is gone, and tells whether its command has ended.
func (c *caller) leave() (ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.cond.Broadcast()
	return c.over
}

func (c *caller) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.cond.Broadcast()
}

// write writes the queue to the caller, until its command's end. Of one that is gone
// it takes the data itself.
func (c *caller) write() {
	defer close(c.written)
	defer unix.Shutdown(c.fd, unix.SHUT_WR)
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.over {
			c.cond.Wait()
		}
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return
		}
		f, gone := c.queue[0], c.gone
		c.queue = c.queue[1:]
		c.mu.Unlock()
		if f.Channel = podChannel; !gone && c.w.Write(f) == nil {
			continue
		}
		c.mu.Lock()
		c.gone = true
		if f.Kind == wire.Data {
			c.held[f.Stream] -= len(f.Payload)
		}
		c.mu.Unlock()
		if f.Kind == wire.Data && c.left != nil {
			c.left(f)
		}
	}
}
