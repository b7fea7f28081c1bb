// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

type member struct {
	name, content, link string
	kind                byte
}

func pack(t testing.TB, entries ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: e.kind, Linkname: e.link}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func index(t testing.TB, data []byte) *Index {
	t.Helper()
	ix, err := NewIndex(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func TestIndex(t *testing.T) {
	long := strings.Repeat("long/", 60) + "name"
	ix := index(t, pack(t,
		member{name: "./a", content: "first"},
		member{name: "a", content: "second"},
		member{name: "dir/", kind: tar.TypeDir},
		member{name: "dir/sym", kind: tar.TypeSymlink, link: "../a"},
		member{name: "hard", kind: tar.TypeLink, link: "dir/sym"},
		member{name: "climb", kind: tar.TypeSymlink, link: "../../../a"},
		member{name: "loop", kind: tar.TypeSymlink, link: "loop"},
		member{name: "dangling", kind: tar.TypeSymlink, link: "/etc/passwd"},
		member{name: long, content: "long"},
		member{name: "../up", content: "up"},
	))
	for name, want := range map[string]string{
		"a": "second", "./a": "second", "dir/sym": "second", "hard": "second", "climb": "second", long: "long", "up": "up",
	} {
		r, err := ix.Open(name)
		if err != nil {
			t.Errorf("Open(%q): %v", name, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("%q holds %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"dir", "none", "loop", "dangling", ""} {
		if _, err := ix.Open(name); err == nil {
			t.Errorf("Open(%q) succeeded", name)
		}
	}
	if _, err := ix.Open("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing = %v, want fs.ErrNotExist", err)
	}
}

func TestIndexRefuses(t *testing.T) {
	good := pack(t, member{name: "a", content: strings.Repeat("x", 2000)})
	for name, data := range map[string][]byte{
		"torn":      good[:1000],
		"not a tar": bytes.Repeat([]byte("hello "), 200),
	} {
		if _, err := NewIndex(bytes.NewReader(data), int64(len(data))); err == nil {
			t.Errorf("%s: NewIndex succeeded", name)
		}
	}
}

// saved makes what `docker save` writes for images of one layer each.
func saved(t testing.TB, layers map[string]string) []byte {
	t.Helper()
	var entries []member
	var items []item
	for tag, content := range layers {
		plain := content
		if z, err := gzip.NewReader(strings.NewReader(content)); err == nil {
			b, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			plain = string(b)
		}
		config := fmt.Sprintf(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:%x"]}}`, sha256.Sum256([]byte(plain)))
		dir := strings.NewReplacer("/", "_", ":", "_").Replace(tag)
		entries = append(entries, member{name: dir + ".json", content: config}, member{name: dir + "/layer.tar", content: content})
		items = append(items, item{Config: dir + ".json", RepoTags: []string{tag}, Layers: []string{dir + "/layer.tar"}})
	}
	m, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, append(entries, member{name: "manifest.json", content: string(m)})...)
}

func TestDocker(t *testing.T) {
	plain := string(pack(t, member{name: "f", content: "f"}))
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, plain)
	_ = w.Close()
	open := func(layers map[string]string) *Docker {
		return NewDocker(index(t, saved(t, layers)), "x.tar", 1<<30)
	}
	one, err := open(map[string]string{"app:v1": plain}).Root("")
	if err != nil {
		t.Fatal(err)
	}
	// The layer's compression in the archive makes no difference.
	d := open(map[string]string{"app:v1": b.String()})
	two, err := d.Root("")
	if err != nil || !bytes.Equal(one.Data, two.Data) {
		t.Errorf("manifests differ: %v\n%s\n%s", err, one.Data, two.Data)
	}
	var m struct{ Layers []wire.Descriptor }
	if err := json.Unmarshal(two.Data, &m); err != nil || len(m.Layers) != 1 {
		t.Fatalf("manifest %s: %v", two.Data, err)
	}
	r, err := d.Open(m.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != plain || int64(len(got)) != m.Layers[0].Size {
		t.Errorf("layer of %d bytes, %v", len(got), err)
	}
	if _, err := d.Open(wire.Descriptor{Digest: "sha256:" + strings.Repeat("0", 64)}); err == nil {
		t.Error("a blob that is not there was opened")
	}
	// Decompression has a limit.
	tight := NewDocker(index(t, saved(t, map[string]string{"app:v1": b.String()})), "x.tar", 100)
	if _, err := tight.Root(""); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("Root past the limit = %v", err)
	}
}

func TestDockerNames(t *testing.T) {
	d := NewDocker(index(t, saved(t, map[string]string{
		"busybox:latest": string(pack(t, member{name: "a"})), "example.com:5000/app:v1": string(pack(t, member{name: "b"}))})), "x.tar", 1<<30)
	for _, inner := range []string{"busybox", "busybox:latest", "docker.io/library/busybox", "example.com:5000/app:v1", "@0", "@1"} {
		if _, err := d.Root(inner); err != nil {
			t.Errorf("Root(%q): %v", inner, err)
		}
	}
	for _, inner := range []string{"", "app", "busybox:v2", "@2", "@-1", "@x"} {
		if _, err := d.Root(inner); err == nil || !strings.Contains(hint.Of(err), "busybox:latest") {
			t.Errorf("Root(%q) = %v (hint %q), want one that lists the names", inner, err, hint.Of(err))
		}
	}
}

func TestFile(t *testing.T) {
	data := pack(t, member{name: "a", content: "content"})
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar.gz")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	scratch, err := os.Create(filepath.Join(dir, "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	defer scratch.Close()
	ix, err := File(opened(t, path), scratch, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ix.Open("a"); err != nil {
		t.Error(err)
	}
	if _, err := File(opened(t, path), scratch, 100); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("File past the limit = %v", err)
	}
	if _, err := File(opened(t, path), nil, 1<<20); err == nil {
		t.Error("File without scratch succeeded")
	}
}

// FuzzIndex indexes a stranger's tar: what it finds must lie inside the archive
// and be readable.
func FuzzIndex(f *testing.F) {
	f.Add(pack(f, member{name: "a", content: "x"}, member{name: "b", kind: tar.TypeSymlink, link: "a"}))
	f.Add(pack(f, member{name: strings.Repeat("n", 200), content: "x"}, member{name: "h", kind: tar.TypeLink, link: "h"}))
	f.Add(saved(f, map[string]string{"app:v1": "layer"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		ix, err := NewIndex(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for name := range ix.entries {
			r, err := ix.Open(name)
			if err != nil {
				continue
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != r.Size() {
				t.Fatalf("%q: %d of %d bytes, %v", name, n, r.Size(), err)
			}
		}
		d := NewDocker(ix, "x", 1<<20)
		if root, err := d.Root("@0"); err == nil {
			var m struct{ Layers []wire.Descriptor }
			if err := json.Unmarshal(root.Data, &m); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func opened(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
