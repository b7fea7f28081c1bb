// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"golang.org/x/sys/unix"
)

// ignoring is a context with files for patterns.
func ignoring(t testing.TB) (dir string, files []string) {
	t.Helper()
	dir = t.TempDir()
	files = []string{"a", "b.md", "d/a", "d/b.md", "d/e/a", "d/e/c.o", "d/e/f/g", "x y/z", "node_modules/m/i", "node_modules/keep", "#h", "!n"}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, files
}

// shown are the files that BuildKit would send: it walks the context from the top and
// keeps what each pattern says of the directories on the way.
func shown(t *testing.T, m *patternmatcher.PatternMatcher, files []string) (list []string) {
	t.Helper()
	for _, f := range files {
		var info patternmatcher.MatchInfo
		var hidden bool
		for i := range f + "/" {
			if i < len(f) && f[i] != '/' {
				continue
			}
			var err error
			if hidden, info, err = m.MatchesUsingParentResults(f[:i], info); err != nil {
				t.Skip(err)
			}
		}
		if !hidden {
			list = append(list, f)
		}
	}
	return list
}

// FuzzIgnoreAsBuildKit: what is seen of a context is what BuildKit sends of it, file by file.
func FuzzIgnoreAsBuildKit(f *testing.F) {
	for _, text := range []string{"", "*", "*\n!d", "d\n!d/e/f", "**/*.o\n!**/c.o", "node_modules\n!node_modules/keep", "/d/*\n!d/e", "d/**\n!d/e/a\nd/e", " x y \n\\#h\n\\!n", "!a\n*.md\n!b.md",
		"d?\n[ab]*\n", "./d/../a", "**", "**/e\n!d", "d/\n!/d/a/", "#h\n", "\ufeffa\n", "!*\n", "!d/e\nd", "*/e/**/g"} {
		f.Add([]byte(text))
	}
	dir, files := ignoring(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
		if err != nil {
			return
		}
		m, err := patternmatcher.New(patterns)
		if err != nil {
			return
		}
		want := shown(t, m, files)
		c, err := openPlain(dir, "the context")
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if c.ignore, err = newHiding(patterns); err != nil {
			t.Fatal(err)
		}
		var got []string
		err = c.walk("", nil, func(rel, _ string, st *unix.Stat_t) error {
			if st.Mode&unix.S_IFMT == unix.S_IFREG {
				got = append(got, rel)
			}
			return nil
		})
		if err != nil {
			t.Skip(err)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q shows %q, with BuildKit %q", text, got, want)
		}
		for _, file := range files {
			found, err := c.find(file)
			if there := slices.Contains(want, file); there != (err == nil) || there && found[0].real != file {
				t.Errorf("%q: %q is found as %+v, %v", text, file, found, err)
			}
		}
	})
}

// TestIgnoreTogether: stages ask at the same time.
func TestIgnoreTogether(t *testing.T) {
	dir, files := ignoring(t)
	if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("d/*\n!d/e\n**/*.o\n[ab]*\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := openContext(dir, filepath.Join(dir, "Dockerfile"), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, f := range files {
				if hidden, _, err := c.hidden(f); err != nil || hidden != slices.Contains([]string{"a", "b.md", "d/a", "d/b.md", "d/e/c.o"}, f) {
					t.Errorf("%s: %v, %v", f, hidden, err)
				}
			}
		})
	}
	all.Wait()
}
