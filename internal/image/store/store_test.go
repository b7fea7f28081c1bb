// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
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

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// reopen is what another process would see.
func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	other, err := Open(filepath.Dir(s.images))
	must(t, err)
	t.Cleanup(func() { other.Close() })
	return other
}

func putBlob(t testing.TB, s *Store, content []byte) image.Digest {
	t.Helper()
	w, err := s.NewBlob()
	must(t, err)
	_, err = w.Write(content)
	must(t, err)
	d := w.Digest()
	must(t, w.Commit(d, int64(len(content))))
	return d
}

func putLayer(t testing.TB, s *Store, diffID image.Digest, content string) {
	t.Helper()
	d, err := s.NewLayer()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.Path(), "file"), []byte(content), 0o644))
	must(t, d.Commit(diffID))
}

// addImage makes a Docker image of layers with the given contents, all of it
// but the record.
func addImage(t testing.TB, s *Store, config string, layers ...string) image.Record {
	t.Helper()
	type desc struct {
		MediaType string       `json:"mediaType"`
		Digest    image.Digest `json:"digest"`
		Size      int          `json:"size"`
	}
	type rootfs struct {
		Type    string         `json:"type"`
		DiffIDs []image.Digest `json:"diff_ids"`
	}
	rec := image.Record{Format: image.OCI, MediaType: "application/vnd.docker.distribution.manifest.v2+json", Imported: time.Now().UTC()}
	descs, ids := []desc{}, []image.Digest{}
	for _, content := range layers {
		blob := []byte("blob of " + content)
		diffID := digestOf([]byte(content))
		d := putBlob(t, s, blob)
		putLayer(t, s, diffID, content)
		descs = append(descs, desc{"application/vnd.docker.image.rootfs.diff.tar.gzip", d, len(blob)})
		ids = append(ids, diffID)
		rec.Layers = append(rec.Layers, image.Layer{Blob: d, MediaType: descs[0].MediaType, Size: int64(len(blob)), DiffID: diffID, TreeSize: int64(len(content))})
	}
	cfg, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "author": config, "rootfs": rootfs{"layers", ids}})
	must(t, err)
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": rec.MediaType,
		"config": desc{"application/vnd.docker.container.image.v1+json", putBlob(t, s, cfg), len(cfg)},
		"layers": descs,
	})
	must(t, err)
	rec.Manifest = putBlob(t, s, manifest)
	rec.ID = rec.Manifest.ID()
	return rec
}

func commitImage(t testing.TB, s *Store, config string, names []string, layers ...string) image.Record {
	t.Helper()
	rec := addImage(t, s, config, layers...)
	rec.Names = names
	must(t, s.Commit(rec))
	return rec
}

func addACI(t testing.TB, s *Store, content string) image.Record {
	t.Helper()
	sum := sha512.Sum512([]byte(content))
	diffID := image.Digest("sha512:" + hex.EncodeToString(sum[:]))
	blob := []byte("compressed " + content)
	d := putBlob(t, s, blob)
	putLayer(t, s, diffID, content)
	return image.Record{
		ID: diffID.ID(), Format: image.ACI, Imported: time.Now().UTC(),
		Manifest: putBlob(t, s, []byte(`{"acKind":"ImageManifest","name":"`+content+`"}`)),
		Layers:   []image.Layer{{Blob: d, Size: int64(len(blob)), DiffID: diffID, TreeSize: 1}},
	}
}

// verify proves that all that the store says is there is there, and nothing
// else; call it after Collect.
func verify(t testing.TB, s *Store) {
	t.Helper()
	all, err := s.List()
	must(t, err)
	blobs, layers, names := map[string]bool{}, map[string]bool{"tmp": true}, map[string]bool{}
	for _, r := range all {
		must(t, s.complete(&r))
		list, err := s.blobsOf(&r)
		must(t, err)
		for _, d := range list {
			blobs[d.Hex()] = true
		}
		for _, l := range r.Layers {
			blobs[l.Blob.Hex()] = true
			layers[filepath.Base(s.LayerPath(l.DiffID))] = true
		}
		for _, n := range r.Names {
			names[filepath.Base(s.namePath(n))] = true
			if got, err := s.ByName(n); err != nil || got.ID != r.ID {
				t.Errorf("name %q of %s gives %s, %v", n, r.ID, got.ID, err)
			}
		}
		if got, err := s.ByID(string(r.ID)); err != nil || got.ID != r.ID {
			t.Errorf("%s: %v", r.ID, err)
		}
	}
	same := func(dir string, want map[string]bool) {
		t.Helper()
		have, err := dirNames(dir)
		must(t, err)
		slices.Sort(have)
		have = append([]string{}, have...)
		list := []string{}
		for n := range want {
			list = append(list, n)
		}
		slices.Sort(list)
		if d := cmp.Diff(list, have); d != "" {
			t.Errorf("%s: (-want +there)\n%s", dir, d)
		}
	}
	got, err := s.allBlobs()
	must(t, err)
	for _, d := range got {
		if !blobs[d.Hex()] {
			t.Errorf("blob %s belongs to no image", d)
		}
		b, err := os.ReadFile(s.blobPath(d))
		must(t, err)
		if d.Algorithm() == "sha256" && digestOf(b) != d {
			t.Errorf("blob %s is not what its name says", d)
		}
	}
	if len(got) != len(blobs) {
		t.Errorf("%d blobs, want %d", len(got), len(blobs))
	}
	same(s.layers, layers)
	same(filepath.Join(s.layers, "tmp"), nil)
	same(s.rkt("names"), names)
	same(s.rkt("tmp"), nil)
	same(s.rkt("fetch"), nil)
	var idx index
	b, err := os.ReadFile(filepath.Join(s.images, "index.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &idx))
	listed, want := []string{}, []string{}
	for _, d := range idx.Manifests {
		listed = append(listed, string(d.Digest)+" "+d.Annotations[refName])
	}
	for _, r := range all {
		d, err := s.describe(&r)
		must(t, err)
		for _, n := range r.Names {
			want = append(want, string(d.Digest)+" "+layoutName(n))
		}
		if len(r.Names) == 0 {
			want = append(want, string(d.Digest)+" ")
		}
	}
	if d := cmp.Diff(want, listed); d != "" {
		t.Errorf("index.json: (-want +there)\n%s", d)
	}
}

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

func TestCommitMerges(t *testing.T) {
	s := newStore(t)
	rec := addImage(t, s, "a", "l1", "l2")
	rec.Names, rec.Trust = []string{"one"}, image.TrustDigest
	must(t, s.Commit(rec))
	first := rec.Imported

	again := rec
	again.Names, again.Trust, again.Imported = []string{"two", "two"}, image.TrustNone, first.Add(time.Hour)
	again.Layers = slices.Clone(rec.Layers)
	again.Layers[0].TreeSize = 0
	must(t, s.Commit(again))
	got, err := s.ByID(string(rec.ID))
	must(t, err)
	want := rec
	want.Names = []string{"two", "one"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	again.Names, again.Trust = []string{"one"}, image.TrustSignature
	must(t, s.Commit(again))
	got, err = s.ByID(string(rec.ID))
	must(t, err)
	want.Names, want.Trust = []string{"one", "two"}, image.TrustSignature
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if again.Layers[0].TreeSize != 0 {
		t.Error("Commit changed the caller's record")
	}
	verify(t, s)
}

func TestNameMoves(t *testing.T) {
	s := newStore(t)
	a := commitImage(t, s, "a", []string{"latest", "v1"}, "l")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	must(t, os.Chtimes(s.recordPath(a.ID), old, old))
	b := commitImage(t, s, "b", []string{"latest"}, "l")
	for name, want := range map[string]image.ID{"latest": b.ID, "v1": a.ID} {
		if got, err := s.ByName(name); err != nil || got.ID != want {
			t.Errorf("%s: %s, %v", name, got.ID, err)
		}
	}
	got, err := s.ByID(string(a.ID))
	must(t, err)
	if d := cmp.Diff([]string{"v1"}, got.Names); d != "" {
		t.Error(d)
	}
	if used, err := s.LastUsed(a.ID); err != nil || !used.Equal(old) {
		t.Errorf("losing a name counts as a use: %v, %v", used, err)
	}
	verify(t, s)
}

func TestCommitRefuses(t *testing.T) {
	s := newStore(t)
	good := addImage(t, s, "a", "l1", "l2")
	aci := addACI(t, s, "aci")
	for name, c := range map[string]struct {
		from   image.Record
		change func(*image.Record)
		want   string
	}{
		"no such manifest":   {good, func(r *image.Record) { r.Manifest = digestOf(nil); r.ID = r.Manifest.ID() }, "is not in the store"},
		"foreign ID":         {good, func(r *image.Record) { r.ID = digestOf(nil).ID() }, "its ID is not the digest"},
		"path as ID":         {good, func(r *image.Record) { r.ID = "sha256-../../x" }, "cannot parse digest"},
		"no such blob":       {good, func(r *image.Record) { r.Layers[1].Blob = digestOf(nil) }, "blob sha256:e3b0"},
		"wrong size":         {good, func(r *image.Record) { r.Layers[1].Size++ }, "bytes, not"},
		"no such tree":       {good, func(r *image.Record) { r.Layers[1].DiffID = digestOf(nil) }, "tree of layer sha256:e3b0"},
		"path as layer":      {good, func(r *image.Record) { r.Layers[1].DiffID = "tmp" }, "cannot parse digest"},
		"unknown format":     {good, func(r *image.Record) { r.Format = "tar" }, "unknown format"},
		"empty name":         {good, func(r *image.Record) { r.Names = []string{""} }, "name is empty"},
		"ACI of two layers":  {aci, func(r *image.Record) { r.Layers = append(r.Layers, r.Layers[0]) }, "one layer"},
		"ACI by another ID":  {aci, func(r *image.Record) { r.ID = good.ID }, "one layer"},
		"ACI sans manifest":  {aci, func(r *image.Record) { r.Manifest = digestOf([]byte("?")) }, "is not in the store"},
		"manifest not JSON":  {good, func(r *image.Record) { r.Manifest = r.Layers[0].Blob; r.ID = r.Manifest.ID() }, "manifest sha256:"},
		"manifest sans conf": {good, func(r *image.Record) { r.Manifest = putBlob(t, s, []byte("{}")); r.ID = r.Manifest.ID() }, "cannot parse digest"},
	} {
		r := c.from
		r.Layers = slices.Clone(r.Layers)
		c.change(&r)
		err := s.Commit(r)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot store image ") {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	if all, err := s.List(); len(all) != 0 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	must(t, s.Close()) // the pins
	_, err := s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
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
