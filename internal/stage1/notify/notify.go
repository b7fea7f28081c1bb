// SPDX-License-Identifier: Apache-2.0

// Package notify tells the service manager that started rkt how the pod is, by the
// protocol of sd_notify(3): that it is ready when its apps have started, or when
// those that speak the protocol say so themselves; that it is stopping; and what
// else such apps have to say, from sockets that are theirs.
//
// stage0 does that while the pod is young, and then a flavor's `run`, which is
// given an encoded Relay. To the manager both are the same process, the unit's
// main one: an app's own socket leads to rkt, for the manager's would let it speak
// for the unit, as who its main process is.
package notify

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Relay is what is to be told, and to whom. All methods may be called on nil,
// which tells nobody anything, and by several goroutines.
type Relay struct {
	// Manager is the manager's socket (NOTIFY_SOCKET): a path, or an abstract name
	// after "@".
	Manager string
	// Starting counts the apps that do not speak and that are still to start.
	Starting int
	// Sockets are those of the apps that speak.
	Sockets []Socket

	mu   sync.Mutex
	said bool // that the pod is ready
	err  error
}

// Socket is where one app speaks.
type Socket struct {
	App   string
	FD    int  // of the receiving end
	Ready bool // it has said that it is
}

// maxMessage bounds what an app says at once.
const maxMessage = 4096

// Started tells of the start of an app.
func (r *Relay) Started(app string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.Sockets {
		if r.Sockets[i].App == app {
			return // it speaks for itself
		}
	}
	r.Starting = max(r.Starting-1, 0)
	r.ready()
}

// ready says so if all are.
func (r *Relay) ready() {
	if r.said || r.Starting > 0 {
		return
	}
	for i := range r.Sockets {
		if !r.Sockets[i].Ready {
			return
		}
	}
	r.said = true
	r.send("READY=1")
}

// Stopping tells that the pod is about to end.
func (r *Relay) Stopping() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.send("STOPPING=1")
}

// Hear takes all that the apps have said by now, and does not wait for more.
func (r *Relay) Hear() {
	if r == nil {
		return
	}
	for i := range r.Sockets {
		for r.hear(i) {
		}
	}
}

// Poll is what to poll(2) for, to hear more.
func (r *Relay) Poll() (fds []unix.PollFd) {
	if r == nil {
		return nil
	}
	for _, s := range r.Sockets {
		fds = append(fds, unix.PollFd{Fd: int32(s.FD), Events: unix.POLLIN})
	}
	return fds
}

// Serve passes on what apps say, for ever.
func (r *Relay) Serve() {
	for fds := r.Poll(); len(fds) > 0; r.Hear() {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
	}
}

// hear takes one message of Sockets[i]; false if there is none.
func (r *Relay) hear(i int) bool {
	buf := make([]byte, maxMessage)
	// Descriptors that come along, to be kept by the manager, are closed by the
	// kernel: rkt keeps none. That also answers a BARRIER=1.
	n, _, err := unix.Recvfrom(r.Sockets[i].FD, buf, unix.MSG_DONTWAIT)
	if err != nil {
		return err == unix.EINTR
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	text, ready := allowed(string(buf[:n]))
	if ready {
		r.Sockets[i].Ready = true
		if r.said {
			text = "READY=1\n" + text // the end of a reload
		}
		r.ready()
	}
	if text != "" {
		r.send(strings.TrimSuffix(text, "\n"))
	}
	return true
}

// passed are the assignments of which a manager hears: what an app says of itself,
// and nothing that makes the unit another (MAINPID, FDSTORE, NOTIFYACCESS,
// WATCHDOG_USEC …).
var passed = [...]string{"RELOADING", "STOPPING", "STATUS", "ERRNO", "BUSERROR", "WATCHDOG", "EXTEND_TIMEOUT_USEC", "MONOTONIC_USEC"}

// allowed keeps of a message what is passed on, and takes READY=1 out.
func allowed(text string) (keep string, ready bool) {
	for line := range strings.SplitSeq(text, "\n") {
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.ContainsRune(line, 0) {
			continue
		}
		if name == "READY" && value == "1" {
			ready = true
		}
		for _, p := range passed {
			if name == p {
				keep += line + "\n"
			}
		}
	}
	return keep, ready
}

// send tells the manager. One that is gone is the manager's affair; what goes wrong
// otherwise is kept for Err.
func (r *Relay) send(text string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.Sendto(fd, []byte(text), unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: r.Manager})
	}
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("cannot tell the service manager at %s: %w", r.Manager, os.NewSyscallError("sendto", err))
	}
}

// Err is the first error that there was, once.
func (r *Relay) Err() (err error) {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err, r.err = r.err, nil
	return err
}

// Encode is the relay for `run`: how many apps are still to start, "said" if the
// manager knows that the pod is ready, the apps' sockets with their names, and
// the manager's.
func (r *Relay) Encode() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	words := []string{strconv.Itoa(r.Starting), "wait"}
	if r.said {
		words[1] = "said"
	}
	words = append(words, strconv.Itoa(len(r.Sockets)))
	for _, s := range r.Sockets {
		state := "wait"
		if s.Ready {
			state = "ready"
		}
		words = append(words, s.App, strconv.Itoa(s.FD), state)
	}
	return strings.Join(append(words, r.Manager), " ")
}

// Parse reads what Encode has written; of "" it makes nil.
func Parse(text string) (*Relay, error) {
	if text == "" {
		return nil, nil
	}
	wrong := fmt.Errorf("cannot start: %q tells of no service manager; only rkt starts this program", text)
	word := func() (w string) {
		w, text, _ = strings.Cut(text, " ")
		return w
	}
	number := func() int {
		n, err := strconv.Atoi(word())
		if err != nil || n < 0 {
			return -1
		}
		return n
	}
	r := &Relay{Starting: number(), said: word() == "said"}
	n := number()
	for i := 0; i < n && text != ""; i++ {
		r.Sockets = append(r.Sockets, Socket{App: word(), FD: number(), Ready: word() == "ready"})
	}
	if r.Manager = text; r.Starting < 0 || n != len(r.Sockets) || !ValidManager(text) {
		return nil, wrong
	}
	for _, s := range r.Sockets {
		if s.FD < 3 || s.App == "" {
			return nil, wrong
		}
	}
	return r, nil
}

// ValidManager tells whether name can be a NOTIFY_SOCKET that is spoken to.
func ValidManager(name string) bool {
	return len(name) > 1 && len(name) < 108 && (name[0] == '/' || name[0] == '@') && !strings.ContainsAny(name, "\x00\n")
}
