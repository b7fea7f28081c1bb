// SPDX-License-Identifier: Apache-2.0

package wall_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/rkt/rkt/internal/image/fetch/wall"
)

// BenchmarkStart is a helper's start, its filter, and its end; "free" the same
// program without walls.
func BenchmarkStart(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	d, err := os.Open(b.TempDir())
	must(b, err)
	defer d.Close()
	b.Run("free", func(b *testing.B) {
		for range b.N {
			must(b, exec.Command(attacker, "free", "unknown-call").Run())
		}
	})
	for _, kind := range []wall.Kind{wall.Get, wall.Read, wall.Unpack} {
		b.Run(string(kind), func(b *testing.B) {
			for range b.N {
				c := wall.Command{Kind: kind, Path: attacker, Args: []string{string(kind), "unknown-call"}, Files: []*os.File{nil, nil, nil, d}}
				p, err := c.Start(b.Context())
				must(b, err)
				must(b, p.Wait())
			}
		})
	}
}
