// SPDX-License-Identifier: Apache-2.0

// Package progress shows how far the layers of an image have come: bars on a
// terminal, one line per finished layer elsewhere.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// Display shows blobs on their way. It is safe for concurrent use.
type Display struct {
	mode string
	w    io.Writer
	bars *mpb.Progress

	mu   sync.Mutex
	rows map[int]*row
}

type row struct {
	blob wire.Descriptor
	bar  *mpb.Bar
}

// New shows in mode, one of wire's Progress words, on w.
func New(mode string, w io.Writer) *Display {
	d := &Display{mode: mode, w: w, rows: map[int]*row{}}
	if mode == wire.ProgressBars {
		d.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
	}
	return d
}

// Start shows that blob, under the number id, is coming.
func (d *Display) Start(id int, blob wire.Descriptor) {
	r := &row{blob: blob}
	if d.bars != nil {
		r.bar = d.bars.New(0, mpb.BarStyle(),
			mpb.PrependDecorators(decor.Name(short(blob.Digest)+" ")),
			mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string { return state(s, blob.Size) })))
		r.bar.SetTotal(blob.Size, false)
	}
	d.mu.Lock()
	d.rows[id] = r
	d.mu.Unlock()
}

func state(s decor.Statistics, size int64) string {
	switch {
	case s.Completed:
		return " " + human(size) + " done"
	case size < 0:
		return " " + human(s.Current)
	case s.Current >= size:
		return " " + human(size) + " unpacking"
	}
	return fmt.Sprintf(" %s of %s", human(s.Current), human(size))
}

// Add counts n more bytes of blob id.
func (d *Display) Add(id, n int) {
	if d.bars == nil {
		return
	}
	d.mu.Lock()
	r := d.rows[id]
	d.mu.Unlock()
	if r != nil {
		r.bar.IncrBy(n)
	}
}

// Done shows that blob id is stored and unpacked.
func (d *Display) Done(id int) {
	d.mu.Lock()
	r := d.rows[id]
	d.mu.Unlock()
	switch {
	case r == nil:
	case r.bar != nil:
		r.bar.SetTotal(-1, true)
	case d.mode == wire.ProgressLines:
		fmt.Fprintf(d.w, "%s %s\n", short(r.blob.Digest), human(r.blob.Size))
	}
}

// Present shows that blob needs no download.
func (d *Display) Present(blob wire.Descriptor) {
	switch {
	case d.bars != nil:
		bar := d.bars.New(1, mpb.NopStyle(),
			mpb.PrependDecorators(decor.Name(short(blob.Digest)+" ")),
			mpb.AppendDecorators(decor.Name(human(blob.Size)+" already stored")))
		bar.SetTotal(-1, true)
	case d.mode == wire.ProgressLines:
		fmt.Fprintf(d.w, "%s %s already stored\n", short(blob.Digest), human(blob.Size))
	}
}

// Close leaves what is shown as it is and gives the terminal back.
func (d *Display) Close() {
	if d.bars == nil {
		return
	}
	d.mu.Lock()
	for _, r := range d.rows {
		r.bar.Abort(false)
	}
	d.mu.Unlock()
	d.bars.Wait()
}

// short is enough of a digest to tell layers apart.
func short(digest string) string {
	algo, hexa, ok := strings.Cut(digest, ":")
	if !ok {
		return digest // a file's name
	}
	return algo + ":" + hexa[:min(12, len(hexa))]
}

// human is a number of bytes for the eye.
func human(n int64) string {
	if n < 0 {
		return "unknown"
	}
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1024 && unit < 3 {
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.1f%ciB", f, "KMGT"[unit])
}
