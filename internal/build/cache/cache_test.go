// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func opened(t *testing.T, dir string) *Cache {
	t.Helper()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// filler makes a tree with one file of that text.
func filler(text string) func(upper, work string) error {
	return func(upper, _ string) error {
		if err := os.Mkdir(upper, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(upper, "f"), []byte(text), 0o644)
	}
}

func content(t *testing.T, l Layer) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.Tree, "f"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMake(t *testing.T) {
	dir := t.TempDir()
	one, two := opened(t, dir), opened(t, dir)
	l, hit, err := one.Make("key", "RUN x", false, filler("one"))
	if err != nil || hit || content(t, l) != "one" || l.Empty {
		t.Fatalf("%+v, %v, %v", l, hit, err)
	}
	if l, hit, err = two.Make("key", "RUN x", false, filler("two")); err != nil || !hit || content(t, l) != "one" {
		t.Errorf("%+v, %v, %v", l, hit, err)
	}
	// Anew: whoever has the old tree keeps it while a build runs.
	n, hit, err := two.Make("key", "RUN x", true, filler("two"))
	if err != nil || hit || content(t, n) != "two" || content(t, l) != "one" {
		t.Errorf("%+v, %v, %v", n, hit, err)
	}
	// Once in a build is enough.
	if n, hit, err = two.Make("key", "RUN x", true, filler("three")); err != nil || !hit || content(t, n) != "two" {
		t.Errorf("%+v, %v, %v", n, hit, err)
	}
	failed := errors.New("failed")
	if _, _, err := one.Make("other", "", false, func(string, string) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	if _, ok := one.Find("other"); ok {
		t.Error("what failed is kept")
	}
	// Of two that make the same at once, one is kept, and both go on with it.
	a, _, err := one.Make("race", "", false, func(upper, work string) error {
		if _, _, err := two.Make("race", "", false, filler("two")); err != nil {
			return err
		}
		return filler("one")(upper, work)
	})
	if err != nil || content(t, a) != "two" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestGarbage: what was replaced goes when no build can have it.
func TestGarbage(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, _, err := c.Make("key", "", false, filler("old"))
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	c = opened(t, dir)
	if _, _, err := c.Make("key", "", true, filler("new")); err != nil {
		t.Fatal(err)
	}
	d := opened(t, dir)
	if content(t, old) != "old" {
		t.Error("it went too early")
	}
	_, _ = c.Close(), d.Close()
	opened(t, dir)
	if _, err := os.Lstat(old.Tree); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestSideBySide has many builds put the same key at the same moment: each has the
// layer that it made, and one tree is left of them.
func TestSideBySide(t *testing.T) {
	dir := t.TempDir()
	const builds, rounds = 8, 40
	var caches [builds]*Cache
	for i := range caches {
		var err error
		if caches[i], err = Open(dir); err != nil {
			t.Fatal(err)
		}
	}
	for r := range rounds {
		key := fmt.Sprint("key", r)
		var ready, done sync.WaitGroup
		ready.Add(builds)
		for i, c := range caches {
			done.Go(func() {
				want := fmt.Sprint("build ", i)
				l, _, err := c.Make(key, "RUN x", true, func(upper, work string) error {
					ready.Done()
					ready.Wait()
					return filler(want)(upper, work)
				})
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := os.ReadFile(filepath.Join(l.Tree, "f")); err != nil || string(b) != want {
					t.Errorf("%s: %q, %v", want, b, err)
				}
			})
		}
		done.Wait()
	}
	for _, c := range caches {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	opened(t, dir)
	trees, err := os.ReadDir(filepath.Join(dir, "trees"))
	if err != nil || len(trees) != rounds {
		t.Errorf("%d trees are left of %d keys: %v", len(trees), rounds, err)
	}
}

// TestPowerLoss: what was not on disk does not count on the next boot.
func TestPowerLoss(t *testing.T) {
	c := opened(t, t.TempDir())
	if _, _, err := c.Make("key", "", false, filler("x")); err != nil {
		t.Fatal(err)
	}
	boot := c.boot
	c.boot = "another"
	if _, ok := c.Find("key"); ok {
		t.Error("it counts though it may be torn")
	}
	c.boot = boot
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	c.boot = "another"
	if _, ok := c.Find("key"); !ok {
		t.Error("it does not count though it is on disk")
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	c := opened(t, dir)
	killed := filepath.Join(dir, "work", "killed")
	if err := os.MkdirAll(filepath.Join(killed, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	opened(t, dir)
	if _, err := os.Lstat(killed); !errors.Is(err, os.ErrNotExist) {
		t.Error("what a killed build left is still there")
	}
	if _, err := os.Lstat(c.work); err != nil {
		t.Errorf("what a running build has is gone: %v", err)
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		l, _, err := c.Make(key, "RUN "+key, false, filler(strings.Repeat("x", 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		used := time.Now().Add(-time.Hour * time.Duration(10-int(key[0]-'a')))
		if err := os.Chtimes(filepath.Join(l.dir, "made"), used, used); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Prune(dir, 0, -1, false); err == nil || !strings.Contains(err.Error(), "a build is using it") {
		t.Errorf("%v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "trees", "orphan", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if p, err := Prune(dir, 9*time.Hour+30*time.Minute, -1, false); err != nil || p.Layers != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "trees", "orphan")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a tree that nothing leads to is still there")
	}
	if p, err := Prune(dir, 100*time.Hour, 3<<19, false); err != nil || p.Layers != 1 || p.Freed < 1<<20 {
		t.Errorf("%+v, %v", p, err)
	}
	list, err := List(dir)
	if err != nil || len(list) != 1 || list[0].What != "RUN c" {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestDigest: a file is read again when it may have changed.
func TestDigest(t *testing.T) {
	c := opened(t, t.TempDir())
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	read := 0
	ask := func() {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		// As if all this were long ago.
		st.Ctim.Sec -= 3600
		st.Mtim.Sec -= 3600
		if s, err := c.Digest(path, &st, func() (string, error) { read++; return "sum", nil }); s != "sum" || err != nil {
			t.Errorf("%q, %v", s, err)
		}
	}
	ask()
	ask()
	if read != 1 {
		t.Errorf("read %d times, not once", read)
	}
	if err := os.WriteFile(path, []byte("22"), 0o644); err != nil {
		t.Fatal(err)
	}
	ask()
	if read != 2 {
		t.Errorf("read %d times, not again", read)
	}
}

// TestMountIsWhole: what is not filled to its end is not there for anybody, and of
// two that fill at once one stays as it is.
func TestMountIsWhole(t *testing.T) {
	c := opened(t, t.TempDir())
	failed := errors.New("failed")
	if _, err := c.Mount("m", func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return failed
	}); !errors.Is(err, failed) {
		t.Error(err)
	}
	write := func(text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o644) }
	}
	dir, err := c.Mount("m", func(dir string) error {
		if _, err := c.Mount("m", write("first")); err != nil {
			return err
		}
		return write("second")(dir)
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(b) != "first" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "half")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part of what failed is there: %v", err)
	}
	if again, err := c.Mount("m", func(string) error { return failed }); again != dir || err != nil {
		t.Errorf("%q, %v", again, err)
	}
	if left, err := os.ReadDir(c.work); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
