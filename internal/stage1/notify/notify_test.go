// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager listens as a service manager does.
func manager(t *testing.T) (name string, next func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name = filepath.Join(dir, "socket")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return name, func() string {
		// What was sent is there: nothing is waited for.
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		buf := make([]byte, maxMessage)
		n, err := c.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

// speaker is an app's socket, and how the app says something.
func speaker(t *testing.T, app string) (Socket, func(string)) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]); unix.Close(ends[1]) })
	return Socket{App: app, FD: ends[0]}, func(text string) {
		if _, err := unix.Write(ends[1], []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}

func expect(t *testing.T, next func() string, want string) {
	t.Helper()
	if got := next(); got != want {
		t.Errorf("the manager heard %q, want %q", got, want)
	}
}

// TestReady: two silent apps and one that speaks; half of it in another process.
func TestReady(t *testing.T) {
	name, next := manager(t)
	s, say := speaker(t, "web")
	r := &Relay{Manager: name, Starting: 2, Sockets: []Socket{s}}
	r.Started("one")
	r.Started("web")
	say("STATUS=warming up\nMAINPID=1\nREADY=1")
	r.Hear()
	expect(t, next, "STATUS=warming up")
	expect(t, next, "")
	r, err := Parse(r.Encode())
	if err != nil {
		t.Fatal(err)
	}
	r.Started("two")
	expect(t, next, "READY=1")
	say("WATCHDOG=1")
	say("RELOADING=1\nMONOTONIC_USEC=7")
	say("READY=1")
	say("FDSTORE=1\nNOTIFYACCESS=all\nWATCHDOG_USEC=1\nMAINPID=4\nnonsense\nSTATUS=a\x00b")
	r.Hear()
	r.Stopping()
	for _, want := range []string{"WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=7", "READY=1", "STOPPING=1", ""} {
		expect(t, next, want)
	}
	if r, err = Parse(r.Encode()); err != nil {
		t.Fatal(err)
	}
	r.Started("again")
	expect(t, next, "")
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

// TestNobody: a manager that is gone is an error once, none at all is none.
func TestNobody(t *testing.T) {
	r := &Relay{Manager: filepath.Join(t.TempDir(), "nobody"), Starting: 1}
	r.Started("a")
	if err := r.Err(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error %v", err)
	}
	if err := r.Err(); err != nil {
		t.Errorf("again: %v", err)
	}
	r, err := Parse("")
	if r != nil || err != nil {
		t.Fatalf("%v, %v", r, err)
	}
	r.Started("a")
	r.Stopping()
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "0 said 0 /run/systemd/notify", "2 wait 1 web 7 ready @abstract name", "1 wait 9 a 3 wait /x", "-1 wait 0 /x", "1 wait 1 web 0 wait /x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil || r == nil {
			return
		}
		again, err := Parse(r.Encode())
		if err != nil || again.Encode() != r.Encode() {
			t.Errorf("%q: %q, then %v", text, r.Encode(), err)
		}
	})
}
