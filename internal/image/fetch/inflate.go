// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/rkt/rkt/internal/image/fetch/wall"
)

// xzMemory is what `xz` may take: preset -9 needs 65 MiB.
const xzMemory = "256MiB"

// inflater is the program of this machine's that decompresses what begins with
// head faster than the extractor would; ok is false if there is none. Media
// types are often wrong about it.
func inflater(head []byte) (c wall.Command, ok bool) {
	var names []string
	args := []string{"-dc"}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}):
		names = []string{"igzip", "unpigz"}
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		names = []string{"xz"}
		args = append(args, "-T1", "--memlimit-decompress="+xzMemory)
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return wall.Command{Kind: wall.Inflate, Path: path, Args: args, Env: []string{"LC_ALL=C"}}, true
		}
	}
	return wall.Command{}, false
}

// inflation is a decompressor between a blob and its extractor.
type inflation struct {
	name string
	proc *wall.Process
	said *tail
}

// startInflater puts a decompressor before in, the extractor's end of a pipe,
// which it returns as the new end; in is then the decompressor's. Without one
// that can be started, it returns in itself and nil: the extractor can
// decompress, too.
func startInflater(ctx context.Context, opt Options, head []byte, in *os.File) (*os.File, *inflation, error) {
	c, ok := inflater(head)
	if !ok {
		return in, nil, nil
	}
	r, w, err := newPipe()
	if err != nil {
		return in, nil, err
	}
	defer w.Close()
	i := &inflation{name: c.Path, said: new(tail)}
	c.Files, c.Stderr, c.Note = []*os.File{in, w}, i.said, opt.note
	if i.proc, err = c.Start(ctx); err != nil {
		_ = r.Close()
		return in, nil, nil
	}
	_ = in.Close()
	return r, i, nil
}

// wait gives the decompressor's failure in its own words.
func (i *inflation) wait() error {
	err := i.proc.Wait()
	if err == nil {
		return nil
	}
	if text := i.said.String(); text != "" {
		err = errors.New(text)
	}
	return fmt.Errorf("cannot decompress: %w (%s)", err, i.name)
}

// headSize is how many bytes tell how a blob is compressed.
const headSize = 6

// head is what a blob begins with, once that much is there.
func head(file *os.File, g *growing) []byte {
	b := make([]byte, headSize)
	for have := int64(0); have < int64(len(b)); {
		more, err := g.after(have)
		if err != nil || more == have {
			break
		}
		have = more
	}
	n, _ := file.ReadAt(b, 0)
	return b[:n]
}

// tail keeps the last line a program wrote, bounded.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - 512; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	return lines[len(lines)-1]
}
