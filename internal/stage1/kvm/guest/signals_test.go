// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv("GUEST_LATE") != "" {
		os.Exit(late())
	}
	os.Exit(m.Run())
}

// late is the process of TestSignalsAreKept: it listens when the signal was sent,
// and ends with 7 if it hears of it.
func late() int {
	_, _ = io.ReadAll(os.Stdin)
	if err := hearSignals(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if sig := <-poddir.Signals(); sig != unix.SIGTERM {
		return 2
	}
	return 7
}

// A signal that comes before the process can listen is heard when it does.
func TestSignalsAreKept(t *testing.T) {
	var in, ears [2]int
	for _, pipe := range []*[2]int{&in, &ears} {
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	files := []uintptr{uintptr(in[0]), 1, 2, uintptr(ears[1])}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"late"}, &syscall.ProcAttr{Env: []string{"GUEST_LATE=1"}, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(in[0])
	unix.Close(ears[1])
	p := &process{s: &server{}, pid: pid}
	go p.awaitEars(ears[0])
	for range 2 {
		if err := p.handle(wire.Frame{Kind: wire.Signal, Payload: []byte{byte(unix.SIGTERM)}}); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(in[1])
	if status, err := wait.For(pid); err != nil || status != 7 {
		t.Errorf("it has ended with %d, %v", status, err)
	}
}
