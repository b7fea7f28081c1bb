// SPDX-License-Identifier: Apache-2.0

package native

import (
	"bufio"
	"os"
	"sync"
	"time"

	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// output carries what an app writes to the caller's streams and, if a log is
// wanted, to the app's log file, in the format that Kubernetes reads
// ("<RFC 3339 time> stdout|stderr F|P <text>").
type output struct {
	mu    sync.Mutex  // one line at a time in the log
	log   *os.File    // nil: no log
	also  [2]*os.File // where it goes as well: a Service's journal
	own   [2]int      // where it goes in place of 1 and 2; 0 for those
	pumps sync.WaitGroup
	any   bool // a pump was started
}

// pump passes on what comes from fd, if that is a descriptor: stream 0 to
// descriptor 1, stream 1 to descriptor 2, or to the app's own, and to the log if mode says so.
func (o *output) pump(stream, fd int, mode contract.Stream) {
	if fd <= 0 {
		return
	}
	name := [2]string{"stdout", "stderr"}[stream]
	o.any = true
	to := stream + 1
	if o.own[stream] > 0 {
		to = o.own[stream]
	}
	o.pumps.Go(func() { o.copy(os.NewFile(uintptr(fd), name), to, name, mode == contract.Log, o.also[stream]) })
}

// copy copies until all writers are gone. The log comes first: it does not wait
// for a caller who reads slowly. A full disk or a caller that is gone must not
// stop the app: lines are dropped then.
func (o *output) copy(r *os.File, to int, name string, logged bool, also *os.File) {
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
			if also != nil {
				_, _ = also.Write(chunk)
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
