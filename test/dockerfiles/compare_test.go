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
	"maps"
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
	"github.com/rkt/rkt/test/tree"
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
	// What this buildah's language lacks stands there in other words.
	file := filepath.Join(context, "Dockerfile.buildah")
	if _, err := os.Lstat(file); err != nil {
		file = filepath.Join(context, "Dockerfile")
	}
	words := []string{"bud", "--layers", "--format", "docker", "--isolation", "chroot", "--network", "host", "--pull-never", "-t", "out", "-f", file}
	for k, v := range args {
		if k == targetArg {
			words = append(words, "--target", v)
			continue
		}
		words = append(words, "--build-arg", k+"="+v)
	}
	b.must(append(words, context)...)
}

// image is the tree and the configuration of the image "out".
func (b *buildah) image() (map[string]tree.File, map[string]any) {
	b.t.Helper()
	dir := filepath.Join(b.dir, "pushed")
	b.must("push", "-q", "--format", "v2s2", "localhost/out", "dir:"+dir)
	defer os.RemoveAll(dir)
	var m struct{ Config struct{ Digest string } }
	read(b.t, filepath.Join(dir, "manifest.json"), &m)
	var c map[string]any
	read(b.t, filepath.Join(dir, strings.TrimPrefix(m.Config.Digest, "sha256:")), &c)
	if p, _ := c["config"].(map[string]any); p["OnBuild"] != nil {
		// A container that buildah makes has done already what is for children.
		layout := filepath.Join(b.dir, "layout")
		defer os.RemoveAll(layout)
		b.must("push", "-q", "localhost/out", "oci:"+layout+":out")
		root := filepath.Join(b.dir, "unpacked")
		defer os.RemoveAll(root)
		if out, err := exec.Command("umoci", "raw", "unpack", "--image", layout+":out", root).CombinedOutput(); err != nil {
			b.t.Skipf("needs umoci: %v\n%s", err, out)
		}
		return b.tree(root), c
	}
	name := b.must("from", "--pull-never", "localhost/out")
	defer b.must("rm", name)
	return b.tree(b.must("mount", name)), c
}

func (b *buildah) tree(root string) map[string]tree.File {
	b.t.Helper()
	files, err := tree.Read(root)
	if err != nil {
		b.t.Fatal(err)
	}
	return files
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

func (a *acbuild) build(context string, args map[string]string) (files map[string]tree.File, config map[string]any) {
	a.t.Helper()
	o := a.o
	var out bytes.Buffer
	o.Context, o.File, o.Args, o.Output = context, filepath.Join(context, "Dockerfile"), maps.Clone(args), &out
	o.Target = args[targetArg]
	delete(o.Args, targetArg)
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
	files = map[string]tree.File{}
	first := map[merge.Inode]string{}
	if err := s.Walk(func(e *merge.Entry) error { return add(files, first, e) }); err != nil {
		a.t.Fatal(err)
	}
	return files, config
}

// add describes an entry as tree.Read does, whose Time nobody compares here.
func add(files map[string]tree.File, first map[merge.Inode]string, e *merge.Entry) error {
	f := tree.File{Mode: e.Stat.Mode, UID: e.Stat.Uid, GID: e.Stat.Gid}
	if !e.IsDir() && e.Stat.Nlink > 1 {
		if first[e.Inode()] == "" {
			first[e.Inode()] = e.Path
		}
		f.Same = first[e.Inode()]
	}
	attrs, err := e.Xattrs()
	if err != nil {
		return err
	}
	for name, value := range attrs {
		if f.Xattrs == nil {
			f.Xattrs = map[string]string{}
		}
		f.Xattrs[name] = string(value)
	}
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
	files[e.Path] = f
	return nil
}

// targetArg, in a case's file args, names the stage that is built.
const targetArg = "--target"

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
	case "archive-contents":
		makeOdd(t, context)
	case "special":
		makeSpecial(t, context)
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
	plain := packed(t,
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 3, Gid: 4},
		tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 3, Gid: 4, Size: 5},
		tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "f"},
		tar.Header{Name: "d/h", Typeflag: tar.TypeLink, Mode: 0o640, Uid: 3, Gid: 4, Linkname: "d/f"},
	)
	var zipped, single bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(plain)
	_ = z.Close()
	z = gzip.NewWriter(&single)
	_, _ = z.Write([]byte("no tar\n"))
	_ = z.Close()
	for name, b := range map[string][]byte{"data.tar": plain, "data.tar.gz": zipped.Bytes(), "plain.gz": single.Bytes(), "plain.txt": []byte("p\n")} {
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
			for path, f := range wantTree {
				f.Time = 0
				wantTree[path] = f
			}
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
	"go-cache":    {"tmp": "buildah gives a directory that it makes for another's content the mode 0755, BuildKit that one's"},
	"special":     {"tree/sgid": "buildah takes the set-group-ID bit from files of the context, BuildKit does not"},
	"node-app":    {"usr/src": "buildah makes the working directory when something is copied there, and gives it to whom that belongs", "usr/src/app": "likewise"},
	"etcd-config": {"var/lib/etcd/member": "buildah undoes what RUN does in the base's volumes, BuildKit does not"},
	"metadata":    {"relative": "buildah makes a working directory only when something runs in it", "up": "likewise"},
}
