// SPDX-License-Identifier: Apache-2.0

package gc

import (
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

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const layerDigest = image.Digest("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")

// newPod makes a pod as prepare does, in the phase, locked.
func newPod(t testing.TB, dir string, phase lifecycle.Phase) *lifecycle.Pod {
	t.Helper()
	id, err := pod.NewUUID()
	must(t, err)
	p, err := lifecycle.Create(dir, id)
	must(t, err)
	t.Cleanup(func() { p.Close() })
	doc, err := json.Marshal(contract.Pod{Version: contract.Version, UUID: string(id), Flavor: "/nonexistent/stage1.json",
		Apps: []contract.App{{Name: "a", Layers: []string{dir + "/layers/" + string(layerDigest.ID())}}}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(p.Dir(), contract.File), doc, 0o600))
	m := pod.Manifest{Apps: []pod.RuntimeApp{{Name: "a", Image: pod.RuntimeImage{ID: "sha256-11"}}}}
	b, err := m.Encode()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(p.Dir(), lifecycle.ManifestFile), b, 0o600))
	must(t, os.MkdirAll(filepath.Join(p.Dir(), lifecycle.UpperDir("a"), "etc"), 0o755))
	must(t, os.Mkdir(filepath.Join(p.Dir(), lifecycle.WorkDir("a")), 0o700))
	must(t, os.Mkdir(filepath.Join(p.Dir(), lifecycle.WorkDir("a"), "work"), 0)) // as overlayfs makes it
	switch phase {
	case lifecycle.Prepare:
	case lifecycle.ExitedGarbage:
		must(t, p.ToFast(lifecycle.Run))
		must(t, p.ToFast(phase))
	default:
		must(t, p.ToFast(phase))
	}
	return p
}

// dead is newPod with its process gone.
func dead(t testing.TB, dir string, phase lifecycle.Phase) *lifecycle.Pod {
	t.Helper()
	p := newPod(t, dir, phase)
	must(t, p.Close())
	return p
}

func ended(t testing.TB, p *lifecycle.Pod) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(p.Dir(), contract.EventsFile), []byte(contract.ExitedLine("a", 0, 1)), 0o600))
}

func gone(t *testing.T, p *lifecycle.Pod) {
	t.Helper()
	if s, err := p.State(); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("pod is still there, %s, %v", s, err)
	}
}

func state(t *testing.T, p *lifecycle.Pod, want lifecycle.State) {
	t.Helper()
	if s, err := p.State(); err != nil || s != want {
		t.Errorf("state %q, %v; want %q", s, err, want)
	}
}

func TestCollect(t *testing.T) {
	dir := t.TempDir()
	must(t, Collect(dir, Policy{})) // a data directory without pods
	running, preparing := newPod(t, dir, lifecycle.Run), newPod(t, dir, lifecycle.Prepare)
	deleting := newPod(t, dir, lifecycle.ExitedGarbage)
	exited, aborted := dead(t, dir, lifecycle.Run), dead(t, dir, lifecycle.Prepare)
	prepared, garbage := dead(t, dir, lifecycle.Prepared), dead(t, dir, lifecycle.Garbage)
	ended(t, exited)
	embryo := filepath.Join(dir, "pods/embryo/00000000-0000-4000-8000-000000000001")
	must(t, os.Mkdir(embryo, 0o700))
	hour := Policy{GracePeriod: time.Hour, ExpirePrepared: time.Hour}

	mark := hour
	mark.MarkOnly = true
	mark.Removing = func(u pod.UUID) { t.Errorf("%s removed by marking", u) }
	must(t, Collect(dir, mark))
	state(t, exited, lifecycle.StateExitedGarbage)
	state(t, aborted, lifecycle.StateGarbage)
	state(t, prepared, lifecycle.StatePrepared)
	state(t, garbage, lifecycle.StateGarbage)

	var removed []pod.UUID
	hour.Removing = func(u pod.UUID) { removed = append(removed, u) }
	must(t, Collect(dir, hour))
	gone(t, aborted)
	gone(t, garbage)
	state(t, exited, lifecycle.StateExitedGarbage) // within its grace
	if _, err := os.Lstat(embryo); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("embryo: %v", err)
	}
	if len(removed) != 3 || !slices.Contains(removed, garbage.ID()) {
		t.Errorf("removed %v", removed)
	}

	must(t, Collect(dir, Policy{ExpirePrepared: time.Hour}))
	gone(t, exited)
	state(t, prepared, lifecycle.StatePrepared)
	must(t, Collect(dir, Policy{}))
	gone(t, prepared)

	state(t, running, lifecycle.StateRunning)
	state(t, preparing, lifecycle.StatePreparing)
	state(t, deleting, lifecycle.StateExitedDeleting)
}

func TestCleanup(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t testing.TB, p *lifecycle.Pod)
		err     error
		asked   bool // the flavor is
		kept    bool // the pod is
	}{
		"ended by itself": {prepare: ended},
		"killed":          {prepare: func(t testing.TB, p *lifecycle.Pod) {}, asked: true},
		"cgroup left": {prepare: func(t testing.TB, p *lifecycle.Pod) {
			ended(t, p)
			edit(t, p, func(c *contract.Pod) { c.Cgroup = t.TempDir() })
		}, asked: true},
		"cgroup gone": {prepare: func(t testing.TB, p *lifecycle.Pod) {
			ended(t, p)
			edit(t, p, func(c *contract.Pod) { c.Cgroup = "/sys/fs/cgroup/nonexistent/rkt-x" })
		}},
		"flavor fails": {prepare: func(t testing.TB, p *lifecycle.Pod) {}, err: errors.New("no"), asked: true, kept: true},
		"flavor gone":  {prepare: func(t testing.TB, p *lifecycle.Pod) {}, err: fmt.Errorf("x: %w", fs.ErrNotExist), asked: true},
		"power loss": {prepare: func(t testing.TB, p *lifecycle.Pod) {
			for _, n := range []string{contract.File, lifecycle.ManifestFile} {
				must(t, os.Truncate(filepath.Join(p.Dir(), n), 0))
			}
		}},
		"power loss, no files": {prepare: func(t testing.TB, p *lifecycle.Pod) {
			for _, n := range []string{contract.File, lifecycle.ManifestFile} {
				must(t, os.Remove(filepath.Join(p.Dir(), n)))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p, other := dead(t, dir, lifecycle.Run), dead(t, dir, lifecycle.Garbage)
			c.prepare(t, p)
			asked, warned := false, false
			err := Collect(dir, Policy{
				Cleanup: func(q *lifecycle.Pod) error {
					asked = true
					if q.ID() != p.ID() || q.LockFile() == nil {
						t.Errorf("asked for %s, lock %v", q.ID(), q.LockFile())
					}
					return c.err
				},
				Warn: func(error) { warned = true }})
			gone(t, other)
			if asked != c.asked || c.kept != (err != nil) || warned != (c.err != nil && !c.kept) {
				t.Errorf("flavor asked %v, warned %v, %v", asked, warned, err)
			}
			if c.kept {
				state(t, p, lifecycle.StateExitedGarbage)
			} else {
				gone(t, p)
			}
		})
	}
}

func edit(t testing.TB, p *lifecycle.Pod, f func(*contract.Pod)) {
	t.Helper()
	c, err := p.Contract()
	must(t, err)
	f(c)
	b, err := json.Marshal(c)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(p.Dir(), contract.File), b, 0o600))
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	for _, phase := range []lifecycle.Phase{lifecycle.Prepare, lifecycle.Run, lifecycle.ExitedGarbage, lifecycle.Garbage} {
		p := newPod(t, dir, phase)
		q, err := lifecycle.Open(dir, string(p.ID()))
		must(t, err)
		err = Remove(q, nil, nil)
		if err == nil || !strings.Contains(err.Error(), string(p.ID())) {
			t.Errorf("%s, in use: %v", phase, err)
		}
		if phase == lifecycle.Run && hint.Of(err) == "" {
			t.Error("no hint to stop it")
		}
		must(t, p.Close())
		must(t, Remove(q, nil, nil))
		gone(t, p)
		if err := Remove(q, nil, nil); !errors.Is(err, lifecycle.ErrNotFound) {
			t.Errorf("%s, again: %v", phase, err)
		}
	}
	p := dead(t, dir, lifecycle.Prepared)
	must(t, Remove(p, func(*lifecycle.Pod) error { t.Error("cleaned up after a pod that never ran"); return nil }, nil))
	gone(t, p)
}

func TestUsers(t *testing.T) {
	layer, rec := image.Layer{DiffID: layerDigest}, image.Record{ID: "sha256-11"}
	for _, phase := range []lifecycle.Phase{lifecycle.Prepare, lifecycle.Prepared, lifecycle.Run, lifecycle.ExitedGarbage, lifecycle.Garbage} {
		dir := t.TempDir()
		dead(t, dir, phase)
		u, want := UsersOf(dir), phase != lifecycle.Garbage
		if u.Layer(layer) != want || u.Image(rec) != want || u.Err() != nil {
			t.Errorf("%s: layer %v, image %v, %v", phase, u.Layer(layer), u.Image(rec), u.Err())
		}
		if u.Layer(image.Layer{DiffID: "sha256:bb"}) || u.Image(image.Record{ID: "sha256-22"}) {
			t.Errorf("%s: others are in use", phase)
		}
	}
	// The flavor's image as well.
	dir := t.TempDir()
	p := dead(t, dir, lifecycle.Prepared)
	other := image.Digest("sha256:" + strings.Repeat("b", 64))
	doc, err := p.Contract()
	must(t, err)
	doc.Flavor, doc.Stage1Image = dir+"/layers/"+string(other.ID())+"/"+contract.TreeManifest, "sha256-22"
	must(t, os.WriteFile(filepath.Join(p.Dir(), contract.File), doc.Encode(), 0o600))
	if u := UsersOf(dir); !u.Layer(image.Layer{DiffID: other}) || !u.Image(image.Record{ID: "sha256-22"}) || !u.Layer(layer) {
		t.Error("the flavor of a pod is not in use")
	}
	// Torn and ended: needs nothing. Torn and alive: nobody knows, so all of it.
	for _, alive := range []bool{false, true} {
		dir := t.TempDir()
		p := newPod(t, dir, lifecycle.Run)
		must(t, os.Truncate(filepath.Join(p.Dir(), contract.File), 0))
		if !alive {
			must(t, p.Close())
		}
		u := UsersOf(dir)
		if u.Layer(layer) != alive || u.Image(rec) != alive || (u.Err() != nil) != alive {
			t.Errorf("alive %v: %v, %v, %v", alive, u.Layer(layer), u.Image(rec), u.Err())
		}
	}
}

func TestImages(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(dir)
	must(t, err)
	used, idle := commit(t, st, "used"), commit(t, st, "idle")
	must(t, st.Close()) // as the end of the fetching process
	p := newPod(t, dir, lifecycle.Prepared)
	m := pod.Manifest{Apps: []pod.RuntimeApp{{Name: "a", Image: pod.RuntimeImage{ID: used.ID}}}}
	b, err := m.Encode()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(p.Dir(), lifecycle.ManifestFile), b, 0o600))
	must(t, p.Close())
	if c, err := Images(st, dir, time.Hour); err != nil || len(c.Images) != 0 {
		t.Errorf("within its grace: %+v, %v", c, err)
	}
	c, err := Images(st, dir, 0)
	if err != nil || len(c.Images) != 1 || c.Images[0].ID != idle.ID {
		t.Errorf("collected %+v, %v", c, err)
	}
	if _, err := st.ByID(string(used.ID)); err != nil {
		t.Errorf("the image of a prepared pod: %v", err)
	}
	_, err = RemoveImage(st, dir, used.ID) // asked for by name it goes
	must(t, err)
	if _, err := st.ByID(string(used.ID)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// commit stores an image of one blob, its manifest.
func commit(t *testing.T, st *store.Store, name string) image.Record {
	t.Helper()
	blob := func(format string, args ...any) (image.Digest, int64) {
		w, err := st.NewBlob()
		must(t, err)
		_, err = fmt.Fprintf(w, format, args...)
		must(t, err)
		d, size := w.Digest(), w.Size()
		must(t, w.Commit(d, -1))
		return d, size
	}
	config, size := blob(`{"name":%q}`, name)
	d, _ := blob(`{"schemaVersion":2,"config":{"digest":%q,"size":%d}}`, config, size)
	rec := image.Record{ID: d.ID(), Format: image.OCI, Names: []string{name}, Manifest: d,
		MediaType: "application/vnd.oci.image.manifest.v1+json", Imported: time.Now(), App: &image.App{}}
	must(t, st.Commit(rec))
	return rec
}

func BenchmarkCollect1000(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		for range 1000 {
			ended(b, dead(b, dir, lifecycle.Run))
		}
		b.StartTimer()
		if err := Collect(dir, Policy{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListStates1000(b *testing.B) {
	dir := b.TempDir()
	for range 1000 {
		dead(b, dir, lifecycle.Run)
	}
	for b.Loop() {
		pods, err := lifecycle.List(dir)
		if err != nil || len(pods) != 1000 {
			b.Fatal(len(pods), err)
		}
		for _, p := range pods {
			if _, err := p.State(); err != nil {
				b.Fatal(err)
			}
			if _, err := p.Manifest(); err != nil {
				b.Fatal(err)
			}
			if _, err := p.Created(); err != nil {
				b.Fatal(err)
			}
			if _, err := p.Events(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
