// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"bytes"
	"io"
	"sync"
)

// lines passes on whole lines, each after a prefix, so that stages that run at
// the same time do not mix theirs.
type lines struct {
	out    io.Writer
	mu     *sync.Mutex
	prefix string
	buf    []byte
}

// maxLine bounds what is kept of a line without end, bytes.
const maxLine = 64 << 10

func (l *lines) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 && len(l.buf) < maxLine {
			return len(b), nil
		}
		if i < 0 {
			i = len(l.buf) - 1
		}
		l.print(l.buf[:i+1])
		l.buf = l.buf[i+1:]
	}
}

func (l *lines) print(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A reader who is gone must not end the build.
	_, _ = l.out.Write(append([]byte(l.prefix), line...))
}

func (l *lines) flush() {
	if l.out != nil && len(l.buf) > 0 {
		l.print(append(l.buf, '\n'))
		l.buf = nil
	}
}
