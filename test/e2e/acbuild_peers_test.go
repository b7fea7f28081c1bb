// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/crane"
	"github.com/rkt/rkt/test/registry"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/test/tree"
)

// built is an image of acbuild's, in each form that others read, and what they
// are to find in it.
type built struct {
	dir  string // has all of the below
	id   string // of its manifest, "sha256:…"
	tree map[string]tree.File
}

func (b *built) layout() string        { return filepath.Join(b.dir, "layout") }
func (b *built) ociArchive() string    { return filepath.Join(b.dir, "oci.tar") }
func (b *built) dockerArchive() string { return filepath.Join(b.dir, "docker.tar") }

// says is what the image's configuration is to say, in either mode.
var says = map[string]any{
	"User": "33:34", "WorkingDir": "/srv",
	"Entrypoint":   []any{"/bin/sh", "-c", `echo $GREETING; id -u; id -g; pwd; cat /opt/extra/file; cat /gone || echo gone; stat -c '%a %u:%g' /usr/bin/suid; ls /dir`},
	"Env":          []any{"PATH=/bin", "GREETING=good morning"},
	"ExposedPorts": map[string]any{"80/tcp": map[string]any{}, "6000-6009/udp": map[string]any{}},
	"Volumes":      map[string]any{"/data": map[string]any{}},
	"Labels":       map[string]any{"version": "1.2"},
}

// ran is what it prints then.
const ran = "good morning\n33\n34\n/srv\nextra\ngone\n4755 0:0\nnew\n"

// TestPeersAcceptImages: skopeo, umoci, podman and crane take what acbuild makes
// in either mode, in every form, and find in it the files and the configuration
// that were put there.
func TestPeersAcceptImages(t *testing.T) {
	h := host(t)
	addr, stop, err := registry.StartDistribution(t.TempDir())
	if err != nil {
		t.Skipf("needs docker-registry: %v", err)
	}
	t.Cleanup(stop)
	for _, mode := range []string{"appc", "oci"} {
		t.Run(mode, func(t *testing.T) {
			b := buildForPeers(t, h, mode, addr+"/peer:"+mode)
			t.Run("skopeo", func(t *testing.T) { skopeoAccepts(t, b, addr+"/peer:"+mode) })
			t.Run("umoci", func(t *testing.T) { umociAccepts(t, b) })
			t.Run("podman", func(t *testing.T) { podmanAccepts(t, b, addr+"/peer:"+mode) })
			t.Run("crane", func(t *testing.T) { craneAccepts(t, b, addr+"/peer:"+mode, addr+"/again:"+mode) })
		})
	}
}

// capNetBind is setcap's cap_net_bind_service=ep.
const capNetBind = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// motley makes a root with a shell, and with what is easily lost on the way.
func motley(t *testing.T, root string) {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs a static busybox")
	}
	at := func(name string) string { return filepath.Join(root, name) }
	text := func(name, content string, mode os.FileMode) error {
		return errors.Join(os.MkdirAll(filepath.Dir(at(name)), 0o755), os.WriteFile(at(name), []byte(content), 0o600), os.Chmod(at(name), mode))
	}
	busybox, err := os.ReadFile(program)
	long := strings.Repeat("long/", 40) + strings.Repeat("n", 255)
	err = errors.Join(err, text("bin/busybox", string(busybox), 0o755), os.Symlink("busybox", at("bin/sh")),
		text("usr/bin/suid", "suid", 0o755|os.ModeSetuid), text("usr/bin/sgid", "sgid", 0o711|os.ModeSetgid),
		text("usr/bin/capable", "capable", 0o755), unix.Setxattr(at("usr/bin/capable"), "security.capability", []byte(capNetBind), 0),
		text("srv/owned", "owned", 0o640), os.Chown(at("srv/owned"), 70000, 3_000_000_000),
		unix.Setxattr(at("srv/owned"), "user.note", []byte("a\x00b"), 0),
		os.Link(at("srv/owned"), at("srv/linked")), os.Chown(at("srv"), 33, 34), os.Chmod(at("srv"), 0o750|os.ModeSetgid),
		text("srv/nothing", "", 0), text(long, "long", 0o644), text("weird/\u00e4 b\tc\nd", "weird", 0o644),
		os.Symlink("/nowhere/at/all", at("dangling")), os.Lchown(at("dangling"), 7, 8),
		unix.Mkfifo(at("pipe"), 0o622), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Mkdir(at("tmp"), 0o755), os.Chmod(at("tmp"), 0o777|os.ModeSticky), os.Mkdir(at("data"), 0o755),
		text("gone", "gone", 0o644), text("dir/old", "old", 0o644), text("replaced", "before", 0o644),
		os.Chtimes(at("srv/nothing"), time.Time{}, time.Unix(1_000_000_000, 0)))
	if err != nil {
		t.Fatal(err)
	}
}

// lowercase is a directory such as podman takes for a name, short and without
// capitals.
func lowercase(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rkt-peers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// buildForPeers builds one image, and makes the same of its root by ordinary means.
func buildForPeers(t *testing.T, h *rkt.Host, mode, ref string) *built {
	t.Helper()
	b := &built{dir: lowercase(t)}
	root := filepath.Join(b.dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	motley(t, root)
	extra := filepath.Join(b.dir, "extra")
	err := errors.Join(os.Mkdir(extra, 0o755), os.WriteFile(filepath.Join(extra, "file"), []byte("extra\n"), 0o644), os.Chown(filepath.Join(extra, "file"), 33, 34))
	if err != nil {
		t.Fatal(err)
	}

	do := func(args ...string) string { return acbuild(t, h, b.dir, args...) }
	do("begin", "--build-mode="+mode, "./root")
	if mode == "oci" {
		do("layer")
	} else {
		do("set-name", "example.com/peer")
	}
	const change = "rm -r /gone /dir; mkdir /dir; echo new > /dir/new; echo after > /replaced; chmod 600 /srv/nothing"
	do("run", "--net=none", "--", "/bin/sh", "-c", change)
	if mode == "oci" {
		do("layer")
		do("set-tag", "v1")
	}
	do("copy", "--keep-owner", "extra", "/opt/extra")
	do("copy-to-dir", "extra/file", "/srv")
	do(append([]string{"set-exec", "--"}, words(says["Entrypoint"])...)...)
	do("set-user", "33")
	do("set-group", "34")
	do("set-working-directory", "/srv")
	do("environment", "add", "PATH", "/bin")
	do("environment", "add", "GREETING", "good morning")
	do("port", "add", "http", "tcp", "80")
	do("port", "add", "range", "udp", "6000", "--count=10")
	do("mount", "add", "data", "/data")
	do("label", "add", "version", "1.2")
	do("annotation", "add", "authors", "A. Thor")
	b.id = strings.Replace(do("write", "oci:layout:v1"), "-", ":", 1)
	do("write", "oci-archive:oci.tar:v1")
	do("write", "docker-archive:docker.tar:example.com/peer:v1")
	do("push", "--insecure", ref)
	do("end")

	// The same by hand, and then as it lies in the layers: times of what was written
	// by the commands are not known.
	hand := exec.Command("sh", "-c", strings.ReplaceAll(change, " /", " "+root+"/")+` && mkdir "$0/opt" && cp -a extra "$0/opt" && cp --preserve=mode,timestamps extra/file "$0/srv" && chown 0:0 "$0/srv/file"`, root)
	hand.Dir = b.dir
	if out, err := hand.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.tree = files(t, root)
	return b
}

// files reads a tree.
func files(t *testing.T, dir string) map[string]tree.File {
	t.Helper()
	all, err := tree.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"dir/new", "replaced"} { // written by two commands
		f := all[path]
		f.Time = 0
		all[path] = f
	}
	return all
}

func words(v any) (list []string) {
	for _, w := range v.([]any) {
		list = append(list, w.(string))
	}
	return list
}

// peer runs another program, and gives what it prints.
func peer(t *testing.T, argv ...string) string {
	t.Helper()
	var errs strings.Builder
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", argv, err, out, errs.String())
	}
	return strings.TrimSpace(string(out))
}

func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("needs ", program)
	}
}

// configured wants a configuration, as somebody else reads it, to say what it is
// to say.
func configured(t *testing.T, text string) {
	t.Helper()
	var c struct {
		OS, Architecture string
		Config           map[string]any
		History          []struct {
			CreatedBy  string `json:"created_by"`
			EmptyLayer bool   `json:"empty_layer"`
		}
		RootFS struct {
			Diffs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := cmp.Diff(says, c.Config); d != "" {
		t.Errorf("configuration (- as it was told):\n%s", d)
	}
	layers := 0
	for _, x := range c.History {
		if !x.EmptyLayer {
			layers++
		}
	}
	if c.History != nil && layers != len(c.RootFS.Diffs) {
		t.Errorf("the history tells of %d layers, there are %d", layers, len(c.RootFS.Diffs))
	}
}

func skopeoAccepts(t *testing.T, b *built, ref string) {
	needs(t, "skopeo")
	dir := t.TempDir()
	for i, from := range []string{"oci:" + b.layout() + ":v1", "oci-archive:" + b.ociArchive() + ":v1", "docker://" + ref, "docker-archive:" + b.dockerArchive()} {
		configured(t, peer(t, "skopeo", "inspect", "--tls-verify=false", "--config", from))
		raw := peer(t, "skopeo", "inspect", "--tls-verify=false", "--raw", from)
		digest := peer(t, "skopeo", "inspect", "--tls-verify=false", "--format={{.Digest}}", from)
		if i < 3 && (digest != b.id || !strings.Contains(raw, `"mediaType":"application/vnd.oci.image.manifest.v1+json"`)) {
			t.Errorf("%s is %s, was written as %s\n%s", from, digest, b.id, raw)
		}
		// Copying proves every digest; with the other format, also what lies in the layers.
		peer(t, "skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", from, fmt.Sprintf("dir:%s/same-%d", dir, i))
		peer(t, "skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--format=v2s2", from, fmt.Sprintf("dir:%s/docker-%d", dir, i))
	}
}

func umociAccepts(t *testing.T, b *built) {
	needs(t, "umoci")
	bundle := filepath.Join(t.TempDir(), "bundle")
	peer(t, "umoci", "unpack", "--image", b.layout()+":v1", bundle)
	if d := cmp.Diff(b.tree, files(t, filepath.Join(bundle, "rootfs"))); d != "" {
		t.Errorf("umoci's tree (- as it was built):\n%s", d)
	}
	var runtime struct {
		Process struct {
			Args, Env []string
			Cwd       string
			User      struct{ UID, GID int }
		}
	}
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &runtime)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := runtime.Process
	if !cmp.Equal(p.Args, words(says["Entrypoint"])) || p.Cwd != "/srv" || p.User.UID != 33 || p.User.GID != 34 || !strings.Contains(strings.Join(p.Env, "\n"), "GREETING=good morning") {
		t.Errorf("umoci would run it as %+v", p)
	}
	if stat := peer(t, "umoci", "stat", "--image", b.layout()+":v1"); !strings.Contains(stat, "acbuild set-exec") {
		t.Errorf("umoci reads no history:\n%s", stat)
	}
}

// podmanAccepts has podman work on storage of its own, in a mount namespace of its
// own, without a network and without cgroups, so that nothing of it stays.
func podmanAccepts(t *testing.T, b *built, ref string) {
	needs(t, "podman")
	dir := lowercase(t)
	podman := func(args ...string) string {
		t.Helper()
		return peer(t, append([]string{"unshare", "--mount", "--propagation=private", "podman", "--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp",
			"--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--log-level=error"}, args...)...)
	}
	last := func(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }
	podman("load", "--quiet", "--input", b.dockerArchive())
	id := podman("image", "inspect", "--format={{.Id}}", "example.com/peer:v1")
	for _, from := range []string{"oci:" + b.layout() + ":v1", "oci-archive:" + b.ociArchive(), "docker://" + ref} {
		if got := last(podman("pull", "--quiet", "--tls-verify=false", from)); got != id {
			t.Errorf("%s is image %s to podman, of the docker-archive it is %s", from, got, id)
		}
	}
	if d := cmp.Diff(b.tree, files(t, last(podman("image", "mount", id)))); d != "" {
		t.Errorf("podman's tree (- as it was built):\n%s", d)
	}
	configured(t, `{"config":`+podman("image", "inspect", "--format={{json .Config}}", id)+`}`)
	out := podman("run", "--rm", "--network=none", "--cgroups=disabled", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", id)
	if out+"\n" != ran {
		t.Errorf("podman runs it to say %q, want %q", out, ran)
	}
}

func craneAccepts(t *testing.T, b *built, ref, again string) {
	program, err := crane.Program()
	if err != nil {
		t.Skipf("needs crane: %v", err)
	}
	run := func(args ...string) string {
		t.Helper()
		return peer(t, append([]string{program, "--insecure"}, args...)...)
	}
	run("validate", "--remote", ref)
	run("validate", "--tarball", b.dockerArchive())
	run("push", b.layout(), again) // of a layout with one image
	for _, ref := range []string{ref, again} {
		if got := run("digest", ref); got != b.id {
			t.Errorf("crane finds %s at %s, want %s", got, ref, b.id)
		}
	}
	configured(t, run("config", ref))
	var m struct {
		MediaType   string
		Annotations map[string]string
	}
	if err := json.Unmarshal([]byte(run("manifest", ref)), &m); err != nil || m.MediaType != "application/vnd.oci.image.manifest.v1+json" || m.Annotations["authors"] != "A. Thor" {
		t.Errorf("crane reads the manifest as %+v, %v", m, err)
	}
	dir := t.TempDir()
	flat := filepath.Join(dir, "flat.tar")
	run("export", ref, flat)
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	peer(t, "tar", "-C", root, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", flat)
	if d := cmp.Diff(b.tree, files(t, root)); d != "" {
		t.Errorf("crane's tree (- as it was built):\n%s", d)
	}
}
