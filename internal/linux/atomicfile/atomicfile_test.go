// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var writers = map[string]func(string, []byte, fs.FileMode) error{"Write": Write, "WriteFast": WriteFast}

func TestWrite(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			for _, want := range []string{"one, rather long", "two", ""} {
				if err := write(path, []byte(want), 0o664); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(path)
				if err != nil || string(got) != want {
					t.Fatalf("got %q, %v; want %q", got, err, want)
				}
			}
			fi, err := os.Stat(path)
			if err != nil || fi.Mode() != 0o664 {
				t.Errorf("mode %v, %v; want 0664 in spite of the umask", fi.Mode(), err)
			}
			onlyFile(t, dir, "f")
		})
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// A directory in the way makes the rename fail.
			if err := os.MkdirAll(filepath.Join(dir, "f", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			err := write(filepath.Join(dir, "f"), []byte("x"), 0o600)
			if err == nil || !strings.HasPrefix(err.Error(), "cannot write ") || strings.Contains(err.Error(), TempPrefix) {
				t.Errorf("got %v", err)
			}
			onlyFile(t, dir, "f")

			err = write(filepath.Join(dir, "missing", "f"), []byte("x"), 0o600)
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Readers at the same time as writers see one of the contents, whole.
func TestReadersSeeWholeContents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	contents := [][]byte{bytes.Repeat([]byte("a"), 70000), bytes.Repeat([]byte("b"), 130000)}
	if err := WriteFast(path, contents[0], 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 50 {
				if err := WriteFast(path, contents[i%2], 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
	}
	wg.Wait()
}

func onlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("directory holds %v, %v; want only %q", entries, err, name)
	}
}
