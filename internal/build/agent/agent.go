// SPDX-License-Identifier: Apache-2.0

// Package agent lets a step of a build ask an SSH agent (draft-ietf-sshm-ssh-agent)
// as long as the step runs: which keys there are, and for signatures. Whatever else
// agents do, for example forget their keys or be locked, is refused: the step is a
// stranger's.
package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Ask gives an agent's answer to one message, both without their length. It may be
// called at the same time, and returns when ctx ends: an agent may wait for its user.
type Ask func(ctx context.Context, message []byte) ([]byte, error)

// Messages, by their first byte.
const (
	failure     = 5
	listRequest = 11
	signRequest = 13
)

// maxMessage bounds a message, bytes; it is OpenSSH's own bound.
const maxMessage = 256 << 10

// maxConnections is how many a step may have at once; more wait.
const maxConnections = 32

// Socket is the agent that listens at path. Each message has a connection of its own.
func Socket(path string) Ask {
	return func(ctx context.Context, message []byte) ([]byte, error) {
		c, err := dial(path)
		if err != nil {
			return nil, fmt.Errorf("cannot reach the SSH agent: %w", err)
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
		if err := send(c, message); err != nil {
			return nil, err
		}
		return receive(c)
	}
}

// dial connects to a socket whose path may be longer than a socket's address.
func dial(path string) (net.Conn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	c, err := net.Dial("unix", "/proc/self/fd/"+strconv.Itoa(fd))
	if oe := (*net.OpError)(nil); errors.As(err, &oe) {
		err = &os.PathError{Op: "connect", Path: path, Err: errno(oe)}
	}
	return c, err
}

// errno is what the kernel said.
func errno(err error) error {
	if e := unix.Errno(0); errors.As(err, &e) {
		return e
	}
	return err
}

func send(w io.Writer, message []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	return err
}

func receive(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes, more than %d or none", n, maxMessage)
	}
	message := make([]byte, n)
	_, err := io.ReadFull(r, message)
	return message, err
}

// Forward is an agent's socket for one step.
type Forward struct {
	Path     string // of the socket, whose owner and mode are the caller's to set
	listener *net.UnixListener
	ask      func(message []byte) ([]byte, error)
	end      func()        // no answer is waited for any more
	free     chan struct{} // one for each connection that there may be

	mu     sync.Mutex
	open   map[net.Conn]bool // nil once it is closed
	served sync.WaitGroup
}

// Listen makes a socket in dir, at which ask answers until Close.
func Listen(dir string, ask Ask) (*Forward, error) {
	ctx, end := context.WithCancel(context.Background())
	f := &Forward{Path: filepath.Join(dir, "agent"), end: end, open: map[net.Conn]bool{}, free: make(chan struct{}, maxConnections)}
	f.ask = func(message []byte) ([]byte, error) { return ask(ctx, message) }
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	// The path may be longer than a socket's address.
	f.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/agent", fd), Net: "unix"})
	if err != nil {
		return nil, &os.PathError{Op: "listen", Path: f.Path, Err: errno(err)}
	}
	f.listener.SetUnlinkOnClose(false) // by that path
	f.served.Add(1)
	go f.accept()
	return f, nil
}

func (f *Forward) accept() {
	defer f.served.Done()
	for {
		f.free <- struct{}{}
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		closed := f.open == nil
		if !closed {
			f.open[c] = true
			f.served.Add(1)
		}
		f.mu.Unlock()
		if closed {
			_ = c.Close()
			return
		}
		go f.serve(c)
	}
}

func (f *Forward) serve(c net.Conn) {
	defer f.served.Done()
	defer func() {
		f.mu.Lock()
		delete(f.open, c)
		f.mu.Unlock()
		_ = c.Close()
		<-f.free
	}()
	for {
		message, err := receive(c)
		if err != nil {
			return // of whatever kind, it is the end of the conversation
		}
		if send(c, f.answer(message)) != nil {
			return
		}
	}
}

func (f *Forward) answer(message []byte) []byte {
	if message[0] == listRequest || message[0] == signRequest {
		if reply, err := f.ask(message); err == nil && len(reply) > 0 {
			return reply
		}
	}
	return []byte{failure}
}

// Close ends all connections, and returns when nobody asks any more.
func (f *Forward) Close() error {
	err := f.listener.Close()
	f.end()
	f.mu.Lock()
	for c := range f.open {
		_ = c.Close()
	}
	f.open = nil
	f.mu.Unlock()
	// accept may wait for a connection to end.
	f.served.Wait()
	return err
}
