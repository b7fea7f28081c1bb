// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

func TestLines(t *testing.T) {
	var b bytes.Buffer
	d := New(wire.ProgressLines, &b)
	one := wire.Descriptor{Digest: "sha256:" + strings.Repeat("1", 64), Size: 3 << 20}
	two := wire.Descriptor{Digest: "sha256:" + strings.Repeat("2", 64), Size: 10}
	d.Present(two)
	d.Start(1, one)
	d.Add(1, 100)
	d.Done(1)
	d.Done(2) // of no row
	d.Close()
	if want := "sha256:222222222222 10B already stored\nsha256:111111111111 3.0MiB\n"; b.String() != want {
		t.Errorf("shown\n%swant\n%s", b.String(), want)
	}
}

// Bars must end, finished or not, or the helper would hang.
func TestBars(t *testing.T) {
	var b bytes.Buffer
	d := New(wire.ProgressBars, &b)
	for id := range 3 {
		blob := wire.Descriptor{Digest: "sha256:" + strings.Repeat("1", 64), Size: 100}
		d.Start(id, blob)
		d.Add(id, 50)
		if id < 1 {
			d.Add(id, 50)
			d.Done(id)
		}
	}
	d.Present(wire.Descriptor{Digest: "sha256:" + strings.Repeat("2", 64)})
	d.Close()
	New(wire.ProgressNone, &b).Close()
}
