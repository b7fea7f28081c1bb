// SPDX-License-Identifier: Apache-2.0

// Package netlink talks to the kernel's network stack: a socket of netlink(7),
// messages, and what rkt needs of rtnetlink(7): links, addresses, routes. It
// holds no state but the socket, and no policy.
package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a netlink socket. It is for one goroutine at a time.
type Conn struct {
	fd  int
	seq uint32
	buf []byte
}

// patience guards against a kernel that never answers.
const patience = 30 * time.Second

// Dial opens a socket of a protocol (unix.NETLINK_ROUTE …) in the caller's
// network namespace.
func Dial(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	c := &Conn{fd: fd}
	// Errors in words, without our own message back; a strict look at what dumps
	// ask for. Older kernels know none of it.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	tv := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	return c, nil
}

// DialIn is Dial in the network namespace behind a descriptor.
func DialIn(ns *os.File, protocol int) (c *Conn, err error) {
	err = In(ns, func() (err error) {
		c, err = Dial(protocol)
		return err
	})
	return c, err
}

// In calls f on a thread that is in the network namespace behind a descriptor.
func In(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot open the own network namespace: %w", err)
	}
	defer unix.Close(own)
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot enter the network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and so ends with its goroutine.
		return errors.Join(err, fmt.Errorf("cannot leave the network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// Close closes the socket. After something of nftables was deleted that takes as
// long as the kernel waits for readers: 5 to 30 ms.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// KernelError is the kernel's refusal of a message.
type KernelError struct {
	Errno unix.Errno
	Text  string // the kernel's own words; may be ""
}

func (e *KernelError) Error() string {
	if e.Text != "" {
		return e.Errno.Error() + " (" + e.Text + ")"
	}
	return e.Errno.Error()
}

func (e *KernelError) Unwrap() error { return e.Errno }

// Do sends messages in one packet and waits until each is acknowledged. All are
// carried out even if one fails; the first error is returned.
func (c *Conn) Do(messages ...*Message) error {
	packet := make([]byte, 0, 512)
	first := c.seq + 1
	for _, m := range messages {
		c.seq++
		packet = append(packet, m.finish(c.seq, unix.NLM_F_ACK)...)
	}
	if err := c.send(packet); err != nil {
		return err
	}
	var failed error
	for left := len(messages); left > 0; {
		list, err := c.receive()
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.Type != unix.NLMSG_ERROR || r.Seq < first || r.Seq > c.seq {
				continue
			}
			left--
			if err := kernelError(r); err != nil && failed == nil {
				failed = err
			}
		}
	}
	return failed
}

// Batch sends messages between two edges, in one packet, to a kernel that carries
// out all or none of them. The first error is returned.
func (c *Conn) Batch(begin *Message, messages []*Message, end *Message) error {
	c.seq++
	first := c.seq
	packet := append([]byte(nil), begin.finish(first, 0)...)
	for _, m := range messages {
		c.seq++
		packet = append(packet, m.finish(c.seq, unix.NLM_F_ACK)...)
	}
	last := c.seq
	c.seq++
	packet = append(packet, end.finish(c.seq, 0)...)
	// A packet is as large as the socket's buffer at most.
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(packet)+4096); err != nil {
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 2*len(packet)+4096)
	}
	if err := c.send(packet); err != nil {
		return err
	}
	// Answers come in the order of the messages. An answer to the first edge is
	// the refusal of the whole.
	var failed error
	for {
		list, err := c.receive()
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.Type != unix.NLMSG_ERROR || r.Seq < first || r.Seq > last {
				continue
			}
			err := kernelError(r)
			if err != nil && failed == nil {
				failed = err
			}
			if r.Seq == last || r.Seq == first && err != nil {
				return failed
			}
		}
	}
}

// Ask sends a message and calls f with each message of the answer that is not
// an error or its end. With NLM_F_DUMP among the message's flags it reads to the
// end, and if the kernel says that what was dumped changed meanwhile, asks anew:
// again is called first, for the caller to forget what f was told.
func (c *Conn) Ask(m *Message, again func(), f func(Reply)) error {
	const tries = 20
	dump := binary.NativeEndian.Uint16(m.b[6:])&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	for range tries {
		c.seq++
		flags := uint16(unix.NLM_F_ACK)
		if dump {
			flags = 0
		}
		if err := c.send(m.finish(c.seq, flags)); err != nil {
			return err
		}
		interrupted, err := c.answer(f)
		if err != nil || !interrupted {
			return err
		}
		if again != nil {
			again()
		}
	}
	return errors.New("cannot list: it changes all the time")
}

func (c *Conn) answer(f func(Reply)) (interrupted bool, err error) {
	for {
		list, err := c.receive()
		if err != nil {
			return false, err
		}
		for _, r := range list {
			if r.Seq != c.seq {
				continue
			}
			interrupted = interrupted || r.Flags&unix.NLM_F_DUMP_INTR != 0
			switch r.Type {
			case unix.NLMSG_DONE:
				if len(r.Data) >= 4 {
					if errno := int32(binary.NativeEndian.Uint32(r.Data)); errno < 0 {
						return interrupted, &KernelError{Errno: unix.Errno(-errno)}
					}
				}
				return interrupted, nil
			case unix.NLMSG_ERROR:
				return interrupted, kernelError(r)
			case unix.NLMSG_NOOP:
			default:
				f(r)
			}
		}
	}
}

func (c *Conn) send(packet []byte) error {
	for {
		err := unix.Sendto(c.fd, packet, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

func (c *Conn) receive() ([]Reply, error) {
	if c.buf == nil {
		c.buf = make([]byte, 64<<10) // more than the kernel puts into one packet
	}
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			return nil, fmt.Errorf("the kernel did not answer within %v", patience)
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid != 0 {
			continue // not the kernel: any process may write to a netlink socket
		}
		return replies(c.buf[:n]), nil
	}
}

// kernelError is the error that a message of type NLMSG_ERROR carries, nil for
// an acknowledgement.
func kernelError(r Reply) error {
	if len(r.Data) < 4 {
		return errors.New("the kernel's answer is cut short")
	}
	errno := -int32(binary.NativeEndian.Uint32(r.Data))
	if errno == 0 {
		return nil
	}
	e := &KernelError{Errno: unix.Errno(errno)}
	const nlmsgerrAttrMsg = 1 // NLMSGERR_ATTR_MSG
	if at := 4 + unix.SizeofNlMsghdr; r.Flags&unix.NLM_F_ACK_TLVS != 0 && len(r.Data) > at {
		if r.Flags&unix.NLM_F_CAPPED == 0 { // our whole message stands in between
			at = 4 + align(int(binary.NativeEndian.Uint32(r.Data[4:])))
		}
		if at <= len(r.Data) {
			Attributes(r.Data[at:], func(typ uint16, value []byte) {
				if typ == nlmsgerrAttrMsg {
					e.Text = String(value)
				}
			})
		}
	}
	return e
}
