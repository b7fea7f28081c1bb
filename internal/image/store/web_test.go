// SPDX-License-Identifier: Apache-2.0

package store

import (
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
