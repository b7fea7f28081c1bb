// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/settle"
	"github.com/rkt/rkt/internal/image/store"
)

// mode is that of a path in the topmost tree that has it.
func mode(t testing.TB, st *store.Store, rec image.Record, name string) os.FileMode {
	t.Helper()
	for i := len(rec.Layers) - 1; i >= 0; i-- {
		if fi, err := os.Lstat(filepath.Join(st.LayerPath(rec.Layers[i].DiffID), name)); err == nil {
			return fi.Mode()
		}
	}
	t.Errorf("no layer has %s", name)
	return 0
}

// A directory that an upper layer does not announce keeps what a lower one
// said of it, in every image that has these layers.
func TestSettled(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	base := layer(t, 1, file{"tmp/", "1777"}, file{"etc/", "0700"})
	upper := layer(t, 2, file{"tmp/f", "f"}, file{"etc/conf", "c"})
	r.push(t, "app:v1", build(t, "amd64", base, upper))
	want := os.ModeDir | os.ModeSticky | 0o777
	rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
	if got := mode(t, st, rec, "tmp"); len(rec.Layers) != 3 || got != want {
		t.Errorf("%d layers, /tmp has mode %v, want 3 and %v", len(rec.Layers), got, want)
	}
	r.blobs()

	// Another image with the same layers needs nothing but its own.
	r.push(t, "app:v2", build(t, "amd64", base, upper, layer(t, 3)))
	rec = get(t, st, options(t), "docker://"+r.host+"/app:v2")
	if got := mode(t, st, rec, "tmp"); len(rec.Layers) != 4 || got != want {
		t.Errorf("%d layers, /tmp has mode %v, want 4 and %v", len(rec.Layers), got, want)
	}
	if n := r.blobs(); n != 2 {
		t.Errorf("asked for %d blobs, want 2", n)
	}

	// The tree on top is mended like the others.
	for _, l := range rec.Layers {
		if err := os.RemoveAll(st.LayerPath(l.DiffID)); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	opt := options(t)
	opt.Policy = fetch.New
	rec = get(t, st, opt, "docker://"+r.host+"/app:v2")
	if got := mode(t, st, rec, "tmp"); got != want {
		t.Errorf("after repair, /tmp has mode %v, want %v", got, want)
	}
}

// A layer whose root is opaque hides those below it.
func TestOpaqueRoot(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	r.push(t, "app:v1", build(t, "amd64", layer(t, 1, file{"a", "a"}), layer(t, 2, file{".wh..wh..opq", ""}, file{"b", "b"})))
	for range 2 {
		rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
		if len(rec.Layers) != 1 || content(t, st, rec, "b") != "b" {
			t.Errorf("layers = %+v", rec.Layers)
		}
	}
}

// An image cannot bring annotations that rkt takes for its own.
func TestForgedAnnotations(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	base, upper := layer(t, 1, file{"tmp/", "1777"}), layer(t, 2, file{"tmp/f", "f"})
	im := build(t, "amd64", base, upper)
	d, err := upper.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	im = mutate.Annotations(im, map[string]string{"rkt/facts " + d.String(): "{}", "rkt/x": "y", "org.example": "kept"}).(v1.Image)
	r.push(t, "app:v1", im)
	rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
	if rec.Annotations["org.example"] != "kept" || rec.Annotations["rkt/x"] != "" || !strings.Contains(rec.Annotations["rkt/facts "+d.String()], "tmp") {
		t.Errorf("annotations = %q", rec.Annotations)
	}
	if top := rec.Layers[len(rec.Layers)-1]; top.MediaType != settle.MediaType {
		t.Errorf("top layer = %+v", top)
	}
}
