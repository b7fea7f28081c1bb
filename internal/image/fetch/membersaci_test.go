// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
)

// TestClaimedACI: what another user says that an ACI is called, or which URL
// gave it, leads nowhere; root fetches it.
func TestClaimedACI(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: for another user's files")
	}
	st, dir := open(t)
	s := sites(t)
	data := aci(t, manifest("example.com/app", "v1", ""))
	s.Text("https://example.com/", page)
	s.File(place("example.com/app", "v1"), data)
	url := place("example.com/app", "v1")
	for _, word := range []string{"example.com/app:v1", url} {
		rec := get(t, st, options(t), word)
		record := filepath.Join(dir, "images/rkt/records", string(rec.ID)+".json")
		if err := os.Chown(record, alice, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := fetch.Find(st, parse(t, word)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: found: %v", word, err)
		}
		opt := options(t)
		opt.Policy = fetch.Never
		fails(t, st, opt, word, "pull policy is never")
		s.Asked()
		if rec := get(t, st, options(t), word); rec.Claimed || rec.ID != aciID(data) {
			t.Errorf("%s: %+v", word, rec)
		}
		if asked := s.Asked(); len(asked) == 0 {
			t.Errorf("%s: nobody was asked", word)
		}
	}
}

// TestMembersAndACIs: members import ACIs from files and from the web, which
// makes no tree; root proves and unpacks what they brought when it is used by ID.
func TestMembersAndACIs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to be a member")
	}
	_, data := setUp(t)
	dir, err := os.MkdirTemp("", "rkt-aci")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	put := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	member := func(uid int, job ...string) string {
		t.Helper()
		out, err := asUser(t, uid, []uint32{group}, job...)
		if err != nil {
			t.Fatalf("%q: %v", job, err)
		}
		return out
	}
	below := aci(t, manifest("example.com/below", "v1", ""))
	top := aci(t, manifest("example.com/app", "v1", fmt.Sprintf(`,"dependencies":[{"imageName":"example.com/below","imageID":%q}]`, aciID(below))))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(top); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	file := put("a.aci", zipped.Bytes())

	// A member's import is its own to find again, by the file and by its ID.
	id := member(alice, "fetch", data, file)
	if id != string(aciID(top)) {
		t.Fatalf("imported as %s, want %s", id, aciID(top))
	}
	if left, _ := filepath.Glob(filepath.Join(data, "layers/sha512-*")); len(left) != 0 {
		t.Errorf("trees: %q", left)
	}
	blobs := func() int {
		n, _ := filepath.Glob(filepath.Join(data, "images/blobs/*/*"))
		return len(n)
	}
	before := blobs()
	for _, uid := range []int{alice, bob} {
		if out := member(uid, "list", data); !strings.Contains(out, id) {
			t.Errorf("%d lists %q", uid, out)
		}
		if out := member(uid, "fetch", data, id); out != id {
			t.Errorf("%d finds %q", uid, out)
		}
	}
	if n := blobs(); n != before {
		t.Errorf("%d blobs, and %d when it was found again", before, n)
	}
	for what, c := range map[string]struct {
		content []byte
		says    string
	}{
		"no ACI":                              {[]byte("nothing of that kind"), ""},
		"no manifest":                         {make([]byte, 10240), "no manifest"},
		"an image of another kind of machine": {aci(t, strings.Replace(manifest("example.com/app", "v1", ""), runtime.GOARCH, "s390x", 1)), "s390x"},
	} {
		_, err := asUser(t, alice, []uint32{group}, "fetch", data, put("bad.aci", c.content))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := blobs(); n != before {
		t.Errorf("%d blobs, and %d after what failed", before, n)
	}

	// Root: not by the file's name, which is a member's word; by ID, with what it
	// depends on.
	st, err := store.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := fetch.Find(st, parse(t, file)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("found by a member's name: %v", err)
	}
	if _, err := fetch.Find(st, parse(t, "example.com/app:v1")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("found by the name that a member says it has: %v", err)
	}
	s := sites(t)
	// From the web likewise, by URL and by name; what they have is not asked for again.
	web := aci(t, manifest("example.com/web", "v1", ""))
	s.Text("https://example.com/", page)
	s.File(place("example.com/web", "v1"), web)
	for _, word := range []string{place("example.com/web", "v1"), "example.com/web:v1"} {
		for i := range 2 {
			s.Asked()
			if out := member(alice, "fetch", data, word); out != string(aciID(web)) {
				t.Errorf("%s is %s", word, out)
			}
			if asked := s.Asked(); (i == 0) != (len(asked) > 0) {
				t.Errorf("%s, time %d: asked for %q", word, i, asked)
			}
		}
	}
	if left, _ := os.ReadDir(filepath.Join(data, "images/rkt/web")); len(left) != 0 {
		t.Errorf("%d URLs remembered on a member's word", len(left))
	}
	fails(t, st, options(t), id, "it depends on")
	if out := member(bob, "fetch", data, put("below.aci", below)); out != string(aciID(below)) {
		t.Errorf("bob imports %s", out)
	}
	get(t, st, options(t), string(aciID(below)))
	rec := get(t, st, options(t), id)
	if rec.Claimed || rec.Trust != image.TrustNone || len(rec.Names) != 0 || len(rec.Layers) != 2 || rec.Name != "example.com/app" {
		t.Errorf("root's record: %+v", rec)
	}
	for _, l := range rec.Layers {
		if !st.HasLayer(l.DiffID) {
			t.Errorf("layer %s has no tree", l.DiffID)
		}
	}
	if again, err := fetch.Find(st, parse(t, id)); err != nil || ownerOf(t, filepath.Join(data, "images/rkt/records", id+".json")) != 0 {
		t.Errorf("a start finds %v, %v", again.ID, err)
	}
	// By ID alone it was vouched for, not by its name.
	fails(t, st, fetch.Options{Helper: helper}, "example.com/app:v1", "")

	// They remove root's, and collect.
	for _, job := range [][]string{{"gc", data}, {"rm", data, id}, {"gc", data}} {
		member(alice, job...)
	}
	if _, err := st.Collect(store.Policy{Grace: -1}); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "images/rkt/appc/*/"+id)); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

// TestMemberForgesACI: an ACI's record with another's file, or with no file, leads
// root to an error that names it.
func TestMemberForgesACI(t *testing.T) {
	_, data := setUp(t)
	st, err := store.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	good, evil := aci(t, manifest("example.com/good", "v1", "")), aci(t, manifest("example.com/evil", "v1", ""))
	dir := t.TempDir()
	var recs []image.Record
	for i, content := range [][]byte{good, evil} {
		path := filepath.Join(dir, fmt.Sprint(i, ".aci"))
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		recs = append(recs, get(t, st, options(t), path))
	}
	own, _ := recs[1].Own()
	own.DiffID = recs[0].ID.Digest()
	forged := recs[0]
	forged.Layers, forged.Trust = []image.Layer{own}, image.TrustSignature
	for what, blob := range map[string]image.Digest{"another's": own.Blob, "nobody's": image.Digest("sha256:" + strings.Repeat("0", 64))} {
		forged.Layers[0].Blob = blob
		text, err := forged.Encode()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(data, "images/rkt/records", string(forged.ID)+".json")
		if err := errors.Join(os.Remove(path), os.WriteFile(path, text, 0o640), os.Chown(path, alice, group)); err != nil {
			t.Fatal(err)
		}
		err = fails(t, st, fetch.Options{Helper: helper}, string(forged.ID), "which another user stored")
		t.Logf("%s file: %v", what, err)
		if rec, err := st.ByID(string(forged.ID)); err != nil || !rec.Claimed {
			t.Errorf("%s file: now root's: %v", what, err)
		}
	}
}
