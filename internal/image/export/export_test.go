// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/diff"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/unpack"
	"github.com/rkt/rkt/internal/linux/mount"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, paths ...string) *merge.Stack {
	t.Helper()
	s, err := merge.Open(paths...)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// rich is a tree with one of everything.
func rich(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := filepath.Join(t.TempDir(), "rich")
	p := func(name string) string { return filepath.Join(root, name) }
	must(t, os.MkdirAll(p("d/empty"), 0o755))
	must(t, os.WriteFile(p("d/file"), []byte("content"), 0o600))
	must(t, os.Chown(p("d/file"), 1000, 4294967294))
	must(t, os.Chmod(p("d/file"), 0o4711|os.ModeSetuid))
	must(t, unix.Setxattr(p("d/file"), "user.binary", []byte("a\x00=\n"), 0))
	must(t, unix.Setxattr(p("d/file"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(t, unix.Setxattr(p("d"), "trusted.mine", []byte("x"), 0))
	must(t, unix.Setxattr(p("d"), "trusted.overlay.origin", []byte("of this host"), 0))
	must(t, os.Link(p("d/file"), p("a-link")))
	must(t, os.Symlink("/nowhere/"+strings.Repeat("x", 200), p("long")))
	must(t, os.Link(p("long"), p("long2")))
	must(t, unix.Mknod(p("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mkfifo(p("fifo"), 0o640))
	must(t, os.WriteFile(p("bytes\xff\xfe and ünï"), nil, 0o644))
	must(t, os.WriteFile(p(strings.Repeat("n", 255)), nil, 0o644))
	f, err := os.Create(p("sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("end"), 8<<20)
	must(t, errors.Join(err, f.Close()))
	for i, name := range []string{"d/file", "long", "fifo", "null", "sparse", "d", "."} {
		ts := unix.Timespec{Sec: int64(i*1000) - 2000, Nsec: 123456789}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, p(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	return root
}

// same wants two stacks to show the same in every respect.
func same(t *testing.T, a, b *merge.Stack) {
	t.Helper()
	must(t, diff.Trees(context.Background(), a, b, diff.Options{Exact: true}, func(c diff.Change) error {
		t.Errorf("%+v", c)
		return nil
	}))
}

// GNU tar gets out what went in, and the same tree gives the same tar.
func TestACIByTar(t *testing.T) {
	root := rich(t)
	manifest := []byte(`{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a"}`)
	var one, two bytes.Buffer
	id, err := ACI(&one, manifest, open(t, root), Packing{})
	must(t, err)
	id2, err := ACI(&two, manifest, open(t, root), Packing{})
	must(t, err)
	if id != id2 || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two tars of one tree differ")
	}
	dir := t.TempDir()
	cmd := exec.Command("tar", "-xp", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-C", dir)
	cmd.Stdin = bytes.NewReader(one.Bytes())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "manifest")); err != nil || !bytes.Equal(got, manifest) {
		t.Errorf("%s, %v", got, err)
	}
	same(t, open(t, root), open(t, filepath.Join(dir, "rootfs")))

	// And rkt's own unpacking gives the ID and the tree.
	mine, err := os.Open(t.TempDir())
	must(t, err)
	defer mine.Close()
	res, err := unpack.ACI(context.Background(), &one, mine, unpack.Options{})
	must(t, err)
	if res.DiffID.ID() != id {
		t.Errorf("%s, want %s", res.DiffID, id)
	}
	same(t, open(t, root), open(t, mine.Name()))
}

// What the kernel wrote into an upper directory, as a layer over the image, is
// what the pod saw; renamed directories and opaque ones included.
func TestLayer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	marks := 0
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			r := rand.New(rand.NewPCG(seed, 2))
			p := func(n string) string { return filepath.Join(dir, n) }
			for _, n := range []string{"lower", "upper", "work", "layer"} {
				must(t, os.Mkdir(p(n), 0o755))
			}
			scribble(r, p("lower"), 80)
			fd, err := mount.New("overlay", 0, "lowerdir="+p("lower"), "upperdir="+p("upper"), "workdir="+p("work"), "redirect_dir=on", "metacopy=off", "index=off")
			if err != nil {
				t.Skipf("needs overlayfs: %v", err)
			}
			scribble(r, "/proc/self/fd/"+strconv.Itoa(fd)+"/.", 60)
			unix.Close(fd)
			var tar bytes.Buffer
			c := Change{Layers: []string{p("lower")}, Upper: p("upper")}
			id, size, err := c.Layer(&tar, Packing{})
			must(t, err)
			if size != int64(tar.Len()) {
				t.Errorf("size %d, want %d", size, tar.Len())
			}
			marks += bytes.Count(tar.Bytes(), []byte(opaqueName))
			to, err := os.Open(p("layer"))
			must(t, err)
			defer to.Close()
			res, err := unpack.Layer(context.Background(), &tar, to, unpack.Options{})
			must(t, err)
			if res.DiffID != id {
				t.Errorf("%s, want %s", id, res.DiffID)
			}
			same(t, open(t, p("lower"), p("upper")), open(t, p("lower"), p("layer")))
		})
	}
	if marks == 0 {
		t.Error("no layer had an opaque mark: the test tests nothing of it")
	}
}

func scribble(r *rand.Rand, root string, n int) {
	names := []string{"a", "b", "c"}
	pick := func() string {
		p := names[r.IntN(3)]
		for range r.IntN(3) {
			p += "/" + names[r.IntN(3)]
		}
		return filepath.Join(root, p)
	}
	for i := range n {
		p := pick()
		switch r.IntN(8) {
		case 0, 1:
			_ = os.MkdirAll(p, 0o755)
		case 2:
			_ = os.WriteFile(p, []byte(strconv.Itoa(i)), 0o644)
		case 3:
			_ = os.RemoveAll(p)
		case 4, 5:
			_ = os.Rename(p, pick())
		case 6:
			_ = os.Link(p, pick())
		case 7:
			_ = os.Chown(p, i, i)
		}
	}
}

// A file that would be a whiteout cannot be in a layer.
func TestLayerOfMarks(t *testing.T) {
	for _, name := range []string{".wh.x", "d/.wh..wh..opq"} {
		dir := t.TempDir()
		lower, upper := filepath.Join(dir, "l"), filepath.Join(dir, "u")
		must(t, os.Mkdir(lower, 0o755))
		must(t, os.MkdirAll(filepath.Join(upper, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(upper, name), nil, 0o644))
		_, _, err := Change{Layers: []string{lower}, Upper: upper}.Layer(io.Discard, Packing{})
		if err == nil || !strings.Contains(err.Error(), "would remove a file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFile(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write := func(s string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, werr := io.WriteString(w, s)
			return errors.Join(werr, err)
		}
	}
	if err := File(ctx, path, false, write("x", errors.New("torn"))); err == nil {
		t.Error("no error")
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("half a file stays: %v", err)
	}
	must(t, File(ctx, path, false, write("old", nil)))
	if err := File(ctx, path, false, write("new", nil)); err == nil || hint.Of(err) == "" {
		t.Errorf("%v", err)
	}
	if err := File(ctx, path, true, write("new", errors.New("torn"))); err == nil {
		t.Error("no error")
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("%s: an error took the old file", b)
	}
	link := filepath.Join(dir, "link")
	must(t, os.Symlink("f", link))
	must(t, File(ctx, link, true, write("new", nil)))
	if b, _ := os.ReadFile(path); string(b) != "new" {
		t.Errorf("%s", b)
	}
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	if err := File(ctx, filepath.Join(dir, "fifo"), true, write("", nil)); err == nil {
		t.Error("replaced a fifo")
	}
	cancel()
	if err := File(ctx, path, true, write("late", nil)); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 3 {
		t.Errorf("left: %v", left)
	}
}

// tiny is an image of one layer in memory.
func tiny(t *testing.T, layer string) OCI {
	t.Helper()
	l, c := Bytes([]byte(layer)), Bytes([]byte(`{"os":"linux","architecture":"amd64"}`))
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ociconfig.OCIManifest,
		"config": ociconfig.Descriptor{MediaType: ociconfig.OCIConfig, Digest: c.Digest, Size: c.Size},
		"layers": []ociconfig.Descriptor{{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: l.Digest, Size: l.Size}},
	})
	must(t, err)
	return OCI{MediaType: ociconfig.OCIManifest, Manifest: Bytes(raw), Config: c, Layers: []Blob{l}}
}

func TestLayoutUndone(t *testing.T) {
	ctx := context.Background()
	good, bad := tiny(t, "good"), tiny(t, "bad")
	bad.Layers[0].Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("bed")), nil }
	dir := filepath.Join(t.TempDir(), "deep", "layout")
	if err := bad.Layout(ctx, dir, "x", false); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("%v", err)
	}
	if _, err := os.Lstat(filepath.Dir(dir)); !os.IsNotExist(err) {
		t.Errorf("what was made stays: %v", err)
	}
	must(t, good.Layout(ctx, dir, "x", false))
	// Somebody else's entry, with a field we know nothing of.
	index := filepath.Join(dir, "index.json")
	theirs := `{"schemaVersion":2,"manifests":[{"mediaType":"application/x","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1,"urls":["u"]}],"annotations":{"k":"v"}}`
	must(t, os.WriteFile(index, []byte(theirs), 0o644))
	before := files(t, dir)
	if err := bad.Layout(ctx, dir, "y", true); err == nil {
		t.Fatal("no error")
	}
	if d := cmp.Diff(before, files(t, dir)); d != "" {
		t.Errorf("an error changed the layout:\n%s", d)
	}
	must(t, good.Layout(ctx, dir, "y", true))
	text, err := os.ReadFile(index)
	must(t, err)
	for _, want := range []string{`"urls"`, `"k": "v"`, `"y"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is gone from\n%s", want, text)
		}
	}
}

// TestLayoutLinks: what somebody else has put into a layout leads nowhere out of
// it.
func TestLayoutLinks(t *testing.T) {
	for _, link := range []string{"index.json", "oci-layout", "blobs", "blobs/sha256", "blob"} {
		t.Run(link, func(t *testing.T) {
			dir, outside := t.TempDir()+"/layout", t.TempDir()
			o := tiny(t, "layer")
			must(t, tiny(t, "other").Layout(t.Context(), dir, "x", false))
			at := filepath.Join(dir, link)
			if link == "blob" {
				at = filepath.Join(dir, blobName(o.Layers[0].Digest))
				must(t, os.WriteFile(at, nil, 0o600))
			}
			must(t, os.Rename(at, filepath.Join(outside, "it")))
			must(t, os.Symlink(filepath.Join(outside, "it"), at))
			before := files(t, outside)
			if err := o.Layout(t.Context(), dir, "y", true); err == nil || !strings.HasPrefix(err.Error(), "cannot write ") {
				t.Errorf("%v", err)
			}
			if d := cmp.Diff(before, files(t, outside)); d != "" {
				t.Errorf("outside: (-before +after)\n%s", d)
			}
		})
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		all[p] = string(b)
		return err
	}))
	return all
}

func TestWith(t *testing.T) {
	src := Source{OCI: tiny(t, "x"), config: []byte(`{"os":"linux","x-vendor":1,"rootfs":{"type":"layers","diff_ids":["sha256:a"]}}`),
		manifest: []byte(`{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:0","size":1},"layers":[],"annotations":{"a":"b"}}`)}
	o, err := src.With(Added{Blob: Bytes([]byte("layer")), DiffID: "sha256:d", Gzip: true, Created: time.Unix(0, 5), By: "rkt export"})
	must(t, err)
	read := func(b Blob) string {
		var w bytes.Buffer
		must(t, copyProven(&w, b))
		return w.String()
	}
	if got, want := read(o.Config), `{"created":"1970-01-01T00:00:00.000000005Z","history":[{"created":"1970-01-01T00:00:00.000000005Z","created_by":"rkt export"}],"os":"linux","rootfs":{"diff_ids":["sha256:a","sha256:d"],"type":"layers"},"x-vendor":1}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, want := range []string{`"annotations":{"a":"b"}`, string(o.Config.Digest), "application/vnd.oci.image.layer.v1.tar+gzip", string(Bytes([]byte("layer")).Digest)} {
		if got := read(o.Manifest); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
}

// What an OCI image says of itself is still said by the ACI made of it.
func TestConverted(t *testing.T) {
	root := filepath.Join(t.TempDir(), "r")
	must(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("broken\nroot:x:0:0::/:/\nwww:x:33:34::/:/\n"), 0o644))
	digest := image.Digest("sha256:" + strings.Repeat("ab", 32))
	rec := image.Record{
		ID: digest.ID(), Format: image.OCI, Manifest: digest, MediaType: ociconfig.OCIManifest,
		Names:       []string{"docker://localhost:5000/lib/my_app:v1.2"},
		Labels:      map[string]string{"os": "linux", "arch": "amd64"},
		Annotations: map[string]string{"created": "2020-01-01T00:00:00Z", "org.opencontainers.image.Title": "no identifier", "rkt/facts x": "ours"},
		App: &image.App{
			Entrypoint: []string{"/e"}, Cmd: []string{"c"}, User: "33", WorkingDir: "/w", Environment: []string{"A=b=c"},
			Mounts: []image.MountPoint{{Name: "volume-v", Path: "/v", KeepContent: true}},
			Ports:  []image.Port{{Name: "80-tcp", Protocol: "tcp", Port: 80}, {Name: "9-sctp", Protocol: "sctp", Port: 9}},
		},
	}
	raw, err := Converted(rec, "sha256:c", open(t, root))
	must(t, err)
	m, err := aci.Parse(raw)
	must(t, err)
	if got := m.DisplayName(); got != "localhost-5000/lib/my_app:v1.2" {
		t.Error(got)
	}
	for name, want := range map[aci.ACIdentifier]string{
		"appc.io/docker/registryurl": "localhost:5000", "appc.io/docker/tag": "v1.2", "appc.io/docker/imageid": "sha256:c",
		"appc.io/docker/manifesthash": string(digest), "created": "2020-01-01T00:00:00Z",
		"appc.io/docker/entrypoint": `["/e"]`, "appc.io/docker/cmd": `["c"]`,
	} {
		if got, _ := m.Annotations.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	got, err := m.Record(digest, image.Layer{DiffID: image.Digest("sha512:" + strings.Repeat("cd", 64))})
	must(t, err)
	want := *rec.App
	want.Name, want.Group, want.Ports = "localhost-5000/lib/my_app", "34", want.Ports[:1]
	if d := cmp.Diff(&want, got.App); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestAlone(t *testing.T) {
	plain := []byte(`{"name":"a",  "x":1}`)
	if got, err := Alone(plain); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%s, %v", got, err)
	}
	got, err := Alone([]byte(`{"name":"a","dependencies":[{"imageName":"b"}],"pathWhitelist":["/x"],"x":1}`))
	if err != nil || string(got) != `{"name":"a","x":1}` {
		t.Errorf("%s, %v", got, err)
	}
}

func FuzzIdentifier(f *testing.F) {
	for _, s := range []string{"", "a", "A//b", "localhost:5000/x_y", "-.-", "ü", "a/-/b", "a./b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := identifier(s)
		if err := aci.ACIdentifier(got).Validate(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if aci.ACIdentifier(s).Validate() == nil && got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}
