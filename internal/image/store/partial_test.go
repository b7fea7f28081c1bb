// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// noise is what partials are made of: two checkpoints and some more.
func noise() []byte {
	b := make([]byte, 2*checkpointEvery+5<<20)
	rand.New(rand.NewSource(1)).Read(b)
	return b
}

const writeSize = 512 << 10

func begin(t testing.TB, s *Store, key string) *BlobWriter {
	t.Helper()
	w, err := s.ResumeBlob(key, "sha256")
	must(t, err)
	t.Cleanup(w.Abort)
	return w
}

func write(t testing.TB, w *BlobWriter, b []byte) {
	t.Helper()
	for len(b) > 0 {
		n, err := w.Write(b[:min(len(b), writeSize)])
		must(t, err)
		b = b[n:]
	}
}

// finish writes what is missing of content and stores it.
func finish(t testing.TB, s *Store, w *BlobWriter, content []byte) {
	t.Helper()
	write(t, w, content[w.Size():])
	must(t, w.Commit(digestOf(content), int64(len(content))))
	got, err := os.ReadFile(s.blobPath(digestOf(content)))
	must(t, err)
	if !bytes.Equal(got, content) {
		t.Errorf("the blob stored is not what was written")
	}
	nothingIn(t, s)
}

func nothingIn(t testing.TB, s *Store) {
	t.Helper()
	if left, err := dirNames(s.rkt("tmp")); len(left) != 0 || err != nil {
		t.Errorf("left in tmp: %q, %v", left, err)
	}
}

func TestPartial(t *testing.T) {
	s, content := newStore(t), noise()
	w := begin(t, s, "a")
	if w.Size() != 0 || w.Note() != "" {
		t.Fatalf("a new partial has %d bytes, note %q", w.Size(), w.Note())
	}
	must(t, w.SetNote("etag"))
	write(t, w, content[:checkpointEvery+MinPartial])
	w.Keep()
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Keep = %v", err)
	}
	// Another key, and another algorithm, know nothing of it.
	for _, algo := range []string{"sha256", "sha512"} {
		o, err := s.ResumeBlob(map[string]string{"sha256": "b", "sha512": "a"}[algo], algo)
		must(t, err)
		if o.Size() != 0 {
			t.Errorf("another partial has %d bytes", o.Size())
		}
		o.Abort()
	}
	w = begin(t, s, "a")
	if w.Size() != checkpointEvery+MinPartial || w.Note() != "etag" || w.Digest() != digestOf(content[:w.Size()]) {
		t.Errorf("%d bytes, note %q, digest %s", w.Size(), w.Note(), w.Digest())
	}
	finish(t, s, w, content)
}

func TestPartialRestart(t *testing.T) {
	s, content := newStore(t), noise()
	w := begin(t, s, "a")
	write(t, w, make([]byte, MinPartial))
	must(t, w.SetNote("old"))
	must(t, w.Restart())
	if w.Size() != 0 || w.Note() != "" {
		t.Errorf("after Restart: %d bytes, note %q", w.Size(), w.Note())
	}
	finish(t, s, w, content)
}

// Too little, or nothing that has a name, is not kept.
func TestPartialNotKept(t *testing.T) {
	s := newStore(t)
	w := begin(t, s, "a")
	write(t, w, make([]byte, MinPartial-1))
	w.Keep()
	nothingIn(t, s)
	w = begin(t, s, "a")
	write(t, w, make([]byte, MinPartial))
	w.Abort()
	nothingIn(t, s)
	w, err := s.NewBlob()
	must(t, err)
	write(t, w, make([]byte, MinPartial))
	w.Keep()
	nothingIn(t, s)
	w = begin(t, s, "a")
	write(t, w, make([]byte, MinPartial))
	if err := w.Commit(digestOf(nil), -1); err == nil {
		t.Error("Commit believed a wrong digest")
	}
	nothingIn(t, s)
}

// While one process downloads, another one with the same wish goes its own way.
func TestPartialBusy(t *testing.T) {
	s, content := newStore(t), noise()
	w := begin(t, s, "a")
	write(t, w, content[:MinPartial])
	o := begin(t, reopen(t, s), "a")
	if o.Size() != 0 || o.part != nil {
		t.Errorf("a partial in use was taken over, %d bytes", o.Size())
	}
	write(t, o, content)
	must(t, o.Commit(digestOf(content), -1))
	finish(t, s, w, content)
}

// killedAfter is for a process that writes so many bytes and dies.
const killedAfter = "STORE_TEST_KILLED_AFTER"

// The state of the hash is continued as it was noted; what came after it is
// hashed again, and all of it after a restart of the machine or if the state is
// not this file's.
func TestPartialState(t *testing.T) {
	content := noise()
	cut := checkpointEvery + 3<<20
	if dir := os.Getenv(killedAfter); dir != "" {
		s, err := Open(dir)
		must(t, err)
		w := begin(t, s, "a")
		write(t, w, content[:cut])
		must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	edit := func(old, replacement string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(replacement), 1) }
	}
	for _, tc := range []struct {
		name   string
		state  func([]byte) []byte
		reused bool
	}{
		{"as left", nil, true},
		{"of another boot", edit(bootID(), "00000000-0000-0000-0000-000000000000"), false},
		{"of no boot", edit(bootID(), ""), false},
		{"of another file", edit(`"inode":`, `"inode":1`), false},
		{"of more than there is", edit(`"size":16777216`, `"size":26777216`), false},
		{"of less than nothing", edit(`"size":16777216`, `"size":-1`), false},
		{"of another hash", edit(`"hash":"`, `"hash":"AAAA`), false},
		{"torn", func(b []byte) []byte { return b[:len(b)/2] }, false},
		{"empty", func([]byte) []byte { return nil }, false},
		{"huge", func([]byte) []byte { return []byte(strings.Repeat(" ", 1<<20) + "{}") }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			cmd := exec.Command(os.Args[0], "-test.run=^TestPartialState$")
			cmd.Env = append(os.Environ(), killedAfter+"="+strings.TrimSuffix(s.images, "/images"))
			if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%v: %s", err, out)
			}
			part := s.partialPath("a", "sha256")
			if tc.state != nil {
				b, err := os.ReadFile(part + stateSuffix)
				must(t, err)
				changed := tc.state(b)
				if bytes.Equal(b, changed) {
					t.Fatalf("the state is %s", b)
				}
				must(t, os.WriteFile(part+stateSuffix, changed, 0o600))
			}
			// A byte that was hashed already shows whether it is hashed again.
			f, err := os.OpenFile(part, os.O_RDWR, 0)
			must(t, err)
			_, err = f.WriteAt([]byte{^content[10]}, 10)
			must(t, err)
			w := begin(t, s, "a")
			if w.Size() != int64(cut) {
				t.Errorf("%d bytes are there, want %d", w.Size(), cut)
			}
			if got := w.Digest() == digestOf(content[:cut]); got != tc.reused {
				t.Errorf("state reused: %v, want %v", got, tc.reused)
			}
			_, err = f.WriteAt(content[10:11], 10)
			must(t, errors.Join(err, f.Close()))
			if tc.reused {
				finish(t, s, w, content)
				return
			}
			// What was continued wrongly is found out, and goes.
			write(t, w, content[w.Size():])
			if err := w.Commit(digestOf(content), -1); err == nil {
				t.Error("Commit believed a digest that was not computed")
			}
			nothingIn(t, s)
		})
	}
}

// A partial that somebody else owns, or that is no file, is left alone.
func TestPartialNotOurs(t *testing.T) {
	s := newStore(t)
	w := begin(t, s, "a")
	write(t, w, make([]byte, MinPartial))
	w.Keep()
	part := s.partialPath("a", "sha256")
	if os.Geteuid() == 0 {
		must(t, os.Chown(part, 12345, -1))
		if w := begin(t, s, "a"); w.Size() != 0 || w.part != nil {
			t.Errorf("another user's partial was continued: %d bytes", w.Size())
		}
	}
	must(t, os.Remove(part))
	must(t, os.Symlink("/etc/passwd", part))
	if w := begin(t, s, "a"); w.Size() != 0 || w.part != nil {
		t.Errorf("a link was followed: %d bytes", w.Size())
	}
	must(t, os.Remove(part))
	must(t, os.Mkdir(part, 0o755))
	if w := begin(t, s, "a"); w.Size() != 0 || w.part != nil {
		t.Errorf("a directory was taken for a partial: %d bytes", w.Size())
	}
	must(t, os.Remove(part))
	other := part + "-other" // what somebody else has besides
	must(t, os.WriteFile(other, make([]byte, MinPartial), 0o600))
	must(t, os.Link(other, part))
	if w := begin(t, s, "a"); w.Size() != 0 || w.part != nil {
		t.Errorf("a file with another name was continued: %d bytes", w.Size())
	}
	must(t, errors.Join(os.Remove(part), os.Remove(other)))
	if os.Geteuid() != 0 {
		return
	}
	// Its state says what its bytes hash to: that is for nobody else to say.
	w = begin(t, s, "a")
	write(t, w, make([]byte, MinPartial))
	w.Keep()
	must(t, os.Chown(part+stateSuffix, 12345, -1))
	if w := begin(t, s, "a"); w.Size() != 0 || w.part != nil {
		t.Errorf("another user's state was believed: %d bytes", w.Size())
	}
	// What somebody puts there holds nobody up.
	must(t, errors.Join(os.Remove(part), os.Remove(part+stateSuffix)))
	must(t, syscall.Mkfifo(part, 0o666))
	must(t, os.Symlink("/etc/passwd", s.partialPath("b", "sha256")))
	_, err := s.Collect(Policy{Grace: -1})
	must(t, err)
}

func TestCollectPartials(t *testing.T) {
	s := newStore(t)
	keep := func(key string, age time.Duration) string {
		w := begin(t, s, key)
		write(t, w, make([]byte, MinPartial))
		w.Keep()
		then := time.Now().Add(-age)
		must(t, os.Chtimes(s.partialPath(key, "sha256"), then, then))
		return s.partialPath(key, "sha256")
	}
	young, old := keep("young", MaxPartialAge-time.Minute), keep("old", MaxPartialAge+time.Minute)
	future := keep("future", -MaxPartialAge-time.Minute)
	used := keep("used", 2*MaxPartialAge)
	w := begin(t, s, "used")
	orphan := s.partialPath("orphan", "sha256") + stateSuffix
	must(t, os.WriteFile(orphan, []byte("{}"), 0o600))
	c, err := s.Collect(Policy{Grace: -1})
	must(t, err)
	if c.Orphans != 2 || c.Freed < 2*MinPartial {
		t.Errorf("collected %+v, want the two that are too old", c)
	}
	for path, there := range map[string]bool{young: true, young + stateSuffix: true, used: true, used + stateSuffix: true,
		old: false, old + stateSuffix: false, future: false, future + stateSuffix: false, orphan: false} {
		if _, err := os.Lstat(path); (err == nil) != there || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want there: %v", path, err, there)
		}
	}
	w.Abort()
	begin(t, s, "young").Abort()
	nothingIn(t, s)
}
