// SPDX-License-Identifier: Apache-2.0

//go:build failpoint

package store

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crashes are operations on a store with images a (names n, m) and b (name b).
var crashes = map[string]func(t testing.TB, s *Store){
	"commit a new image with a name of another": func(t testing.TB, s *Store) {
		commitImage(t, s, "new", []string{"n", "new"}, "base", "new")
	},
	"commit an image again": func(t testing.TB, s *Store) {
		commitImage(t, s, "b", []string{"m", "b2"}, "base", "b")
	},
	"commit an ACI": func(t testing.TB, s *Store) {
		r := addACI(t, s, "aci")
		r.Name, r.Names = "example.com/aci", []string{"n"}
		must(t, s.Commit(r))
		if list, err := s.ByAppcName(r.Name); err != nil || len(list) != 1 {
			t.Errorf("by its name: %v, %v", list, err)
		}
	},
	cutDownload: func(t testing.TB, s *Store) {
		const url = "https://example.com/a.aci"
		w, err := s.ResumeBlob(url, "sha256")
		must(t, err)
		must(t, w.SetNote("note"))
		_, err = w.Write(make([]byte, MinPartial))
		must(t, err)
		w.Keep()
		w, err = s.ResumeBlob(url, "sha256")
		must(t, err)
		if w.Size() < MinPartial || w.Note() != "note" {
			t.Errorf("kept %d bytes, %q", w.Size(), w.Note())
		}
		w.Abort()
	},
	"remove": func(t testing.TB, s *Store) {
		r, err := s.ByName("b")
		if errors.Is(err, ErrNotFound) {
			return
		}
		must(t, err)
		_, err = s.Remove(r.ID, nil)
		must(t, err)
	},
	"collect": func(t testing.TB, s *Store) {
		putBlob(t, s, []byte("orphan"))
		putLayer(t, s, digestOf([]byte("orphan")), "orphan")
		must(t, s.Close())
		_, err := s.Collect(Policy{Grace: time.Hour})
		must(t, err)
	},
}

const cutDownload = "keep a cut download"

// crashChild does op in a process of its own, on the store in dir; the error says
// that it was killed.
func crashChild(t *testing.T, dir, op string, env ...string) error {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
	cmd.Env = append(os.Environ(), append(env, childDir+"="+dir, "STORE_TEST_OP="+op)...)
	out, err := cmd.CombinedOutput()
	if ee := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &ee) && ee.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL) {
		t.Errorf("%s: %v\n%s", op, err, out)
	}
	return err
}

// TestCrashPartial kills a process while it notes how far a download came: the
// next one goes on with it or begins anew, and what comes out is proven.
func TestCrashPartial(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	must(t, err)
	must(t, s.Close())
	if err := crashChild(t, dir, cutDownload, "RKT_FAILPOINT=store/partial-checkpoint"); err == nil {
		t.Fatal("the process was not killed")
	}
	s, err = Open(dir)
	must(t, err)
	defer s.Close()
	w, err := s.ResumeBlob("https://example.com/a.aci", "sha256")
	must(t, err)
	defer w.Abort()
	whole := make([]byte, MinPartial+10)
	write(t, w, whole[w.Size():])
	must(t, w.Commit(digestOf(whole), int64(len(whole))))
	if left, _ := filepath.Glob(s.rkt("tmp", "*")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestCrash kills a process at every failpoint of every operation: all that is
// in the store then opens, Collect leaves nothing behind, and the operation can
// be done again.
func TestCrash(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		s, err := Open(dir)
		must(t, err)
		crashes[os.Getenv("STORE_TEST_OP")](t, s)
		return
	}
	template := t.TempDir()
	s, err := Open(template)
	must(t, err)
	a := commitImage(t, s, "a", []string{"n", "m"}, "base", "a")
	commitImage(t, s, "b", []string{"b"}, "base", "b")
	must(t, s.Close())
	child := func(dir, op string, env ...string) error { return crashChild(t, dir, op, env...) }
	fresh := func() string {
		dir := t.TempDir()
		if out, err := exec.Command("cp", "-a", template+"/.", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// "collect" finds image a too old.
		then := time.Now().Add(-2 * time.Hour)
		must(t, os.Chtimes(filepath.Join(dir, "images/rkt/records", string(a.ID)+".json"), then, then))
		return dir
	}
	for op := range crashes {
		if op == cutDownload {
			continue // what it leaves is meant to stay: TestCrashPartial
		}
		trace := filepath.Join(t.TempDir(), "trace")
		if err := child(fresh(), op, "RKT_FAILPOINT_TRACE="+trace); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		b, err := os.ReadFile(trace)
		must(t, err)
		points := strings.Fields(string(b))
		slices.Sort(points)
		points = slices.Compact(points)
		if len(points) < 4 {
			t.Errorf("%s passes only %v", op, points)
		}
		for _, point := range points {
			t.Run(op+" until "+point, func(t *testing.T) {
				dir := fresh()
				if err := child(dir, op, "RKT_FAILPOINT="+point); err == nil {
					t.Fatal("the process was not killed")
				}
				s, err := Open(dir)
				must(t, err)
				defer s.Close()
				all, err := s.List()
				must(t, err)
				for _, r := range all {
					must(t, s.complete(&r))
				}
				for _, n := range []string{"n", "m", "b", "b2", "new"} {
					if r, err := s.ByName(n); err == nil {
						must(t, s.complete(&r))
					} else if !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
				_, err = s.Collect(Policy{Grace: -1})
				must(t, err)
				verify(t, s)
				crashes[op](t, s)
				must(t, s.Close())
				_, err = s.Collect(Policy{Grace: -1})
				must(t, err)
				verify(t, s)
			})
		}
	}
}

// TestCrashOpen kills a process while it makes the store.
func TestCrashOpen(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		_, err := Open(dir)
		must(t, err)
		return
	}
	for _, point := range []string{"atomicfile/before-rename", "atomicfile/after-rename", "store/before-index", "store/after-index"} {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashOpen$")
		cmd.Env = append(os.Environ(), childDir+"="+dir, "RKT_FAILPOINT="+point)
		if err := cmd.Run(); err == nil {
			t.Errorf("%s: not killed", point)
		}
		s, err := Open(dir)
		must(t, err)
		_, err = s.Collect(Policy{})
		must(t, err)
		verify(t, s)
	}
}
