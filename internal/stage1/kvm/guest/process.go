// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// process is one that the host has asked for, and its streams.
type process struct {
	s       *server
	channel uint32
	pid     int
	pod     bool // it is the pod itself
	master  int  // of its terminal; -1 without
	in      *wire.Receiving
	out     [2]*wire.Sending
	input   int // where what comes for it is written; -1 if nothing does
	pumps   sync.WaitGroup

	listens bool          // to signals
	early   []unix.Signal // those that came before it did
}

// start starts what the host asks for.
func (s *server) start(channel uint32, w *wire.Process) error {
	p := &process{s: s, channel: channel, master: -1, input: -1, pod: w.App == "", in: wire.NewReceiving()}
	p.out = [2]*wire.Sending{wire.NewSending(s.out, channel, wire.Stdout), wire.NewSending(s.out, channel, wire.Stderr)}
	argv := []string{self, "run"}
	if !p.pod {
		argv = append([]string{self, "enter", "--app=" + w.App, "--"}, w.Argv...)
	}
	attr := &syscall.ProcAttr{Dir: podDir, Sys: &syscall.SysProcAttr{Setsid: true}}
	if w.Term != "" {
		attr.Env = append(attr.Env, "TERM="+w.Term)
	}
	var mine, theirs []int // descriptors
	closeAll := func(list []int) {
		for _, fd := range list {
			unix.Close(fd)
		}
	}
	var readers [2]int
	if w.Terminal {
		pts, err := unix.Open("/dev/pts", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: "/dev/pts", Err: err}
		}
		defer unix.Close(pts)
		master, slave, err := pty.Open(pts)
		if err != nil {
			return err
		}
		resize(master, uint16(w.Rows), uint16(w.Columns))
		// What is typed is the inner terminal's to interpret, as it would be if
		// the caller's own stood here.
		if _, err := pty.Raw(slave); err != nil {
			closeAll([]int{master, slave})
			return err
		}
		p.master, p.input = master, master
		readers = [2]int{master, -1}
		theirs = []int{slave}
		attr.Files = []uintptr{uintptr(slave), uintptr(slave), uintptr(slave)}
		attr.Sys.Setctty, attr.Sys.Ctty = true, 0
	} else {
		for i := range 3 {
			if i == 0 && !w.Stdin {
				null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
				if err != nil {
					return &os.PathError{Op: "open", Path: "/dev/null", Err: err}
				}
				theirs = append(theirs, null)
				attr.Files = append(attr.Files, uintptr(null))
				continue
			}
			ends := make([]int, 2)
			if err := unix.Pipe2(ends, unix.O_CLOEXEC); err != nil {
				closeAll(append(mine, theirs...))
				return os.NewSyscallError("pipe2", err)
			}
			if i == 0 {
				p.input = ends[1]
				ends[0], ends[1] = ends[1], ends[0]
			} else {
				readers[i-1] = ends[0]
			}
			mine, theirs = append(mine, ends[0]), append(theirs, ends[1])
			attr.Files = append(attr.Files, uintptr(ends[1]))
		}
	}
	ears := make([]int, 2)
	if err := unix.Pipe2(ears, unix.O_CLOEXEC); err != nil {
		closeAll(append(mine, theirs...))
		return os.NewSyscallError("pipe2", err)
	}
	mine, theirs = append(mine, ears[0]), append(theirs, ears[1])
	attr.Files = append(attr.Files[:deaf:deaf], uintptr(ears[1]))
	s.mu.Lock() // its end must find it
	pid, err := syscall.ForkExec(self, argv, attr)
	if err == nil {
		p.pid = pid
		s.processes[channel] = p
	}
	s.mu.Unlock()
	closeAll(theirs)
	if err != nil {
		closeAll(mine)
		return fmt.Errorf("cannot start %s: %w", self, err)
	}
	go p.awaitEars(ears[0])
	if err := s.out.Write(wire.Frame{Kind: wire.Started, Channel: channel}); err != nil {
		return err
	}
	for i, fd := range readers {
		if fd >= 0 {
			p.pumps.Go(func() { p.pump(i, fd) })
		}
	}
	go p.feed()
	return nil
}

// pump sends what the process writes, and the stream's end.
func (p *process) pump(i, fd int) {
	buf := make([]byte, wire.MaxPayload)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 { // EIO: the terminal's last slave was closed
			break
		}
		if _, err := p.out[i].Write(buf[:n]); err != nil {
			break
		}
	}
	if fd != p.master {
		unix.Close(fd)
	}
}

// feed writes what comes for the process.
func (p *process) feed() {
	for {
		b, ok := p.in.Next()
		if !ok {
			break
		}
		if p.input >= 0 {
			_ = pty.WriteAll(p.input, b) // one that reads no more misses it
		}
		p.in.Done(len(b))
		_ = p.s.out.Write(wire.Frame{Kind: wire.Credit, Channel: p.channel, Stream: wire.Stdin, Payload: wire.Number(len(b))})
	}
	if p.input >= 0 && p.input != p.master {
		unix.Close(p.input)
	}
}

// handle does what the host says of the process.
func (p *process) handle(f wire.Frame) error {
	switch f.Kind {
	case wire.Data:
		return p.in.Put(f.Payload)
	case wire.End:
		if f.Stream == wire.Stdin {
			p.in.End()
		} else {
			p.out[f.Stream-1].Close()
		}
	case wire.Credit:
		if f.Stream != wire.Stdin {
			return p.out[f.Stream-1].Credit(f.Taken())
		}
	case wire.Resize:
		if p.master >= 0 {
			resize(p.master, uint16(f.Payload[0])<<8|uint16(f.Payload[1]), uint16(f.Payload[2])<<8|uint16(f.Payload[3]))
		}
	case wire.Signal:
		p.s.mu.Lock()
		defer p.s.mu.Unlock()
		p.signal(unix.Signal(f.Payload[0]))
	}
	return nil
}

func resize(master int, rows, columns uint16) {
	_ = unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
}

// ended tells the host of a process's end, once all that it wrote is on the way.
func (s *server) ended(pid int, ws unix.WaitStatus) {
	s.mu.Lock()
	var p *process
	for _, q := range s.processes {
		if q.pid == pid {
			p = q
		}
	}
	if p != nil {
		p.pid = 0
	}
	s.mu.Unlock()
	if p == nil {
		return
	}
	go func() {
		p.in.End()
		p.pumps.Wait()
		if p.master >= 0 {
			unix.Close(p.master)
		}
		s.mu.Lock()
		delete(s.processes, p.channel)
		s.mu.Unlock()
		if p.pod {
			s.lastEvents()
			unix.Sync() // what apps wrote is the host's
		}
		_ = s.out.Write(wire.Frame{Kind: wire.Exited, Channel: p.channel, Payload: []byte{byte(wait.Status(ws))}})
	}()
}
