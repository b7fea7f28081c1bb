// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image"
)

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		s, err := Open(dir)
		must(t, err)
		if all, err := s.List(); len(all) != 0 || err != nil {
			t.Errorf("%v, %v", all, err)
		}
		verify(t, s)
	}
	for p, mode := range map[string]fs.FileMode{
		"images": fs.ModeDir | 0o750, "images/rkt/lock": 0o640, "images/index.json": 0o640,
		"images/blobs/sha256": fs.ModeDir | 0o750, "layers": fs.ModeDir | 0o700, "layers/tmp": fs.ModeDir | 0o700,
	} {
		fi, err := os.Stat(filepath.Join(dir, p))
		must(t, err)
		if fi.Mode() != mode {
			t.Errorf("%s: mode %v, want %v", p, fi.Mode(), mode)
		}
	}
	// A layout that somebody else made is taken over as it is.
	must(t, os.RemoveAll(filepath.Join(dir, "images", "rkt")))
	s, err := Open(dir)
	must(t, err)
	commitImage(t, s, "x", []string{"n"}, "layer")
	verify(t, s)

	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(file); err == nil || !strings.HasPrefix(err.Error(), "cannot open image store") {
		t.Errorf("got %v", err)
	}
}

func TestBlob(t *testing.T) {
	s := newStore(t)
	content := bytes.Repeat([]byte("0123456789"), 10000)
	want := digestOf(content)
	if _, ok := s.HasBlob(want); ok {
		t.Error("a blob that was never written")
	}
	w, err := s.NewBlob()
	must(t, err)
	for b := content; len(b) > 0; b = b[min(len(b), 4097):] {
		_, err := w.Write(b[:min(len(b), 4097)])
		must(t, err)
	}
	r, err := w.Reader()
	must(t, err)
	defer r.Close()
	must(t, w.Commit(want, int64(len(content))))
	w.Abort() // nothing
	if size, ok := s.HasBlob(want); !ok || size != int64(len(content)) {
		t.Errorf("%d, %v", size, ok)
	}
	f, err := s.OpenBlob(want)
	must(t, err)
	defer f.Close()
	for _, f := range []*os.File{r, f} {
		got := new(bytes.Buffer)
		if _, err := got.ReadFrom(f); err != nil || !bytes.Equal(got.Bytes(), content) {
			t.Errorf("read %d bytes, %v", got.Len(), err)
		}
	}
	if fi, err := f.Stat(); err != nil || fi.Mode() != 0o640 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	// Once more is fine; without a wish, too.
	if d := putBlob(t, s, content); d != want {
		t.Error(d)
	}
	w, err = s.NewBlobAlgo("sha512")
	must(t, err)
	must(t, w.Commit("", -1))
	if d := w.Digest(); d.Algorithm() != "sha512" {
		t.Error(d)
	} else if size, ok := s.HasBlob(d); size != 0 || !ok {
		t.Error(size, ok)
	}
}

func TestBlobRefusals(t *testing.T) {
	s := newStore(t)
	right := digestOf([]byte("content"))
	wrong := digestOf([]byte("another"))
	sum := sha512.Sum512([]byte("content"))
	for _, c := range []struct {
		digest image.Digest
		size   int64
		want   string
	}{
		{wrong, 7, "content is " + string(right)},
		{right, 8, "got 7 bytes, want 8"},
		{right, 0, "got 7 bytes, want 0"},
		{image.Digest("sha512:" + hex.EncodeToString(sum[:])), 7, "its sha512 was not computed"},
		{"../../etc/passwd", 7, "was not computed"},
		{"sha256:../x", 7, "content is"},
	} {
		w, err := s.NewBlob()
		must(t, err)
		_, err = w.Write([]byte("content"))
		must(t, err)
		err = w.Commit(c.digest, c.size)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot store blob") {
			t.Errorf("%s, %d: %v", c.digest, c.size, err)
		}
		if _, err := w.Write(nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("write after commit: %v", err)
		}
	}
	for _, d := range []image.Digest{"", "x", "sha256:../../../rkt/lock", "sha256:" + image.Digest(strings.Repeat("A", 64))} {
		if _, ok := s.HasBlob(d); ok {
			t.Errorf("HasBlob(%q)", d)
		}
		if _, err := s.OpenBlob(d); err == nil {
			t.Errorf("OpenBlob(%q)", d)
		}
		if p := s.LayerPath(d); p != "" || s.HasLayer(d) {
			t.Errorf("LayerPath(%q) = %q", d, p)
		}
	}
	if _, err := s.NewBlobAlgo("md5"); err == nil {
		t.Error("md5")
	}
	if _, err := s.OpenBlob(right); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	verify(t, s) // no blob, no temporary file
}

func TestLayer(t *testing.T) {
	s := newStore(t)
	id := digestOf([]byte("layer"))
	if s.HasLayer(id) {
		t.Error("a layer that was never made")
	}
	d, err := s.NewLayer()
	must(t, err)
	fi, err := d.File().Stat()
	must(t, err)
	if fi.Mode() != fs.ModeDir|0o755 {
		t.Error(fi.Mode())
	}
	mtime := time.Unix(1000000000, 123456789)
	must(t, os.WriteFile(filepath.Join(d.Path(), "f"), []byte("first"), 0o644))
	must(t, os.Chtimes(d.Path(), mtime, mtime))
	must(t, d.Commit(id))
	must(t, d.Abort()) // nothing
	if !s.HasLayer(id) {
		t.Error("not there")
	}
	if fi, err := os.Stat(s.LayerPath(id)); err != nil || !fi.ModTime().Equal(mtime) {
		t.Errorf("root's time is %v, %v", fi.ModTime(), err)
	}
	putLayer(t, s, id, "second comes too late")
	if b, err := os.ReadFile(filepath.Join(s.LayerPath(id), "f")); err != nil || string(b) != "first" {
		t.Errorf("%q, %v", b, err)
	}
	for _, bad := range []image.Digest{"", "tmp", "../x"} {
		d, err := s.NewLayer()
		must(t, err)
		if err := d.Commit(bad); err == nil {
			t.Errorf("committed as %q", bad)
		}
	}
	d, err = s.NewLayer()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.Path(), "f"), nil, 0o600))
	must(t, d.Abort())
	if names, err := dirNames(filepath.Join(s.layers, "tmp")); len(names) != 0 || err != nil {
		t.Errorf("left in layers/tmp: %v, %v", names, err)
	}
}

func TestFind(t *testing.T) {
	s := newStore(t)
	a := commitImage(t, s, "a", []string{"docker://x/a:1", "docker://x/a:2"}, "base", "a")
	b := commitImage(t, s, "b", nil, "base", "b")
	aci := addACI(t, s, "aci")
	aci.Names = []string{"file:///aci"}
	must(t, s.Commit(aci))
	verify(t, s)
	s = reopen(t, s)

	for _, r := range []image.Record{a, b, aci} {
		algo, hexa, _ := strings.Cut(string(r.ID), "-")
		for _, q := range []string{string(r.ID), algo + ":" + hexa, algo + "-" + hexa[:20], algo + ":" + hexa[:len(hexa)-1]} {
			got, err := s.ByID(q)
			must(t, err)
			if got.ID != r.ID {
				t.Errorf("%s: %s", q, got.ID)
			}
		}
	}
	got, err := s.ByName("docker://x/a:2")
	must(t, err)
	if d := cmp.Diff(a, got); d != "" {
		t.Errorf("(-committed +found)\n%s", d)
	}
	all, err := s.List()
	must(t, err)
	if len(all) != 3 || !slices.IsSortedFunc(all, func(a, b image.Record) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
		t.Errorf("%v", all)
	}
	for _, q := range []string{"sha256-" + strings.Repeat("0", 64), "sha256-000000", "sha512:" + strings.Repeat("0", 128)} {
		if _, err := s.ByID(q); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", q, err)
		}
	}
	if _, err := s.ByName("docker://x/a:3"); !errors.Is(err, ErrNotFound) || err.Error() != `cannot find image "docker://x/a:3": not in the store` {
		t.Error(err)
	}
	for _, q := range []string{"", "x", "sha256", "sha256-", "sha256-a", "sha1-abcd", "sha256-ABCD", "sha256-../../x", "sha256-" + strings.Repeat("0", 65), "sha256--ab"} {
		if _, err := s.ByID(q); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", q, err)
		}
	}
}

func TestAmbiguous(t *testing.T) {
	s := newStore(t)
	seen := map[string][]image.ID{}
	for i := 0; ; i++ {
		r := commitImage(t, s, fmt.Sprint(i), nil, "l")
		p := string(r.ID)[:len("sha256-")+2]
		seen[p] = append(seen[p], r.ID)
		if len(seen[p]) < 2 {
			continue
		}
		_, err := s.ByID(p)
		var amb *AmbiguousError
		if !errors.As(err, &amb) {
			t.Fatalf("%v", err)
		}
		slices.Sort(seen[p])
		if d := cmp.Diff(seen[p], amb.Candidates); d != "" {
			t.Error(d)
		}
		for _, id := range seen[p] {
			if !strings.Contains(err.Error(), id.Short()) {
				t.Errorf("%v does not name %s", err, id.Short())
			}
		}
		return
	}
}

func TestUsed(t *testing.T) {
	s := newStore(t)
	r := commitImage(t, s, "a", nil, "l")
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(s.recordPath(r.ID), old, old))
	s.Used(r.ID)
	if used, err := s.LastUsed(r.ID); err != nil || time.Since(used) > time.Minute {
		t.Errorf("%v, %v", used, err)
	}
	s.Used("../lock")
	gone := digestOf(nil).ID()
	s.Used(gone)
	if _, err := s.LastUsed(gone); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestDamagedRecord(t *testing.T) {
	s := newStore(t)
	r := commitImage(t, s, "a", []string{"n"}, "l")
	other := commitImage(t, s, "b", nil, "l")
	for _, damage := range []string{"", "{", `{"id":"` + string(other.ID) + `"}`} {
		must(t, os.WriteFile(s.recordPath(r.ID), []byte(damage), 0o600))
		for what, err := range map[string]error{
			"ByID": second(s.ByID(string(r.ID))), "ByName": second(s.ByName("n")),
			"List": second(s.List()), "Collect": second(s.Collect(Policy{})),
		} {
			if err == nil || !strings.Contains(err.Error(), "cannot read image record") || errors.Is(err, ErrNotFound) {
				t.Errorf("%s with record %q: %v", what, damage, err)
			}
		}
	}
	if !s.HasLayer(other.Layers[0].DiffID) {
		t.Error("Collect removed something all the same")
	}
	must(t, os.WriteFile(s.namePath("n"), []byte("nonsense"), 0o600))
	if _, err := s.ByName("n"); err == nil || errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	must(t, os.Remove(s.recordPath(r.ID)))
	s.Close()
	_, err := s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
}

func second[T any](_ T, err error) error { return err }

func TestDigestOf(t *testing.T) {
	sum := sha256.Sum256(emptyBlob)
	if emptyDigest.Hex() != hex.EncodeToString(sum[:]) {
		t.Error("the empty blob's digest is wrong")
	}
}

// No digest, however strange, leads out of the layout.
func FuzzDigest(f *testing.F) {
	s, err := Open(f.TempDir())
	must(f, err)
	for _, d := range []string{"", "sha256:" + strings.Repeat("0", 64), "sha512:" + strings.Repeat("f", 128), "sha256:../../x", "sha256:" + strings.Repeat("/", 64), "sha1:" + strings.Repeat("0", 40)} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, d string) {
		for dir, path := range map[string]string{
			filepath.Join(s.images, "blobs"): s.blobPath(image.Digest(d)),
			s.layers:                         s.LayerPath(image.Digest(d)),
		} {
			if path == "" {
				continue
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil || path != filepath.Clean(path) || strings.HasPrefix(rel, ".") || strings.Count(rel, "/") > 1 || rel == "tmp" {
				t.Fatalf("%q leads to %q", d, path)
			}
		}
		if _, err := s.ByID(d); err == nil {
			t.Fatalf("%q is an image", d)
		}
		if _, ok := s.HasBlob(image.Digest(d)); ok {
			t.Fatalf("%q is a blob", d)
		}
	})
}
