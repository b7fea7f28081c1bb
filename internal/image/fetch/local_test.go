// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
)

// makeLayout writes images into an OCI layout, each under its name.
func makeLayout(t testing.TB, images map[string]v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for n, im := range images {
		if err := l.AppendImage(im, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": n})); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func run(t testing.TB, prog string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(prog)
	if err != nil {
		t.Skipf("needs %s", prog)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", prog, args, err, out)
	}
}

func TestLayout(t *testing.T) {
	st, _ := open(t)
	one, two := build(t, "amd64", layer(t, 1, file{"a", "one"})), build(t, "amd64", layer(t, 2, file{"a", "two"}))
	dir := makeLayout(t, map[string]v1.Image{"one": one, "two": two})
	rec := get(t, st, options(t), "oci:"+dir+":one")
	if rec.ID != id(t, one) || content(t, st, rec, "a") != "one" || !slices.Equal(rec.Names, []string{"oci:" + dir + ":one"}) {
		t.Errorf("record = %+v", rec)
	}
	err := fails(t, st, options(t), "oci:"+dir, "holds 2 images and none was named")
	if !strings.Contains(hint.Of(err), "one, two") {
		t.Errorf("hint = %q", hint.Of(err))
	}
	fails(t, st, options(t), "oci:"+dir+":three", `no image named "three"`)
	fails(t, st, options(t), "oci:"+dir+"/nowhere", "is not an OCI image layout")

	// What is stored needs no helper, by whatever name.
	opt := options(t)
	opt.Helper, opt.Policy = "/nowhere", fetch.New
	get(t, st, opt, "oci:"+dir+":one")
	if rec := get(t, st, opt, "oci:"+dir+":"+string(id(t, one).Digest())); rec.Trust != image.TrustDigest {
		t.Errorf("trust by digest = %q", rec.Trust)
	}
	// A full digest needs no --insecure-options.
	opt = options(t)
	opt.InsecureImage = false
	get(t, st, opt, "oci:"+dir+":"+string(id(t, two).Digest()))
	// A name that points elsewhere now is not found under its old image.
	dir2 := makeLayout(t, map[string]v1.Image{"one": two})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir2, dir); err != nil {
		t.Fatal(err)
	}
	opt.InsecureImage, opt.Policy = true, fetch.New
	if rec := get(t, st, opt, "oci:"+dir+":one"); rec.ID != id(t, two) {
		t.Errorf("after the layout changed: %s, want %s", rec.ID, id(t, two))
	}
}

// TestLayoutNameLikeDigest: a layout's author cannot call an image by another's
// digest, for a digest is believed without more.
func TestLayoutNameLikeDigest(t *testing.T) {
	st, _ := open(t)
	good, evil := build(t, "amd64", layer(t, 1, file{"a", "good"})), build(t, "amd64", layer(t, 2, file{"a", "evil"}))
	digest := string(id(t, good).Digest())
	dir := makeLayout(t, map[string]v1.Image{digest: evil})
	get(t, st, options(t), "oci:"+dir) // once, at the user's own risk
	for _, policy := range []fetch.Policy{fetch.Never, fetch.New, fetch.Update} {
		opt := options(t)
		opt.InsecureImage, opt.Policy = false, policy
		if rec, err := fetch.Image(t.Context(), st, opt, parse(t, "oci:"+dir+":"+digest)); err == nil {
			t.Errorf("%s: image %s was believed for the digest %s", policy, rec.ID.Short(), digest)
		}
	}
	if rec, err := st.ByID(string(id(t, evil))); err != nil || rec.Trust != image.TrustNone {
		t.Errorf("%q, %v", rec.Trust, err)
	}
}

func TestLayoutWithIndex(t *testing.T) {
	st, _ := open(t)
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	here := build(t, "amd64", layer(t, 1))
	nested := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: build(t, "arm64", layer(t, 2)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: here, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	if err := l.AppendIndex(nested); err != nil {
		t.Fatal(err)
	}
	if rec := get(t, st, options(t), "oci:"+dir); rec.ID != id(t, here) {
		t.Errorf("chose %s, want %s", rec.ID, id(t, here))
	}
	opt := options(t)
	opt.Helper = "/nowhere"
	get(t, st, opt, "oci:"+dir)
}

func TestLayoutFaults(t *testing.T) {
	st, store := open(t)
	im := build(t, "amd64", layer(t, 1))
	layers, err := im.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, says string
		spoil      func(path string) error
	}{
		{"missing", "no such file", os.Remove},
		{"truncated", "its descriptor says", func(p string) error { return os.Truncate(p, 100) }},
		{"corrupt", "the download is corrupt", func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("x"), 5000)
			return err
		}},
		{"fifo", "is not a regular file", func(p string) error {
			if err := os.Remove(p); err != nil {
				return err
			}
			return exec.Command("mkfifo", p).Run()
		}},
	} {
		dir := makeLayout(t, map[string]v1.Image{"app": im})
		if err := tc.spoil(filepath.Join(dir, "blobs", d.Algorithm, d.Hex)); err != nil {
			t.Fatal(err)
		}
		before := files(t, store)
		fails(t, st, options(t), "oci:"+dir+":app", tc.says)
		if after := files(t, store); !slices.Equal(before, after) {
			t.Errorf("%s: the store changed", tc.name)
		}
	}
}

// skopeo is the oracle: what it writes we read, in every form.
func TestSkopeo(t *testing.T) {
	st, _ := open(t)
	im := build(t, "amd64", layer(t, 1, file{"a", "base"}), layer(t, 2, file{"a", "top"}))
	src := makeLayout(t, map[string]v1.Image{"app": im})
	tmp := t.TempDir()
	from := "oci:" + src + ":app"
	run(t, "skopeo", "copy", "-q", "--dest-decompress", from, "dir:"+tmp+"/plain")
	run(t, "skopeo", "copy", "-q", "--dest-compress-format=zstd", "dir:"+tmp+"/plain", "oci:"+tmp+"/zstd:app")
	run(t, "skopeo", "copy", "-q", from, "oci-archive:"+tmp+"/oci.tar:app")
	run(t, "skopeo", "copy", "-q", from, "docker-archive:"+tmp+"/docker.tar:example.com/app:v1")
	run(t, "gzip", "-k", tmp+"/oci.tar")
	run(t, "zstd", "-q", "-k", tmp+"/docker.tar")
	run(t, "xz", "-0", "-k", tmp+"/docker.tar")
	run(t, "bzip2", "-k", tmp+"/docker.tar")
	ids := map[string]image.ID{}
	for _, s := range []string{
		"oci:" + tmp + "/zstd:app",
		"oci-archive:" + tmp + "/oci.tar",
		"oci-archive:" + tmp + "/oci.tar.gz:app",
		"docker-archive:" + tmp + "/docker.tar",
		"docker-archive:" + tmp + "/docker.tar.zst:example.com/app:v1",
		"docker-archive:" + tmp + "/docker.tar.xz",
		"docker-archive:" + tmp + "/docker.tar.bz2:@0",
	} {
		rec := get(t, st, options(t), s)
		if got := content(t, st, rec, "a"); got != "top" {
			t.Errorf("%s: content %q", s, got)
		}
		ids[s] = rec.ID
		if strings.HasPrefix(s, "oci:") && !strings.HasSuffix(rec.Layers[0].MediaType, "+zstd") {
			t.Errorf("%s: layers of type %s", s, rec.Layers[0].MediaType)
		}
		// A second time, the file is known.
		opt := options(t)
		opt.Helper = "/nowhere"
		get(t, st, opt, s)
	}
	if a, b := ids["oci-archive:"+tmp+"/oci.tar"], ids["oci-archive:"+tmp+"/oci.tar.gz:app"]; a != b || a != id(t, im) {
		t.Errorf("OCI archives: %s, %s, want %s", a, b, id(t, im))
	}
	want := ids["docker-archive:"+tmp+"/docker.tar"]
	for s, got := range ids {
		if strings.HasPrefix(s, "docker-archive:") && got != want {
			t.Errorf("%s: ID %s, want %s as of the others", s, got, want)
		}
	}
	fails(t, st, options(t), "docker-archive:"+tmp+"/docker.tar:nope", "no image named")
	fails(t, st, options(t), "docker-archive:"+tmp+"/oci.tar", "is not an archive of docker save")
	fails(t, st, options(t), "oci-archive:"+tmp+"/docker.tar", "is not an OCI image layout")
}

// The other way round: skopeo reads our store.
func TestStoreForSkopeo(t *testing.T) {
	st, dir := open(t)
	src := makeLayout(t, map[string]v1.Image{"app": build(t, "amd64", layer(t, 1))})
	get(t, st, options(t), "oci:"+src+":app")
	run(t, "skopeo", "copy", "-q", "oci:"+filepath.Join(dir, "images")+":oci"+src+":app", "oci:"+t.TempDir()+":copy")
}

// A file that is written anew is imported anew, however quickly.
func TestArchiveChanges(t *testing.T) {
	st, _ := open(t)
	path := filepath.Join(t.TempDir(), "app.tar")
	tag, err := name.NewTag("example.com/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	var last image.ID
	for i := range 3 {
		im := build(t, "amd64", layer(t, int64(i)))
		if err := tarball.WriteToFile(path, tag, im); err != nil {
			t.Fatal(err)
		}
		opt := options(t)
		opt.Policy = fetch.New
		rec := get(t, st, opt, "docker-archive:"+path)
		if rec.ID == last {
			t.Errorf("import %d gave the image of the one before", i)
		}
		last = rec.ID
	}
}

// aci makes an .aci file's tar.
func aci(t testing.TB, manifest string, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h *tar.Header, content string) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	add(&tar.Header{Name: "manifest", Mode: 0o644, Typeflag: tar.TypeReg}, manifest)
	add(&tar.Header{Name: "rootfs/", Mode: 0o755, Typeflag: tar.TypeDir}, "")
	for _, f := range files {
		add(&tar.Header{Name: "rootfs/" + f.name, Mode: 0o644, Typeflag: tar.TypeReg}, f.content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const aciManifest = `{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app",
"labels":[{"name":"version","value":"1.0"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],
"app":{"exec":["/bin/app"],"user":"0","group":"0"}}`

func TestACI(t *testing.T) {
	st, dir := open(t)
	tmp := t.TempDir()
	plain := aci(t, aciManifest, file{"a", "appc"})
	sum := sha512.Sum512(plain)
	want := image.ID("sha512-" + hex.EncodeToString(sum[:]))
	path := filepath.Join(tmp, "app.aci")
	for _, prog := range []string{"", "gzip", "bzip2", "xz", "zstd"} {
		if err := os.WriteFile(path, plain, 0o600); err != nil {
			t.Fatal(err)
		}
		if prog != "" {
			run(t, prog, "-k", path)
			matches, err := filepath.Glob(path + ".*")
			if err != nil || len(matches) != 1 {
				t.Fatalf("%s made %q, %v", prog, matches, err)
			}
			if err := os.Rename(matches[0], path); err != nil {
				t.Fatal(err)
			}
		}
		rec := get(t, st, options(t), path)
		if rec.ID != want || rec.Format != image.ACI || rec.App.Name != "example.com/app" {
			t.Errorf("%s: record = %+v", prog, rec)
		}
		if got := content(t, st, rec, "a"); got != "appc" {
			t.Errorf("%s: content %q", prog, got)
		}
		opt := options(t)
		opt.Helper = "/nowhere"
		get(t, st, opt, "file://"+path)
	}

	bad := filepath.Join(tmp, "bad.aci")
	for _, tc := range []struct{ name, says, content string }{
		{"not a tar", "", "hello"},
		{"no manifest", "manifest", string(aci(t, ""))},
		{"dependencies", `it depends on "nohost"`, string(aci(t, strings.Replace(aciManifest, `"app":`, `"dependencies":[{"imageName":"nohost"}],"app":`, 1)))},
		{"other machine", "this machine is", string(aci(t, strings.Replace(aciManifest, "amd64", "aarch64", 1)))},
		{"torn", "", string(plain[:700])},
	} {
		if err := os.WriteFile(bad, []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		before := files(t, dir)
		fails(t, st, options(t), bad, tc.says)
		if after := files(t, dir); !slices.Equal(before, after) {
			t.Errorf("%s: the store changed", tc.name)
		}
	}
	fails(t, st, options(t), filepath.Join(tmp, "none.aci"), "no such file")
	if err := os.Mkdir(filepath.Join(tmp, "dir.aci"), 0o700); err != nil {
		t.Fatal(err)
	}
	fails(t, st, options(t), filepath.Join(tmp, "dir.aci"), "not a regular file")
}

// A relative path is the same image as the absolute one.
func TestRelativePath(t *testing.T) {
	st, _ := open(t)
	im := build(t, "amd64", layer(t, 1))
	dir := makeLayout(t, map[string]v1.Image{"app": im})
	t.Chdir(filepath.Dir(dir))
	rec := get(t, st, options(t), "oci:"+filepath.Base(dir)+":app")
	if want := "oci:" + dir + ":app"; !slices.Equal(rec.Names, []string{want}) {
		t.Errorf("names = %q, want %q", rec.Names, want)
	}
}
