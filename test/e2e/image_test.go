// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/registry"
)

// TestSources: the same image by every road gives the same content.
func TestSources(t *testing.T) {
	s := serve(t, images.Shell)
	dir := strings.TrimSuffix(strings.TrimPrefix(image(t, images.Shell), "oci:"), ":shell")
	tmp := t.TempDir()
	skopeo := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("skopeo", append([]string{"copy", "--insecure-policy", "--quiet"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("skopeo %q: %v\n%s", args, err, out)
		}
	}
	ociArchive, dockerArchive := filepath.Join(tmp, "oci.tar"), filepath.Join(tmp, "docker.tar")
	skopeo("oci:"+dir+":shell", "oci-archive:"+ociArchive+":shell")
	skopeo("oci:"+dir+":shell", "docker-archive:"+dockerArchive+":shell:latest")
	if err := s.Push(dir, "shell", "v2s2:latest", "--format=v2s2", "--dest-compress-format=gzip", "--dest-compress"); err != nil {
		t.Fatal(err)
	}
	digest := strings.TrimSpace(output(t, "skopeo", "inspect", "--format={{.Digest}}", "oci:"+dir+":shell"))
	for name, ref := range map[string]string{
		"oci layout":       image(t, images.Shell),
		"oci archive":      "oci-archive:" + ociArchive,
		"docker archive":   "docker-archive:" + dockerArchive,
		"registry":         s.URL("shell"),
		"registry, tag":    s.URL("shell:latest"),
		"registry, digest": s.URL("shell@" + digest),
		"docker schema 2":  s.URL("v2s2:latest"),
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			r := h.Rkt("run", "--net=host", ref, "--exec=/bin/bash", "--", "-c", "cat /srv/content; stat -c '%u %g %a' /srv/owned; stat -c %a /tmp; readlink /escape")
			if want := "from the image\n4242 4343 600\n1777\n/../../srv\n"; r.Status != 0 || r.Stdout != want {
				t.Errorf("status %d, stdout %q, want %q\n%s", r.Status, r.Stdout, want, r.Stderr)
			}
		})
	}
}

func output(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return string(out)
}

func TestACI(t *testing.T) {
	for _, packer := range []string{"", "gzip", "bzip2", "xz", "zstd"} {
		t.Run("packer "+packer, func(t *testing.T) {
			h := host(t)
			path, err := images.ACI(packer)
			if err != nil {
				t.Fatal(err)
			}
			r := h.Rkt("run", "--net=host", path)
			if r.Status != 0 || !strings.HasPrefix(r.Stdout, "uid=12 gid=34") {
				t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
			}
			r = h.Rkt("run", "--net=host", path, "--exec=/bin/sh", "--", "-c", "echo $FROM; grep -c ' /data ' /proc/self/mountinfo")
			if r.Stdout != "the manifest\n1\n" {
				t.Errorf("environment and mount point: %q\n%s", r.Stdout, r.Stderr)
			}
			if id := h.Must("fetch", "--full", path).Out(); !strings.HasPrefix(id, "sha512-") || len(id) != len("sha512-")+128 {
				t.Errorf("ID %q, want sha512-<128 hex>", id)
			}
		})
	}
}

// TestLayersAreShared: a second image costs only the layer that differs.
func TestLayersAreShared(t *testing.T) {
	h := host(t)
	s := serve(t, images.Shell, images.Etcd, images.Nginx)
	h.Must("fetch", s.URL("etcd"))
	before := layers(t, h.Dir)
	s.Forget()
	h.Must("fetch", s.URL("nginx"))
	// Its own layer, and maybe the few empty directories that package settle puts
	// on top of layers that do not announce all of theirs.
	if added := len(layers(t, h.Dir)) - len(before); added < 1 || added > 2 {
		t.Errorf("the second image added %d layer trees, want its own and at most one settled", added)
	}
	dir := strings.TrimSuffix(strings.TrimPrefix(image(t, images.Etcd), "oci:"), ":etcd")
	var m struct {
		Layers []struct{ Digest string }
	}
	if err := json.Unmarshal([]byte(output(t, "skopeo", "inspect", "--raw", "oci:"+dir+":nginx")), &m); err != nil {
		t.Fatal(err)
	}
	for i, l := range m.Layers {
		want := 0
		if i == len(m.Layers)-1 {
			want = 1
		}
		if got := s.Served(l.Digest); got != want {
			t.Errorf("layer %d of the second image was downloaded %d times, want %d", i, got, want)
		}
	}
	s.Forget()
	h.Must("fetch", s.URL("shell"))
	for _, l := range m.Layers {
		if got := s.Served(l.Digest); got != 0 {
			t.Errorf("an image of known layers downloaded %s", l.Digest)
		}
	}
}

func layers(t *testing.T, dir string) []string {
	t.Helper()
	trees, err := filepath.Glob(filepath.Join(dir, "layers", "sha*"))
	if err != nil {
		t.Fatal(err)
	}
	return trees
}

// TestStoreIsALayout: skopeo reads the store as it is, and finds the bytes
// that were pushed.
func TestStoreIsALayout(t *testing.T) {
	h := host(t)
	s := serve(t, images.Shell)
	id := h.Must("fetch", "--full", s.URL("shell:latest")).Out()
	dir := strings.TrimSuffix(strings.TrimPrefix(image(t, images.Shell), "oci:"), ":shell")
	want := strings.TrimSpace(output(t, "skopeo", "inspect", "--format={{.Digest}}", "oci:"+dir+":shell"))
	if got := strings.Replace(id, "-", ":", 1); got != want {
		t.Errorf("ID %s, want the manifest's digest %s", id, want)
	}
	out, err := exec.Command("skopeo", "copy", "--insecure-policy", "--quiet", "oci:"+filepath.Join(h.Dir, "images"), "dir:"+t.TempDir()).CombinedOutput()
	if err != nil {
		t.Errorf("skopeo cannot read the store: %v\n%s", err, out)
	}
}

func TestImageVerbs(t *testing.T) {
	h := host(t)
	s := serve(t, images.Tiny, images.Shell)
	id := h.Must("fetch", "--full", s.URL("tiny")).Out()
	h.Must("fetch", s.URL("shell"))
	list := h.Must("image", "list").Stdout
	for _, want := range []string{"ID", "NAME", "SIZE", "IMPORT TIME", "LAST USED", id[:19], "tiny", "shell"} {
		if !strings.Contains(list, want) {
			t.Errorf("image list has no %q:\n%s", want, list)
		}
	}
	var all []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Size int64  `json:"size"`
	}
	out := h.Must("image", "list", "--json").Stdout
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 2 {
		t.Fatalf("image list --json: %v\n%s", err, out)
	}
	for _, i := range all {
		if i.ID == "" || i.Name == "" || i.Size <= 0 {
			t.Errorf("image list --json: %+v", i)
		}
	}
	var m map[string]any
	if out := h.Must("image", "cat-manifest", id[:19]).Stdout; json.Unmarshal([]byte(out), &m) != nil {
		t.Errorf("image cat-manifest: %q", out)
	}
	// By ID, shortened, without the network.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := h.Rkt(append([]string{"run", "--net=host", id[:15]}, sh("echo by id")...)...); r.Out() != "by id" {
		t.Errorf("run by ID: %q %s", r.Stdout, r.Stderr)
	}
	if r := h.Rkt(append([]string{"run", "--net=host", s.URL("tiny")}, sh("echo from the store")...)...); r.Out() != "from the store" {
		t.Errorf("run by name without the registry: %q %s", r.Stdout, r.Stderr)
	}
	h.Must("gc", "--grace-period=0s")
	h.Must("image", "rm", id)
	if list := h.Must("image", "list").Stdout; strings.Contains(list, id[:19]) {
		t.Errorf("after image rm:\n%s", list)
	}
	h.Must("image", "gc", "--grace-period=0s")
	if list := h.Must("image", "list", "--no-legend").Stdout; list != "" {
		t.Errorf("after image gc:\n%s", list)
	}
	if trees := layers(t, h.Dir); len(trees) != 0 {
		t.Errorf("after image gc, layer trees are left: %q", trees)
	}
	if blobs, _ := filepath.Glob(filepath.Join(h.Dir, "images", "blobs", "*", "*")); len(blobs) != 0 {
		t.Errorf("after image gc, blobs are left: %q", blobs)
	}
}

// TestImageInUseStays: image gc spares what a pod still needs, prepared pods
// included.
func TestImageInUseStays(t *testing.T) {
	h := host(t)
	uuid := h.Must(append([]string{"prepare", image(t, images.Tiny)}, sh("echo still here")...)...).Out()
	h.Must("image", "gc", "--grace-period=0s")
	if r := h.Rkt("run-prepared", "--net=host", uuid); r.Out() != "still here" {
		t.Errorf("after image gc: status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

// TestBadRegistries: a clear error in one line, a store as it was, and a
// second try that works.
func TestBadRegistries(t *testing.T) {
	for name, fault := range map[string]registry.Faults{
		"truncated": {CutAfter: 1000},
		"corrupted": {Flip: 500},
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			s := serve(t, images.Tiny)
			s.Fail(fault)
			r := h.Rkt("fetch", s.URL("tiny"))
			if r.Status != 254 {
				t.Errorf("exit status %d, want 254\n%s", r.Status, r.Stderr)
			}
			if lines := errorLines(r.Stderr); len(lines) != 1 {
				t.Errorf("the error is not one line:\n%s", r.Stderr)
			}
			storeIsEmpty(t, h.Dir)
			s.Fail(registry.Faults{})
			if r := h.Rkt(append([]string{"run", "--net=host", s.URL("tiny")}, sh("echo fine")...)...); r.Out() != "fine" {
				t.Errorf("after the registry healed: %q\n%s", r.Stdout, r.Stderr)
			}
		})
	}
	t.Run("busy", func(t *testing.T) {
		h := host(t)
		s := serve(t, images.Tiny)
		s.Fail(registry.Faults{Refuse: 1})
		if r := h.Rkt("fetch", s.URL("tiny")); r.Status != 0 {
			t.Errorf("one 503 is not survived: %s", r.Stderr)
		}
	})
	t.Run("no such image", func(t *testing.T) {
		h := host(t)
		s := serve(t, images.Tiny)
		if r := h.Rkt("fetch", s.URL("none:1")); r.Status != 254 || len(errorLines(r.Stderr)) != 1 || !strings.Contains(r.Stderr, "none") {
			t.Errorf("status %d\n%s", r.Status, r.Stderr)
		}
	})
}

// errorLines are the lines of stderr that are neither progress nor hints.
func errorLines(stderr string) []string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if strings.Contains(line, "cannot ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func storeIsEmpty(t *testing.T, dir string) {
	t.Helper()
	for _, pattern := range []string{"images/rkt/records/*", "images/rkt/names/*", "images/rkt/tmp/*", "layers/sha*", "layers/tmp/*"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) != 0 {
			t.Errorf("left in the store: %q", found)
		}
	}
}

// TestCredentials: from Docker's config and from rkt's auth.d.
func TestCredentials(t *testing.T) {
	s := serve(t, images.Tiny)
	s.Fail(registry.Faults{User: "alice", Password: "secret"})
	t.Run("none", func(t *testing.T) {
		h := host(t)
		if r := h.Rkt("fetch", s.URL("tiny")); r.Status != 254 || strings.Contains(r.Stderr, "secret") {
			t.Errorf("status %d\n%s", r.Status, r.Stderr)
		}
	})
	t.Run("docker", func(t *testing.T) {
		h := host(t)
		write(t, filepath.Join(h.Home(), ".docker", "config.json"), `{"auths":{"`+s.Addr+`":{"auth":"YWxpY2U6c2VjcmV0"}}}`)
		if r := h.Rkt("fetch", s.URL("tiny")); r.Status != 0 {
			t.Errorf("status %d\n%s", r.Status, r.Stderr)
		}
	})
	t.Run("rkt", func(t *testing.T) {
		h := host(t)
		write(t, filepath.Join(h.LocalConfig(), "auth.d", "test.json"), `{"rktKind":"dockerAuth","rktVersion":"v1","registries":["`+s.Addr+`"],"credentials":{"user":"alice","password":"secret"}}`)
		if r := h.Rkt("fetch", s.URL("tiny")); r.Status != 0 {
			t.Errorf("status %d\n%s", r.Status, r.Stderr)
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTwoFetchers: two processes fetch the same image; both succeed, and the
// layers travel once.
func TestTwoFetchers(t *testing.T) {
	h := host(t)
	s := serve(t, images.Etcd)
	a, b := h.Start("fetch", "--full", s.URL("etcd")), h.Start("fetch", "--full", s.URL("etcd"))
	if sa, sb := a.Wait(), b.Wait(); sa != 0 || sb != 0 {
		t.Errorf("exit statuses %d and %d\n%s\n%s", sa, sb, a.Output(), b.Output())
	}
	if r := h.Rkt("run", "--net=none", s.URL("etcd"), "--exec=/usr/bin/etcd", "--", "--version"); r.Status != 0 {
		t.Errorf("status %d\n%s", r.Status, r.Stderr)
	}
}

// TestDistribution: the registry the world runs, from Debian's package.
func TestDistribution(t *testing.T) {
	h := host(t)
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("needs docker-registry (Debian package)")
	}
	addr, stop, err := registry.StartDistribution(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	dir := strings.TrimSuffix(strings.TrimPrefix(image(t, images.Shell), "oci:"), ":shell")
	if err := registry.Push(addr, dir, "shell", "library/shell:1.0"); err != nil {
		t.Fatal(err)
	}
	if r := h.Rkt("run", "--net=host", "docker://"+addr+"/library/shell:1.0", "--exec=/bin/bash", "--", "-c", "cat /srv/content"); r.Out() != "from the image" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}
