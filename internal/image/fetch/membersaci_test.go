// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// TestMembersAndACIs: members import none, neither from a file nor from a URL,
// but do with root's what they do with all images.
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
	file := filepath.Join(dir, "a.aci")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(file, aci(t, manifest("example.com/app", "v1", "")), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{file, "https://127.0.0.1:1/a.aci"} {
		_, err := asUser(t, alice, []uint32{group}, "fetch", data, word)
		if err == nil || !strings.Contains(err.Error(), "only root can import an ACI here") {
			t.Errorf("%s: %v", word, err)
		}
	}
	// They find root's, remove it, and collect.
	st, err := store.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	rec := get(t, st, options(t), file)
	if out, err := asUser(t, alice, []uint32{group}, "fetch", data, "example.com/app:v1"); err != nil || out != string(rec.ID) {
		t.Errorf("a member finds %q, %v", out, err)
	}
	for _, job := range [][]string{{"gc", data}, {"rm", data, string(rec.ID)}, {"gc", data}} {
		if out, err := asUser(t, alice, []uint32{group}, job...); err != nil {
			t.Errorf("%s: %s, %v", job[0], out, err)
		}
	}
	if _, err := st.Collect(store.Policy{Grace: -1}); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "images/rkt/appc/*")); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}
