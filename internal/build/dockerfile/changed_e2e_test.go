// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/build/cache"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/image/merge"
)

// TestChangedMeanwhile: what is not what it was when its digest was made ends the
// build with its name, and nothing of the step is kept.
func TestChangedMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		line   string
		change func(at func(string) string) error
		want   string
	}{
		"removed":      {"COPY d /d", func(at func(string) string) error { return os.Remove(at("d/f")) }, `"d/f" was removed while it was copied`},
		"removed file": {"COPY d/f /f", func(at func(string) string) error { return os.Remove(at("d/f")) }, `"d/f" was removed while it was copied`},
		"a directory":  {"COPY d /d", func(at func(string) string) error { return os.RemoveAll(at("d/sub")) }, `"d/sub" was removed while it was copied`},
		"all of it":    {"COPY d /d", func(at func(string) string) error { return os.RemoveAll(at("d")) }, `"d" was removed while it was copied`},
		"new":          {"COPY d /d", func(at func(string) string) error { return os.WriteFile(at("d/new"), nil, 0o644) }, `"d/new" changed while it was copied`},
		"written":      {"COPY d /d", func(at func(string) string) error { return os.WriteFile(at("d/f"), []byte("G"), 0o644) }, `"d/f" changed while it was copied`},
		"longer":       {"COPY d /d", func(at func(string) string) error { return os.WriteFile(at("d/f"), []byte("ff"), 0o644) }, `"d/f" changed while it was copied`},
		"shorter":      {"COPY d /d", func(at func(string) string) error { return os.Truncate(at("d/f"), 0) }, `"d/f" changed while it was copied`},
		"mode":         {"COPY d /d", func(at func(string) string) error { return os.Chmod(at("d/f"), 0o777) }, `"d/f" changed while it was copied`},
		"a link": {"COPY d /d", func(at func(string) string) error {
			return first(os.Remove(at("d/f")), os.Symlink("/etc/passwd", at("d/f")))
		}, `"d/f" changed while it was copied`},
		"a link on the way": {"COPY d /d", func(at func(string) string) error {
			return first(os.Rename(at("d/sub"), at("moved")), os.Symlink("../moved", at("d/sub")))
		}, `"d/sub" changed while it was copied`},
		"another link": {"COPY d /d", func(at func(string) string) error { return first(os.Remove(at("d/l")), os.Symlink("g", at("d/l"))) }, `"d/l" changed while it was copied`},
		"an archive": {"ADD a.tar.gz /d", func(at func(string) string) error {
			return os.WriteFile(at("a.tar.gz"), []byte(archive(t, map[string]string{"y": "2"})), 0o644)
		}, `"a.tar.gz" changed while it was copied`},
		"a mount": {"RUN --mount=type=bind,source=d,target=/d cat /d/f", func(at func(string) string) error { return os.WriteFile(at("d/f"), []byte("G"), 0o644) }, `"d/f" changed while it was copied`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.file("d/f", "f", 0o644)
			b.file("d/sub/g", "g", 0o644)
			b.file("a.tar.gz", archive(t, map[string]string{"x": "1"}), 0o644)
			if err := os.Symlink("f", filepath.Join(b.context, "d/l")); err != nil {
				t.Fatal(err)
			}
			b.begin = func(Step) {
				if err := c.change(func(p string) string { return filepath.Join(b.context, p) }); err != nil {
					t.Error(err)
				}
			}
			err := b.build("FROM tiny\n"+c.line+"\n", nil)
			if err == nil || !strings.HasSuffix(err.Error(), c.want) || !strings.Contains(err.Error(), "Dockerfile:2: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("want %q: %v", c.want, err)
			}
			if list, err := cache.List(b.o.CacheDir); err != nil || len(list) > 0 {
				t.Errorf("kept: %+v, %v", list, err)
			}
		})
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestUnpackedOnce: an archive is unpacked when the layer is made, not to look it up.
func TestUnpackedOnce(t *testing.T) {
	b := newBench(t)
	b.file("a.tar", tarball(t, map[string]string{"x": "1"}), 0o644)
	const text = "FROM tiny\nADD a.tar /d\n"
	look := func(_ output.Image, s *merge.Stack) {
		t.Helper()
		check(t, s, map[string]string{"d/x": "100640 5:6 1"})
	}
	b.must(text, look)
	b.o.Fetch.Helper = "/nonexistent"
	b.must(text, look)
}
