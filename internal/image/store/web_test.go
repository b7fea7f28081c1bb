// SPDX-License-Identifier: Apache-2.0

package store

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rkt/rkt/internal/image"
)

func named(t *testing.T, s *Store, content, name string) image.Record {
	t.Helper()
	r := addACI(t, s, content)
	r.Name = name
	must(t, s.Commit(r))
	return r
}

func TestByAppcName(t *testing.T) {
	s := newStore(t)
	a, b := named(t, s, "a", "example.com/app"), named(t, s, "b", "example.com/app")
	named(t, s, "c", "example.com/other")
	ids := func(name string) (all []string) {
		t.Helper()
		list, err := s.ByAppcName(name)
		must(t, err)
		for _, r := range list {
			all = append(all, string(r.ID))
		}
		return all
	}
	if got := ids("example.com/app"); len(got) != 2 || !strings.Contains(strings.Join(got, " "), string(a.ID)) {
		t.Errorf("got %q", got)
	}
	if got := ids("example.com"); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	_, err := s.Remove(a.ID, nil)
	must(t, err)
	if got := ids("example.com/app"); len(got) != 1 || got[0] != string(b.ID) {
		t.Errorf("after Remove: %q", got)
	}
	// What a kill left: an image without its place on the shelf, and a place
	// without its image.
	must(t, os.RemoveAll(s.rkt("appc")))
	must(t, os.MkdirAll(s.shelf("example.com/app"), 0o750))
	must(t, os.WriteFile(s.shelf("example.com/app")+"/"+string(a.ID), nil, 0o640))
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	if got := ids("example.com/app"); len(got) != 1 || got[0] != string(b.ID) {
		t.Errorf("after Collect: %q", got)
	}
	if _, err := os.Lstat(s.shelf("example.com/app") + "/" + string(a.ID)); err == nil {
		t.Error("Collect left a place of an image that is gone")
	}
	if got := ids("example.com/other"); len(got) != 1 {
		t.Errorf("other: %q", got)
	}
}

func TestURLState(t *testing.T) {
	s := newStore(t)
	r := named(t, s, "a", "example.com/app")
	const url = "https://example.com/a.aci"
	if _, ok := s.URL(url); ok {
		t.Error("knows a URL before it was told")
	}
	want := URLState{URL: url, ID: r.ID, ETag: `"x"`, Modified: "then", Asked: time.Unix(1000, 0).UTC(), MaxAge: 5}
	must(t, s.PutURL(want))
	if got, ok := s.URL(url); !ok || got != want {
		t.Errorf("got %+v, %v", got, ok)
	}
	_, err := s.Remove(r.ID, nil)
	must(t, err)
	if _, ok := s.URL(url); ok {
		t.Error("knows a URL whose image is gone")
	}
	must(t, os.WriteFile(s.webPath("web", "https://other"), []byte("no JSON"), 0o600))
	if _, ok := s.URL("https://other"); ok {
		t.Error("knows what cannot be read")
	}
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	if left, _ := filepath.Glob(s.rkt("web", "*")); len(left) != 0 {
		t.Errorf("Collect left %q", left)
	}
}

func TestCut(t *testing.T) {
	s := newStore(t)
	const url = "https://example.com/a.aci"
	keep := func(content, note string) {
		t.Helper()
		w, err := s.NewBlob()
		must(t, err)
		_, err = w.Write([]byte(content))
		must(t, err)
		must(t, s.KeepCut(url, w, note))
	}
	take := func() (string, string) {
		t.Helper()
		f, note, err := s.TakeCut(url)
		must(t, err)
		if f == nil {
			return "", ""
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		must(t, err)
		return string(b), note
	}
	if b, n := take(); b != "" || n != "" {
		t.Errorf("took %q, %q of nothing", b, n)
	}
	keep("one", "first")
	keep("two, longer", "second")
	if b, n := take(); b != "two, longer" || n != "second" {
		t.Errorf("took %q, %q", b, n)
	}
	if b, _ := take(); b != "" {
		t.Errorf("took %q twice", b)
	}
	keep("", "nothing")
	if left, _ := filepath.Glob(s.rkt("*", "*")); len(left) != 0 && strings.Contains(strings.Join(left, " "), "/cut/") {
		t.Errorf("kept nothing: %q", left)
	}
	keep("young", "note")
	_, err := s.Collect(Policy{Grace: 0})
	must(t, err)
	path := s.webPath("cut", url)
	old := time.Now().Add(-cutAge - time.Minute)
	must(t, os.Chtimes(path, old, old))
	must(t, os.Chtimes(path+noteEnd, old, old))
	c, err := s.Collect(Policy{Grace: 0})
	must(t, err)
	if b, _ := take(); b != "" || c.Orphans != 1 {
		t.Errorf("Collect left %q, and counts %d orphans", b, c.Orphans)
	}
	// Bytes without their note count for nothing.
	keep("bytes", "note")
	must(t, os.Remove(path+noteEnd))
	if b, _ := take(); b != "" {
		t.Errorf("took %q without a note", b)
	}
}
