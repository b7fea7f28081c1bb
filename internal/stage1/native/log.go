// SPDX-License-Identifier: Apache-2.0

package native

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// output carries what an app writes to the caller's streams and, if a log is
// wanted, to the app's log file, in the format that Kubernetes reads
// ("<RFC 3339 time> stdout|stderr F|P <text>").
type output struct {
	mu    sync.Mutex // one line at a time in the log
	log   *os.File   // nil: no log
	pumps sync.WaitGroup
	any   bool // a pump was started
}

// openLog opens log/<app> in the pod directory, which is the working directory
// now and out of sight later.
func openLog(a *contract.App) (*os.File, error) {
	if a.Stdout != contract.Log && a.Stderr != contract.Log {
		return nil, nil
	}
	if err := os.Mkdir(contract.LogDir, 0o755); err != nil && !os.IsExist(err) {
		return nil, fmt.Errorf("cannot open log of app %q: %w", a.Name, err)
	}
	f, err := os.OpenFile(contract.LogDir+"/"+a.Name, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cannot open log of app %q: %w", a.Name, err)
	}
	return f, nil
}

// pipe starts a pump to descriptor 1 or 2 and returns the writing end for the
// app; the caller closes it.
func (o *output) pipe(fd int, logged bool) (int, error) {
	p := make([]int, 2)
	if err := unix.Pipe2(p, unix.O_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("pipe2", err)
	}
	name := map[int]string{1: "stdout", 2: "stderr"}[fd]
	o.any = true
	o.pumps.Go(func() { o.pump(os.NewFile(uintptr(p[0]), name), fd, name, logged) })
	return p[1], nil
}

// pump copies until all writers are gone. The log comes first: it does not wait
// for a caller who reads slowly. A full disk or a caller that is gone must not
// stop the app: lines are dropped then.
func (o *output) pump(r *os.File, to int, name string, logged bool) {
	defer r.Close()
	in := bufio.NewReaderSize(r, 16<<10)
	for {
		var chunk []byte
		var err error
		if logged {
			chunk, err = in.ReadSlice('\n')
		} else if _, err = in.Peek(1); err == nil {
			chunk, err = in.Peek(in.Buffered())
			_, _ = in.Discard(len(chunk))
		}
		if len(chunk) > 0 {
			if logged {
				o.write(name, chunk)
			}
			_ = pty.WriteAll(to, chunk)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (o *output) write(name string, line []byte) {
	tag := "P"
	if n := len(line); line[n-1] == '\n' {
		line, tag = line[:n-1], "F"
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b := time.Now().UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000000Z07:00")
	b = append(append(append(append(append(append(append(b, ' '), name...), ' '), tag...), ' '), line...), '\n')
	_, _ = o.log.Write(b)
}

// drain waits until all that was written has been passed on, for limit at most:
// a caller may never read again.
func (o *output) drain(limit time.Duration) {
	if !o.any {
		return
	}
	done := make(chan struct{})
	go func() { o.pumps.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
	}
}
