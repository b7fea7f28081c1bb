// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package dockerfiles builds a set of Dockerfiles with acbuild and with buildah,
// from the same bases, and compares what comes out: trees and configurations.
package dockerfiles

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/dockerfile"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

func TestMain(m *testing.M) {
	if engine.IsChild() {
		os.Exit(engine.Child())
	}
	os.Exit(rkt.ApartWithMounts(func() int { // buildah keeps its storage mounted
		if os.Geteuid() != 0 {
			return m.Run()
		}
		return rkt.WithInstall("rkt-dockerfiles-", func(made rkt.Install) int {
			install = made
			launch.Prefix = filepath.Join(install.Dir, "libexec", "rkt")
			return m.Run()
		})
	}))
}

var install rkt.Install

var bases = []string{images.Tiny, images.Shell, images.Etcd, images.Nginx, images.Python}

// file is one entry of a tree, as far as the two are to agree.
type file struct {
	Mode     uint32
	UID, GID uint32
	Content  string // digest, link or device
}

// buildah is Debian's, with storage of its own.
type buildah struct {
	t   *testing.T
	dir string
}

func (b *buildah) command(args ...string) *exec.Cmd {
	flags := []string{"--root", filepath.Join(b.dir, "root"), "--runroot", filepath.Join(b.dir, "run"), "--storage-driver", "overlay",
		"--registries-conf", filepath.Join(b.dir, "registries.conf")}
	cmd := exec.Command("buildah", append(flags, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+b.dir, "BUILDAH_ISOLATION=chroot", "HOME="+b.dir)
	return cmd
}

func (b *buildah) must(args ...string) string {
	b.t.Helper()
	var errs bytes.Buffer
	cmd := b.command(args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("buildah %q: %v\n%s%s", args, err, out, errs.String())
	}
	return strings.TrimSpace(string(out))
}

func newBuildah(t *testing.T, layout string) *buildah {
	t.Helper()
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Skip("needs buildah")
	}
	dir, err := os.MkdirTemp("", "rkt-buildah-")
	if err != nil {
		t.Fatal(err)
	}
	b := &buildah{t, dir}
	t.Cleanup(func() {
		b.must("rm", "--all")
		if err := os.RemoveAll(dir); err != nil {
			// Its own mount of the storage.
			_ = unix.Unmount(filepath.Join(dir, "root", "overlay"), unix.MNT_DETACH)
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "registries.conf"), []byte("unqualified-search-registries = []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, ref := range bases {
		b.must("tag", b.must("pull", "-q", "oci:"+layout+":"+ref), "localhost/"+ref)
	}
	return b
}

func (b *buildah) build(context string, args map[string]string) {
	b.t.Helper()
	words := []string{"bud", "--layers", "--format", "docker", "--isolation", "chroot", "--network", "host", "--pull-never", "-t", "out", "-f", filepath.Join(context, "Dockerfile")}
	for k, v := range args {
		words = append(words, "--build-arg", k+"="+v)
	}
	b.must(append(words, context)...)
}

// image is the tree and the configuration of the image "out".
func (b *buildah) image() (map[string]file, map[string]any) {
	b.t.Helper()
	name := b.must("from", "--pull-never", "localhost/out")
	root := b.must("mount", name)
	tree := map[string]file{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		f := file{Mode: st.Mode, UID: st.Uid, GID: st.Gid}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.Content = fmt.Sprintf("%x", sha256.Sum256(text))
		case unix.S_IFLNK:
			if f.Content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		tree[rel] = f
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.must("rm", name)
	dir := filepath.Join(b.dir, "pushed")
	b.must("push", "-q", "--format", "v2s2", "localhost/out", "dir:"+dir)
	defer os.RemoveAll(dir)
	var m struct{ Config struct{ Digest string } }
	read(b.t, filepath.Join(dir, "manifest.json"), &m)
	var c map[string]any
	read(b.t, filepath.Join(dir, strings.TrimPrefix(m.Config.Digest, "sha256:")), &c)
	return tree, c
}

func read(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// acbuild is the package that the program of that name is.
type acbuild struct {
	t    *testing.T
	o    dockerfile.Options
	seen seen
}

type seen struct{}

func (seen) Begin(dockerfile.Step, bool)               {}
func (seen) End(dockerfile.Step, time.Duration, error) {}

func newAcbuild(t *testing.T, layout string) *acbuild {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	o := fetch.Options{Helper: filepath.Join(launch.Prefix, "fetch"), InsecureImage: true}
	a := &acbuild{t: t, o: dockerfile.Options{DataDir: dir, CacheDir: filepath.Join(dir, "build"), Network: engine.NetworkHost,
		Bases: dockerfile.Stored{Store: st, Fetch: o}, Fetch: o, Progress: seen{}, Contexts: map[string]string{}}}
	for _, ref := range bases {
		a.o.Contexts[ref] = "oci:" + layout + ":" + ref
	}
	return a
}

func (a *acbuild) build(context string, args map[string]string) (tree map[string]file, config map[string]any) {
	a.t.Helper()
	o := a.o
	var out bytes.Buffer
	o.Context, o.File, o.Args, o.Output = context, filepath.Join(context, "Dockerfile"), args, &out
	b, err := dockerfile.New(o)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			a.t.Error(err)
		}
	}()
	im, err := b.Build(a.t.Context())
	if err != nil {
		a.t.Fatalf("%v\n%s", err, out.String())
	}
	if err := json.Unmarshal(im.Config, &config); err != nil {
		a.t.Fatal(err)
	}
	s, err := im.Stack()
	if err != nil {
		a.t.Fatal(err)
	}
	defer s.Close()
	tree = map[string]file{}
	if err := s.Walk(func(e *merge.Entry) error { return add(tree, e) }); err != nil {
		a.t.Fatal(err)
	}
	return tree, config
}

func add(tree map[string]file, e *merge.Entry) error {
	f := file{Mode: e.Stat.Mode, UID: e.Stat.Uid, GID: e.Stat.Gid}
	switch e.Type() {
	case unix.S_IFREG:
		r, err := e.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		f.Content = fmt.Sprintf("%x", h.Sum(nil))
	case unix.S_IFLNK:
		var err error
		if f.Content, err = e.Link(); err != nil {
			return err
		}
	}
	tree[e.Path] = f
	return nil
}

// prepared copies a case, and makes in it what a repository cannot hold.
func prepared(t *testing.T, name string) (context string, args map[string]string) {
	t.Helper()
	context = filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("cp", "-a", filepath.Join("cases", name), context).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err := filepath.WalkDir(context, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if fi.IsDir() || fi.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
	args = map[string]string{}
	if b, err := os.ReadFile(filepath.Join(context, "args")); err == nil {
		for line := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
			args[k] = v
		}
	}
	switch name {
	case "archives":
		makeArchives(t, context)
	case "permissions":
		for path, mode := range map[string]fs.FileMode{"bin/tool": 0o700, "bin/readonly": 0o444, "bin/private": 0o700} {
			if err := os.Chmod(filepath.Join(context, path), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	return context, args
}

func makeArchives(t *testing.T, dir string) {
	t.Helper()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, h := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 3, Gid: 4},
		{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 3, Gid: 4, Size: 5},
		{Name: "d/l", Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "f"},
		{Name: "d/h", Typeflag: tar.TypeLink, Mode: 0o640, Uid: 3, Gid: 4, Linkname: "d/f"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var packed, single bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(plain.Bytes())
	_ = z.Close()
	z = gzip.NewWriter(&single)
	_, _ = z.Write([]byte("no tar\n"))
	_ = z.Close()
	for name, b := range map[string][]byte{"data.tar": plain.Bytes(), "data.tar.gz": packed.Bytes(), "plain.gz": single.Bytes(), "plain.txt": []byte("p\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][]string{{"xz", "-k"}, {"bzip2", "-k"}} {
		cmd := exec.Command(c[0], c[1], filepath.Join(dir, "data.tar"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("needs %s: %v %s", c[0], err, out)
		}
	}
}

// process is what both say of how the image runs.
func process(config map[string]any) map[string]any {
	c, _ := config["config"].(map[string]any)
	p := map[string]any{"architecture": config["architecture"], "os": config["os"]}
	for _, key := range []string{"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "Healthcheck", "OnBuild", "Shell"} {
		v := c[key]
		switch x := v.(type) {
		case map[string]any:
			delete(x, "io.buildah.version")
			if len(x) == 0 {
				v = nil
			}
		case []any:
			if key == "Env" { // buildah puts what is set again last
				slices.SortFunc(x, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			}
			if len(x) == 0 {
				v = nil
			}
		case string:
			if x == "" || key == "WorkingDir" && x == "/" {
				v = nil
			}
		}
		if v != nil {
			p[key] = v
		}
	}
	return p
}

func TestCompare(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	layout, err := images.Layout()
	if err != nil {
		t.Skip(err)
	}
	theirs, ours := newBuildah(t, layout), newAcbuild(t, layout)
	cases, err := os.ReadDir("cases")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			context, args := prepared(t, c.Name())
			theirs.t, ours.t = t, t
			theirs.build(context, args)
			wantTree, wantConfig := theirs.image()
			gotTree, gotConfig := ours.build(context, args)
			for path, why := range differences[c.Name()] {
				if cmp.Equal(wantTree[path], gotTree[path]) {
					t.Errorf("%s is said to differ (%s), but does not", path, why)
				}
				delete(wantTree, path)
				delete(gotTree, path)
			}
			delete(gotTree, ".") // buildah gives each root a mode of its own
			for _, made := range []string{".", "dev", "proc", "sys", "etc/hosts", "etc/resolv.conf", "run", "run/.containerenv", "run/secrets", "etc/hostname"} {
				if _, ok := gotTree[made]; !ok { // places of mounts, which buildah leaves behind
					delete(wantTree, made)
				}
			}
			if d := cmp.Diff(wantTree, gotTree); d != "" {
				t.Errorf("trees (- buildah, + acbuild):\n%s", d)
			}
			if d := cmp.Diff(process(wantConfig), process(gotConfig)); d != "" {
				t.Errorf("configurations (- buildah, + acbuild):\n%s", d)
			}
		})
	}
}

// differences are files in which the two differ for a reason.
var differences = map[string]map[string]string{
	"etcd-config": {"var/lib/etcd/member": "buildah undoes what RUN does in the base's volumes, BuildKit does not"},
	"metadata":    {"relative": "buildah makes a working directory only when something runs in it", "up": "likewise"},
}
