// SPDX-License-Identifier: Apache-2.0

package native

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// logFile keeps what an app writes, in the format that Kubernetes reads
// ("<RFC 3339 time> stdout|stderr F|P <text>"), and passes it on to the
// caller's own stream. A nil logFile belongs to an app that wants no log.
type logFile struct {
	mu    sync.Mutex // one line at a time
	f     *os.File
	pumps sync.WaitGroup
}

// openLog opens log/<app> in the pod directory, which is the working directory
// now and out of sight later.
func openLog(a *contract.App) (*logFile, error) {
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
	return &logFile{f: f}, nil
}

// stream starts a pump for descriptor 1 or 2 and returns the writing end for
// the app; the caller closes it.
func (l *logFile) stream(fd int) (int, error) {
	p := make([]int, 2)
	if err := unix.Pipe2(p, unix.O_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("pipe2", err)
	}
	name := map[int]string{1: "stdout", 2: "stderr"}[fd]
	l.pumps.Go(func() { l.pump(os.NewFile(uintptr(p[0]), name), fd, name) })
	return p[1], nil
}

// pump copies until all writers are gone. A full disk or a closed caller must
// not stop the app: lines are dropped then.
func (l *logFile) pump(r *os.File, to int, name string) {
	defer r.Close()
	in := bufio.NewReaderSize(r, 16<<10)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			l.write(name, line)
			_, _ = unix.Write(to, line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (l *logFile) write(name string, line []byte) {
	tag := "P"
	if n := len(line); line[n-1] == '\n' {
		line, tag = line[:n-1], "F"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := time.Now().UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000000Z07:00")
	b = append(append(append(append(append(append(append(b, ' '), name...), ' '), tag...), ' '), line...), '\n')
	_, _ = l.f.Write(b)
}

// drain waits until what an ended app wrote is in the log; what its
// descendants still hold open is not waited for longer than a moment.
func (l *logFile) drain() {
	if l == nil {
		return
	}
	done := make(chan struct{})
	go func() { l.pumps.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(200 * time.Millisecond):
	}
}
