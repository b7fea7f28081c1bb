// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
)

// A fault, of whatever kind, is one line and leaves the store as it was.
func TestFaults(t *testing.T) {
	body := func(l v1.Layer) []byte {
		rc, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good, bad := layer(t, 1, file{"a", "a"}), layer(t, 2, file{"b", "b"})
	digest, err := bad.Digest()
	if err != nil {
		t.Fatal(err)
	}
	data := body(bad)
	corrupt := slices.Clone(data)
	corrupt[len(corrupt)/2] ^= 1
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, tc := range []struct {
		name  string
		serve http.HandlerFunc // for the bad layer
		stall int
		says  string
	}{
		{"401", status(401), 0, "(401)"},
		{"403", status(403), 0, "(403)"},
		{"404", status(404), 0, "(404)"},
		{"429", status(429), 0, "(429)"},
		{"500", status(500), 0, "(500)"},
		{"corrupt", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(corrupt) }, 0, "the download is corrupt"},
		{"truncated", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data[:len(data)/2])
			panic(http.ErrAbortHandler)
		}, 0, "lost the connection"},
		{"another", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, len(data))) }, 0, "the download is corrupt"},
		{"stalled", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data[:100_000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, 100, "stalled: no byte for 100ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st, dir := open(t)
			r := serve(t)
			r.push(t, "app:v1", build(t, "amd64", good, bad))
			r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
				if !strings.HasSuffix(q.URL.Path, digest.String()) {
					return false
				}
				tc.serve(w, q)
				return true
			})
			before := files(t, dir)
			opt := options(t)
			if tc.stall != 0 {
				opt.StallMillis = tc.stall
			}
			err := fails(t, st, opt, "docker://"+r.host+"/app:v1", tc.says)
			if err != nil && !strings.HasPrefix(err.Error(), `cannot fetch "docker://`) {
				t.Errorf("error = %v", err)
			}
			if after := files(t, dir); !slices.Equal(before, after) {
				t.Errorf("the store changed from\n%q to\n%q", before, after)
			}
			r.setFault(nil)
			get(t, st, options(t), "docker://"+r.host+"/app:v1")
		})
	}
}

// An image whose layers do not unpack to what its configuration says.
func TestWrongDiffID(t *testing.T) {
	st, dir := open(t)
	r := serve(t)
	im := build(t, "amd64", layer(t, 1))
	c, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.RootFS.DiffIDs[0].Hex = strings.Repeat("0", 64)
	if im, err = mutate.ConfigFile(im, c); err != nil {
		t.Fatal(err)
	}
	r.push(t, "app:v1", im)
	before := files(t, dir)
	fails(t, st, options(t), "docker://"+r.host+"/app:v1", "the image's configuration says sha256-000000000000")
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the store changed from\n%q to\n%q", before, after)
	}
}

// An image cannot get at another's tree by naming its diff ID beside a blob of
// its own.
func TestStolenDiffID(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	secret, mine := layer(t, 1, file{"key", "secret"}), layer(t, 2, file{"a", "a"})
	r.push(t, "secret:v1", build(t, "amd64", secret))
	r.push(t, "mine:v1", build(t, "amd64", mine))
	get(t, st, options(t), "docker://"+r.host+"/secret:v1")
	get(t, st, options(t), "docker://"+r.host+"/mine:v1")

	im := build(t, "amd64", mine)
	c, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	if c.RootFS.DiffIDs[0], err = secret.DiffID(); err != nil {
		t.Fatal(err)
	}
	if im, err = mutate.ConfigFile(im, c); err != nil {
		t.Fatal(err)
	}
	r.push(t, "thief:v1", im)
	fails(t, st, options(t), "docker://"+r.host+"/thief:v1", "it unpacks to")
}

// Nor at the tree of an ACI, or at one that rkt has made, by naming what the store
// has in place of a layer's blob.
func TestStolenTree(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	_, sell := shop(t)
	app := sell("example.com/app", "1", `,"pathWhitelist":["/key"]`, file{"key", "secret"}, file{"other", "x"})
	rec := get(t, st, options(t), "example.com/app:1")
	made, err := os.ReadFile(filepath.Join(filepath.Dir(st.LayerPath(rec.Layers[0].DiffID)), "../images/blobs/sha256", rec.Layers[0].Blob.Hex()))
	if err != nil {
		t.Fatal(err)
	}
	plain := sell("example.com/plain", "1", "", file{"key", "secret"})
	get(t, st, options(t), "example.com/plain:1")
	for name, c := range map[string]struct {
		blob   []byte
		diffID string
		says   string
	}{
		"aci":      {plain, string(aciID(plain).Digest()), "no SHA-256"},
		"part":     {app, string(aciID(app).Digest()), "no SHA-256"},
		"rendered": {made, string(rec.Layers[0].DiffID), "layer"},
	} {
		im, err := mutate.AppendLayers(build(t, "amd64"), static.NewLayer(c.blob, types.OCIUncompressedLayer))
		if err != nil {
			t.Fatal(err)
		}
		config, err := im.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		algo, hexa, _ := strings.Cut(c.diffID, ":")
		config.RootFS.DiffIDs = []v1.Hash{{Algorithm: algo, Hex: hexa}}
		if im, err = mutate.ConfigFile(im, config); err != nil {
			t.Fatal(err)
		}
		r.push(t, name+":v1", im)
		fails(t, st, options(t), "docker://"+r.host+"/"+name+":v1", c.says)
	}
}

// A registry, or a helper, that sends another manifest than the one pinned.
func TestWrongManifest(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	im, other := build(t, "amd64", layer(t, 1)), build(t, "amd64", layer(t, 2))
	r.push(t, "app:v1", im)
	raw, err := other.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
		if !strings.Contains(q.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
		_, _ = w.Write(raw)
		return true
	})
	fails(t, st, options(t), "docker://"+r.host+"/app@"+string(id(t, im).Digest()), "what was received is sha256-")
}

// A full disk is said, and what was written is given back.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("rkt-test", dir, "tmpfs", 0, "size=5m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r := serve(t)
	for n, name := range map[int]string{6: "blobs", 2: "trees"} {
		// Noise does not compress: n MiB of blobs and as much of trees.
		var layers []v1.Layer
		for i := range n {
			layers = append(layers, layer(t, int64(10*n+i)))
		}
		if name == "trees" {
			layers = append(layers, layer(t, 99, file{"zeros", string(make([]byte, 4<<20))}))
		}
		r.push(t, name+":v1", build(t, "amd64", layers...))
		before := files(t, dir)
		fails(t, st, options(t), "docker://"+r.host+"/"+name+":v1", "no space left on device")
		if after := files(t, dir); !slices.Equal(before, after) {
			t.Errorf("%s: the store changed from\n%q to\n%q", name, before, after)
		}
	}
	r.push(t, "small:v1", build(t, "amd64", layer(t, 1)))
	get(t, st, options(t), "docker://"+r.host+"/small:v1")
}

// Killing the helper is an error, not a hang.
func TestHelperKilled(t *testing.T) {
	st, dir := open(t)
	r := serve(t)
	r.push(t, "app:v1", build(t, "amd64", layer(t, 1)))
	var killed atomic.Bool
	r.setFault(func(_ http.ResponseWriter, q *http.Request) bool {
		if !strings.Contains(q.URL.Path, "/blobs/") {
			return false
		}
		for _, pid := range children(t) {
			killed.Store(true)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		<-q.Context().Done()
		return true
	})
	before := files(t, dir)
	fails(t, st, options(t), "docker://"+r.host+"/app:v1", "the fetch helper ended unexpectedly")
	if !killed.Load() {
		t.Error("no helper was found to kill")
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the store changed from\n%q to\n%q", before, after)
	}
}

// children are the helpers that this process runs.
func children(t testing.TB) (pids []int) {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Skip("this kernel does not list children")
	}
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, w := range strings.Fields(string(b)) {
			pid, _ := strconv.Atoi(w)
			pids = append(pids, pid)
		}
	}
	return pids
}

// Cancelling ends everything that was started.
func TestCancel(t *testing.T) {
	st, dir := open(t)
	r := serve(t)
	data := layer(t, 1)
	r.push(t, "app:v1", build(t, "amd64", data))
	ctx, cancel := context.WithCancel(t.Context())
	r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
		if d, _ := data.Digest(); !strings.HasSuffix(q.URL.Path, d.String()) {
			return false
		}
		rc, _ := data.Compressed()
		_, _ = io.CopyN(w, rc, 200_000)
		w.(http.Flusher).Flush()
		cancel()
		<-q.Context().Done()
		return true
	})
	before := files(t, dir)
	_, err := fetch.Image(ctx, st, options(t), parse(t, "docker://"+r.host+"/app:v1"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Image = %v, want canceled", err)
	}
	if left := children(t); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the store changed from\n%q to\n%q", before, after)
	}
}

// When rkt is killed, its helpers end.
func TestParentKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: layers are unpacked with their owners")
	}
	if url := os.Getenv("RKT_TEST_FETCH"); url != "" { // the rkt to be killed
		st, err := store.Open(os.Getenv("RKT_TEST_DIR"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = fetch.Image(t.Context(), st, options(t), parse(t, url))
		t.Fatalf("was not killed: %v", err)
	}
	r := serve(t)
	data := layer(t, 1)
	r.push(t, "app:v1", build(t, "amd64", data))
	started, gone := make(chan struct{}), make(chan struct{})
	r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
		if d, _ := data.Digest(); !strings.HasSuffix(q.URL.Path, d.String()) {
			return false
		}
		rc, _ := data.Compressed()
		_, _ = io.CopyN(w, rc, 200_000)
		w.(http.Flusher).Flush()
		close(started)
		<-q.Context().Done() // the helper's connection is closed
		close(gone)
		return true
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestParentKilled$")
	cmd.Env = append(os.Environ(), "RKT_TEST_FETCH=docker://"+r.host+"/app:v1", "RKT_TEST_DIR="+t.TempDir())
	// A pipe that all of its descendants inherit: it ends when they all have.
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(out); err != nil || len(text) != 0 {
		t.Errorf("output %q, %v", text, err)
	}
	<-gone
	_ = cmd.Wait()
}

// Two fetches of one image at once: one waits, both succeed, and the layers
// travel once. Of two images, a common layer may travel twice.
func TestConcurrent(t *testing.T) {
	st, dir := open(t)
	r := serve(t)
	r.push(t, "app:v1", build(t, "amd64", layer(t, 1), layer(t, 2)))
	var all sync.WaitGroup
	ids := make([]image.ID, 4)
	for i := range ids {
		all.Go(func() {
			other, err := store.Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer other.Close()
			opt := options(t)
			opt.Policy = fetch.New
			rec, err := fetch.Image(t.Context(), other, opt, parse(t, "docker://"+r.host+"/app:v1"))
			if err != nil {
				t.Error(err)
			}
			ids[i] = rec.ID
		})
	}
	all.Wait()
	if n := r.blobs(); n != 3 {
		t.Errorf("asked for %d blobs, want 3", n)
	}
	for _, got := range ids {
		if got != ids[0] {
			t.Errorf("ids = %v", ids)
		}
	}
	_ = st
}

func TestConcurrentSharing(t *testing.T) {
	_, dir := open(t)
	r := serve(t)
	shared := layer(t, 1)
	var all sync.WaitGroup
	for i := range 3 {
		r.push(t, fmt.Sprintf("app%d:v1", i), build(t, "amd64", shared, layer(t, int64(10+i))))
	}
	for i := range 3 {
		all.Go(func() {
			st, err := store.Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			if _, err := fetch.Image(t.Context(), st, options(t), parse(t, fmt.Sprintf("docker://%s/app%d:v1", r.host, i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// What is missing of a stored image is unpacked from its blobs.
func TestRepair(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	r.push(t, "app:v1", build(t, "amd64", layer(t, 1, file{"a", "a"}), layer(t, 2, file{"b", "b"})))
	rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
	if err := os.RemoveAll(st.LayerPath(rec.Layers[1].DiffID)); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch.Find(st, parse(t, string(rec.ID))); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Find of an image without all trees = %v, want ErrNotFound", err)
	}
	r.Close()
	opt := options(t)
	opt.Policy = fetch.New
	if rec = get(t, st, opt, "docker://"+r.host+"/app:v1"); content(t, st, rec, "b") != "b" {
		t.Error("the layer is not what it was")
	}
}

func TestNoHelper(t *testing.T) {
	st, _ := open(t)
	opt := options(t)
	opt.Helper = filepath.Join(t.TempDir(), "fetch")
	fails(t, st, opt, "docker://127.0.0.1:1/app", "cannot start")
	srv := httptest.NewServer(nil)
	srv.Close()
	fails(t, st, options(t), "docker://"+strings.TrimPrefix(srv.URL, "http://")+"/app", "cannot reach registry")
}
