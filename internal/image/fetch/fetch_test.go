// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
)

// helper is the path of the fetch helper.
var helper string

// The helper is built as it is shipped, without cgo: a program that needs a
// loader does not start behind the walls.
func TestMain(m *testing.M) {
	if helper = os.Getenv("RKT_TEST_HELPER"); helper != "" { // as another user
		os.Exit(m.Run())
	}
	if slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.fuzzworker") }) {
		// go test -fuzz kills these: they would remove nothing, and need no helper.
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "rkt-fetch")
	if err != nil {
		log.Fatal(err)
	}
	helper = filepath.Join(dir, "fetch")
	build := exec.Command("go", "build", "-o", helper, "../../../cmd/fetch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		log.Fatalf("cannot build helper: %v\n%s", err, out)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// file is one file of a layer; a name that ends in a slash is a directory, and
// content its mode.
type file struct{ name, content string }

// layer makes a layer of files and some bytes of noise, so that it takes a few
// frames to send.
func layer(t testing.TB, seed int64, files ...file) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	noise := make([]byte, 1<<20+int(seed))
	rand.New(rand.NewSource(seed)).Read(noise)
	for _, f := range append(files, file{fmt.Sprintf("noise-%d", seed), string(noise)}) {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			mode, err := strconv.ParseInt(f.content, 8, 64)
			if err != nil {
				t.Fatal(err)
			}
			h, f.content = &tar.Header{Name: f.name, Mode: mode, Typeflag: tar.TypeDir}, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// docker gives a layer, or an image, Docker's media types instead of the OCI's.
type docker struct{ v1.Layer }

func (docker) MediaType() (types.MediaType, error) { return types.DockerLayer, nil }

func dockerized(im v1.Image) v1.Image {
	return mutate.ConfigMediaType(mutate.MediaType(im, types.DockerManifestSchema2), types.DockerConfigJSON)
}

// build makes an OCI image for linux on arch.
func build(t testing.TB, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	im, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", arch
	c.Config.Entrypoint = []string{"/bin/app"}
	if im, err = mutate.ConfigFile(im, c); err != nil {
		t.Fatal(err)
	}
	return im
}

func id(t testing.TB, im v1.Image) image.ID {
	t.Helper()
	d, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return image.Digest(d.String()).ID()
}

// reg is a registry on loopback that counts what is asked of it.
type reg struct {
	*httptest.Server
	host string

	mu    sync.Mutex
	asked []string
	// fault, if set, answers in place of the registry when it returns true.
	fault func(http.ResponseWriter, *http.Request) bool
}

func serve(t testing.TB, more ...ggcr.Option) *reg {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	r := &reg{}
	inner := ggcr.New(append(more, ggcr.Logger(log.New(io.Discard, "", 0)))...)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		fault := r.fault
		r.asked = append(r.asked, q.Method+" "+q.URL.Path)
		r.mu.Unlock()
		if fault != nil && fault(w, q) {
			return
		}
		inner.ServeHTTP(w, q)
	}))
	t.Cleanup(r.Close)
	r.host = strings.TrimPrefix(r.URL, "http://")
	return r
}

func (r *reg) push(t testing.TB, repo string, what remote.Taggable) {
	t.Helper()
	tag, err := name.NewTag(r.host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(tag, what)
	case v1.ImageIndex:
		err = remote.WriteIndex(tag, what)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.asked = nil
	r.mu.Unlock()
}

// blobs counts the blobs asked for since the last push or call.
func (r *reg) blobs() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.asked {
		if strings.HasPrefix(a, "GET ") && strings.Contains(a, "/blobs/") {
			n++
		}
	}
	r.asked = nil
	return n
}

func (r *reg) setFault(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

func open(t testing.TB) (*store.Store, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: layers are unpacked with their owners")
	}
	dir := t.TempDir()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st, dir
}

func options(t testing.TB) fetch.Options {
	t.Helper()
	return fetch.Options{Helper: helper, Policy: fetch.Update, InsecureImage: true, Stderr: os.Stderr, StallMillis: 5000, RetryMillis: 1}
}

func parse(t testing.TB, s string) ref.Ref {
	t.Helper()
	r, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t testing.TB, st *store.Store, opt fetch.Options, s string) image.Record {
	t.Helper()
	rec, err := fetch.Image(t.Context(), st, opt, parse(t, s))
	if err != nil {
		t.Fatalf("fetch %s: %v (hint %q)", s, err, hint.Of(err))
	}
	return rec
}

// content reads a file of an image, from the topmost layer that has it.
func content(t testing.TB, st *store.Store, rec image.Record, name string) string {
	t.Helper()
	for _, l := range slices.Backward(rec.Layers) {
		if b, err := os.ReadFile(filepath.Join(st.LayerPath(l.DiffID), name)); err == nil {
			return string(b)
		}
	}
	t.Errorf("no layer of %s has %s", rec.ID, name)
	return ""
}

// files lists all of a store but its locks.
func files(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !strings.Contains(path, "/rkt/ingest") {
			all = append(all, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRegistry(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	shared := layer(t, 1, file{"bin", "base"})
	first := dockerized(build(t, "amd64", docker{shared}, docker{layer(t, 2, file{"app", "one"})}))
	second := build(t, "amd64", shared, layer(t, 3, file{"app", "two"}))
	r.push(t, "app:v1", first)
	r.push(t, "app:v2", second)

	rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
	if rec.ID != id(t, first) || rec.Trust != image.TrustNone || rec.App.Entrypoint[0] != "/bin/app" {
		t.Errorf("record = %+v", rec)
	}
	if want := "docker://" + r.host + "/app:v1"; !slices.Equal(rec.Names, []string{want}) {
		t.Errorf("names = %q, want %q", rec.Names, want)
	}
	if got := content(t, st, rec, "bin") + content(t, st, rec, "app"); got != "baseone" {
		t.Errorf("content = %q", got)
	}
	if rec.Layers[0].TreeSize != 4+1<<20+1 {
		t.Errorf("tree size = %d", rec.Layers[0].TreeSize)
	}
	if n := r.blobs(); n != 3 {
		t.Errorf("first fetch asked for %d blobs, want 3", n)
	}

	// Of the second image, the shared layer is there.
	get(t, st, options(t), "docker://"+r.host+"/app:v2")
	if n := r.blobs(); n != 2 {
		t.Errorf("second fetch asked for %d blobs, want 2", n)
	}
	// Nothing is new about the first.
	get(t, st, options(t), "docker://"+r.host+"/app:v1")
	if n := r.blobs(); n != 0 {
		t.Errorf("third fetch asked for %d blobs, want 0", n)
	}
	// A tag that moves takes its name along.
	r.push(t, "app:v1", second)
	if rec := get(t, st, options(t), "docker://"+r.host+"/app:v1"); rec.ID != id(t, second) || len(rec.Names) != 2 {
		t.Errorf("after the tag moved: %s %q", rec.ID, rec.Names)
	}
	old, err := st.ByID(string(id(t, first)))
	if err != nil || len(old.Names) != 0 {
		t.Errorf("the old image has names %q, %v", old.Names, err)
	}
}

func TestPolicies(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	r.push(t, "app:v1", build(t, "amd64", layer(t, 1)))
	opt := options(t)
	name := "docker://" + r.host + "/app:v1"

	opt.Policy = fetch.Never
	if _, err := fetch.Image(t.Context(), st, opt, parse(t, name)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("never, not stored: %v", err)
	}
	opt.Policy = fetch.New
	get(t, st, opt, name)
	r.blobs()
	opt.Helper = "/nowhere" // stored images need no helper
	rec := get(t, st, opt, name)
	opt.Policy = fetch.Never
	get(t, st, opt, name)
	get(t, st, opt, string(rec.ID))
	get(t, st, opt, string(rec.ID)[:12])
	get(t, st, opt, "docker://"+r.host+"/app@"+string(rec.ID.Digest()))
	r.mu.Lock()
	if len(r.asked) != 0 {
		t.Errorf("asked for %q", r.asked)
	}
	r.mu.Unlock()
	opt.Policy = "sometimes"
	if _, err := fetch.Image(t.Context(), st, opt, parse(t, name)); err == nil {
		t.Error("an unknown policy was accepted")
	}
}

func TestTrust(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	im := build(t, "amd64", layer(t, 1))
	r.push(t, "app:v1", im)
	opt := options(t)
	opt.InsecureImage = false
	tag := "docker://" + r.host + "/app:v1"
	pin := "docker://" + r.host + "/app@" + string(id(t, im).Digest())
	refused := func(s string) {
		t.Helper()
		_, err := fetch.Image(t.Context(), st, opt, parse(t, s))
		if err == nil || !strings.Contains(hint.Of(err), "--insecure-options=image") {
			t.Errorf("%s: %v (hint %q), want a refusal", s, err, hint.Of(err))
		}
	}

	refused(tag)
	if len(r.asked) != 0 {
		t.Errorf("an unverified image was asked for: %q", r.asked)
	}
	opt.InsecureImage = true
	if rec := get(t, st, opt, tag); rec.Trust != image.TrustNone {
		t.Errorf("trust of a tag = %q", rec.Trust)
	}
	opt.InsecureImage, opt.Policy = false, fetch.New
	refused(tag) // though it is stored
	refused(string(id(t, im))[:20])
	for _, s := range []string{pin, string(id(t, im))} {
		if rec := get(t, st, opt, s); rec.Trust != image.TrustDigest {
			t.Errorf("trust of %s = %q", s, rec.Trust)
		}
	}
	refused(tag) // looking does not raise it
	opt.Policy = fetch.Update
	get(t, st, opt, pin) // fetching does
	opt.Policy = fetch.New
	if rec := get(t, st, opt, tag); rec.Trust != image.TrustDigest {
		t.Errorf("trust after fetching by digest = %q", rec.Trust)
	}
}

func TestIndex(t *testing.T) {
	st, _ := open(t)
	r := serve(t)
	here, there := build(t, "amd64", layer(t, 1)), build(t, "s390x", layer(t, 2))
	add := func(im v1.Image, arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: im, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	both := mutate.AppendManifests(empty.Index, add(there, "s390x"), add(here, "amd64"))
	r.push(t, "both:v1", both)
	if rec := get(t, st, options(t), "docker://"+r.host+"/both:v1"); rec.ID != id(t, here) {
		t.Errorf("chose %s, want %s", rec.ID, id(t, here))
	}
	// An index can be pinned as well as a manifest.
	d, err := both.Digest()
	if err != nil {
		t.Fatal(err)
	}
	opt := options(t)
	opt.InsecureImage = false
	if rec := get(t, st, opt, "docker://"+r.host+"/both@"+d.String()); rec.ID != id(t, here) || rec.Trust != image.TrustDigest {
		t.Errorf("pinned index: %s %q", rec.ID, rec.Trust)
	}

	r.push(t, "foreign:v1", mutate.AppendManifests(empty.Index, add(there, "s390x")))
	fails(t, st, options(t), "docker://"+r.host+"/foreign:v1", "there is only linux/s390x")
	r.push(t, "single:v1", there)
	fails(t, st, options(t), "docker://"+r.host+"/single:v1", "it is for linux/s390x")
	opt = options(t)
	opt.AnyPlatform = true
	get(t, st, opt, "docker://"+r.host+"/single:v1")
	opt.AnyPlatform, opt.Policy = false, fetch.New
	fails(t, st, opt, "docker://"+r.host+"/single:v1", "it is for linux/s390x")
}

// fails wants an error of one line that says what is wrong.
func fails(t testing.TB, st *store.Store, opt fetch.Options, s, says string) error {
	t.Helper()
	_, err := fetch.Image(t.Context(), st, opt, parse(t, s))
	switch {
	case err == nil:
		t.Errorf("%s was fetched, want an error that says %q", s, says)
	case !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n"):
		t.Errorf("%s: %v; want one line that says %q", s, err, says)
	}
	return err
}
