// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfiles

import (
	"os"
	"path/filepath"
	"testing"
)

// TestKilledMount: a cache mount that was being filled when the build was killed is
// the next build's to fill, which finds all of the source in it.
func TestKilledMount(t *testing.T) {
	b := newBuilder(t, "parallel")
	b.context = t.TempDir()
	const text = `FROM tiny AS seed
RUN mkdir -p /seed/d && chown 3:4 /seed && chmod 2750 /seed && for i in 1 2 3 4 5 6 7 8 9; do echo $i > /seed/d/$i; done
FROM tiny
RUN --mount=type=cache,target=/c,from=seed,source=/seed stat -c '%a %u:%g' /c > /found && cat /c/d/* >> /found && rm /c/d/1
`
	if err := os.WriteFile(filepath.Join(b.context, "Dockerfile"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := b.whole()
	for _, point := range []string{"cache/mount-made", "dockerfile/copied", "cache/mount-filled", "cache/mount-before-place", "cache/mount-placed"} {
		t.Run(point, func(t *testing.T) {
			b := *b
			b.t, b.data = t, t.TempDir()
			if out, err := b.command("RKT_FAILPOINT=" + point).CombinedOutput(); err == nil {
				t.Fatalf("it was not killed:\n%s", out)
			}
			if got := b.whole(); got != want {
				t.Errorf("afterwards %s, want %s", got, want)
			}
		})
	}
}
