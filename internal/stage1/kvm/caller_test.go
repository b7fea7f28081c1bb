// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// TestGoneCaller: what still comes for a caller that is gone is bounded by the
// window, and taken by no more goroutines than one.
func TestGoneCaller(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	unix.Close(pair[0])
	c := newCaller(pair[1])
	blocked := make(chan struct{})
	c.left = func(wire.Frame) { <-blocked } // the guest takes nothing
	c.leave()
	before := runtime.NumGoroutine()
	data := wire.Frame{Kind: wire.Data, Channel: 9, Stream: 1, Payload: make([]byte, 1024)}
	for i := 0; err == nil && i <= 2*wire.Window/1024; i++ {
		err = c.give(data)
	}
	if !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("data without end for one that is gone: %v", err)
	}
	if n := runtime.NumGoroutine(); n > before+4 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	close(blocked)
	c.close()
	<-c.written
}

// TestAttendCloses: nothing of a caller is left when its command has ended.
func TestAttendCloses(t *testing.T) {
	l := &link{w: wire.NewWriter(io.Discard), hello: true, entered: map[uint32]*caller{}}
	open := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	before := open()
	for range 8 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { l.attend(pair[1]); close(done) }()
		request := wire.Process{App: "app", Argv: []string{"true"}}
		if err := wire.NewWriter(endpoint(pair[0])).Write(wire.Frame{Kind: wire.Run, Channel: podChannel, Payload: request.Encode()}); err != nil {
			t.Fatal(err)
		}
		var channel uint32
		for channel == 0 {
			l.mu.Lock()
			for n := range l.entered {
				channel = n
			}
			l.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
		unix.Close(pair[0])
		if err := l.handle(wire.Frame{Kind: wire.Exited, Channel: channel, Payload: []byte{0}}); err != nil {
			t.Fatal(err)
		}
		<-done
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
