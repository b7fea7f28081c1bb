// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/test/web"
)

// appcImage makes an ACI with GNU tar. files are below rootfs.
func appcImage(t *testing.T, name, version string, more map[string]any, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	m := map[string]any{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": name, "labels": []map[string]string{
		{"name": "version", "value": version}, {"name": "os", "value": "linux"},
		{"name": "arch", "value": map[string]string{"amd64": "amd64", "arm64": "aarch64"}[runtime.GOARCH]}}}
	for k, v := range more {
		m[k] = v
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"manifest": string(manifest)}
	for p, content := range files {
		all["rootfs/"+p] = content
	}
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for p, content := range all {
		p = filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "image.aci")
	if b, err := exec.Command("tar", "-C", dir, "--owner=0", "--group=0", "-czf", out, "manifest", "rootfs").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, b)
	}
	return out
}

type object = map[string]any

func dependsOn(names ...string) []object {
	var list []object
	for _, n := range names {
		list = append(list, object{"imageName": n})
	}
	return list
}

// online gives a host whose rkt sees only the test's own web, with discovery
// for example.com.
func online(t *testing.T) (*rkt.Host, func(name, path string)) {
	t.Helper()
	h := host(t)
	s, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for name, value := range s.Env() {
		h.Env = append(h.Env, name+"="+value)
	}
	s.Text("https://example.com/", `<meta name="ac-discovery" content="example.com https://img.example.com/{name}.{ext}">`)
	return h, func(name, path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s.File("https://img.example.com/"+name+".aci", b)
	}
}

// TestDependencies: a pod's root is put together of an image and those that it
// depends on, stacked or, with a path whitelist, rendered.
func TestDependencies(t *testing.T) {
	h, sell := online(t)
	tiny, err := images.ACI("xz")
	if err != nil {
		t.Fatal(err)
	}
	sell("example.com/tiny", tiny)
	sell("example.com/data", appcImage(t, "example.com/data", "1", object{"dependencies": dependsOn("example.com/tiny")},
		map[string]string{"srv/data": "data", "srv/who": "data"}))
	app := object{"exec": []string{"/bin/sh", "-c", "cd /srv; for f in *; do echo $f $(cat $f); done; readlink /bin/sh"}, "user": "0", "group": "0"}
	files := map[string]string{"srv/who": "app", "srv/app": "app"}
	sell("example.com/app", appcImage(t, "example.com/app", "1",
		object{"dependencies": dependsOn("example.com/tiny", "example.com/data"), "app": app}, files))
	sell("example.com/chosen", appcImage(t, "example.com/chosen", "1",
		object{"dependencies": dependsOn("example.com/app"), "app": app, "pathWhitelist": []string{"/bin/busybox", "/bin/sh", "/bin/cat", "/bin/readlink", "/srv/who", "/nowhere"}}, nil))
	for name, want := range map[string]string{
		"example.com/app":    "app app\ndata data\nwho app\nbusybox\n",
		"example.com/chosen": "who app\nbusybox\n",
	} {
		r := h.Rkt("run", "--net=none", name)
		if got := strings.ReplaceAll(r.Stdout, "/bin/busybox", "busybox"); r.Status != 0 || got != want {
			t.Errorf("%s: status %d, stdout %q, want %q\n%s", name, r.Status, r.Stdout, want, r.Stderr)
		}
		// From the store, and beside another.
		r = h.Rkt("run", "--net=none", "--pull-policy=never", name, "--name=one", "--exec=/bin/sh", "--", "-c", "cat /srv/who")
		if r.Status != 0 || r.Stdout != "app" {
			t.Errorf("%s again: status %d, stdout %q\n%s", name, r.Status, r.Stdout, r.Stderr)
		}
	}
	// gc keeps what the remaining image is made of.
	h.Must("gc", "--grace-period=0s")
	h.Must("image", "rm", "example.com/tiny", "example.com/data", "example.com/app")
	h.Must("image", "gc", "--grace-period=1h")
	if r := h.Rkt("run", "--net=none", "--pull-policy=never", "example.com/chosen"); r.Status != 0 || !strings.HasPrefix(r.Stdout, "who app\n") {
		t.Errorf("after gc: status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}
