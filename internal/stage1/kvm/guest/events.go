// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// eventsReader follows the pod's events: what native notes, the host has to know.
type eventsReader struct {
	mu sync.Mutex
	at int // what of the file has been told
}

// tell sends the lines that are new.
func (e *eventsReader) tell(w *wire.Writer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := os.ReadFile(podDir + "/" + contract.EventsFile)
	if err != nil {
		return
	}
	for e.at < len(b) {
		end := bytes.IndexByte(b[e.at:], '\n') + 1
		if end == 0 || w.Write(wire.Frame{Kind: wire.Event, Payload: b[e.at : e.at+end]}) != nil {
			return
		}
		e.at += end
	}
}

// tellEvents tells of events as they come.
func (s *server) tellEvents() {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return // then they are told at the end
	}
	if _, err := unix.InotifyAddWatch(fd, podDir+"/"+contract.EventsFile, unix.IN_MODIFY); err != nil {
		return
	}
	buf := make([]byte, 4096)
	for {
		s.events.tell(s.out)
		if n, err := unix.Read(fd, buf); err != unix.EINTR && (err != nil || n <= 0) {
			return
		}
	}
}

func (s *server) lastEvents() { s.events.tell(s.out) }
