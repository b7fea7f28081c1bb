// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/native"
)

// The control socket is in the machine, and whoever is root there with all of its
// capabilities can reach it. So what comes from there is bounded: who has not said
// whose service it is has little time for it, only so many may be at that, and what
// was said by whom is told by the connection, not by what it says (attend.go).
const (
	helloTime = 10 * time.Second
	guests    = 16
)

// accept waits for the apps' services.
func (r *runner) accept(listen int) {
	free := make(chan struct{}, guests)
	for {
		free <- struct{}{}
		ctl, _, err := unix.Accept4(listen, unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			go r.listen(ctl, func() { <-free })
			continue
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			time.Sleep(100 * time.Millisecond) // it may be better then
		default:
			return
		}
		<-free
	}
}

// listen hears a service out; done is called when it is no stranger any more.
func (r *runner) listen(ctl int, done func()) {
	patience := unix.NsecToTimeval(int64(helloTime))
	_ = unix.SetsockoptTimeval(ctl, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
	pid, err := peer(ctl)
	m, fd, ok := native.Control(ctl).Receive()
	if fd >= 0 {
		unix.Close(fd)
	}
	app := m.App
	if err == nil && ok && m.Kind == messageFailed {
		r.news <- event{kind: eventFailed, app: app, m: m}
	}
	if err != nil || !ok || m.Kind != messageHello {
		unix.Close(ctl)
		done()
		return
	}
	_ = unix.SetsockoptTimeval(ctl, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{})
	r.news <- event{kind: eventHello, app: app, ctl: ctl, pid: pid}
	done()
	for {
		m, fd, ok := native.Control(ctl).Receive()
		if !ok {
			r.news <- event{kind: eventGone, app: app, ctl: ctl}
			return
		}
		r.news <- event{kind: eventSaid, app: app, ctl: ctl, m: m, fd: fd}
	}
}

// lastWords is what systemd-nspawn, which has ended, has said, on one line.
func (r *runner) lastWords() string {
	select {
	case said := <-r.heard:
		return printable(strings.ReplaceAll(strings.TrimSpace(said), "\n", "; "))
	case <-time.After(time.Second): // somebody has its stderr
		return ""
	}
}

// reason is what systemd says of a service that did not start, to be added to an
// error; "" if it says nothing.
func reason(text string) string {
	const most = 100
	if text = strings.TrimSpace(printable(text)); text == "" {
		return ""
	}
	return ": " + text[:min(len(text), most)]
}

// printable is text without what a terminal would take for an order.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
