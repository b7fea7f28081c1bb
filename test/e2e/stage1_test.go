// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"archive/tar"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/gpg"
	"github.com/rkt/rkt/test/layout"
)

// flavorDir is the flavor in examples/stage1-python, and where it is packed.
const flavorDir = "../../examples/stage1-python"

func exampleACI(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3")
	}
	path := filepath.Join(t.TempDir(), "stage1.aci")
	cmd := exec.Command(flavorDir+"/build-aci", path)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(install.Bin("rkt"))+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestStage1Trust: an image of a flavor takes a signature of a key that is trusted,
// as any image does; a pod that runs is not asked again.
func TestStage1Trust(t *testing.T) {
	h, keys := host(t), gpg.New(t)
	path := exampleACI(t)
	id := tinyID(t, h)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fpr := keys.Key("Flavors <flavors@example.com>", "rsa3072", "1y")
	pub := filepath.Join(t.TempDir(), "key.asc")
	for name, content := range map[string][]byte{path + ".asc": keys.Sign(fpr, data), pub: keys.Export(fpr)} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string{"run", "--net=host", "--stage1-path=" + path, id}, sh("echo started")...)
	refused := func() {
		t.Helper()
		if r := secured(h, args...); r.Status != 254 || r.Stdout != "" || !strings.Contains(r.Stderr, `no key is trusted to sign image "example.com/stage1-python"`) {
			t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
		}
	}
	refused()
	h.Must("trust", "--prefix=example.com/stage1-python", "--skip-fingerprint-review", pub)
	if r := secured(h, args...); r.Status != 0 || r.Stdout != "started\n" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	p, uuid := startTiny(t, h, []string{"--stage1-path=" + path}, nil, "echo ready; exec sleep 1000")
	h.Must("trust", "rm", fpr)
	refused()
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "exit 3"); r.Status != 3 {
		t.Errorf("enter: status %d\n%s", r.Status, r.Stderr)
	}
	h.Must("stop", uuid)
	p.Wait()
}

// TestStage1Layers: the flavor of an image of several layers is what all of them
// make; it is there as long as a pod has it, whatever becomes of the image.
func TestStage1Layers(t *testing.T) {
	h := host(t)
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3")
	}
	dir := t.TempDir()
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(flavorDir + "/stage1.json")
	if err != nil {
		t.Fatal(err)
	}
	low, err1 := l.AddLayer(layout.Gzip, func(tw *tar.Writer) error {
		return errors.Join(layout.File(tw, "stage1.json", 0o644, string(manifest)), layout.File(tw, "stage1", 0o755, "#!/bin/sh\nexit 99\n"))
	})
	high, err2 := l.AddLayer(layout.Gzip, func(tw *tar.Writer) error {
		// The program that the manifest names is a link, as if the tree were a root.
		return errors.Join(layout.Copy(tw, flavorDir+"/stage1", "opt/flavor"), layout.File(tw, ".wh.stage1", 0o644, ""), layout.Symlink(tw, "stage1", "/opt/flavor"))
	})
	_, err3 := l.AddImage("v1", layout.Config{}, low, high)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	p, uuid := startTiny(t, h, []string{"--stage1-path=" + dir}, []string{"--user=12"}, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
	h.Must("image", "rm", h.Must("fetch", "--full", "oci:"+dir+":v1").Out())
	h.Must("image", "gc", "--grace-period=0s")
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "id -u; exit 5"); r.Status != 5 || r.Stdout != "12\n" {
		t.Errorf("enter: status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	h.Must("stop", uuid)
	if got := p.Wait(); got != 9 {
		t.Errorf("status %d\n%s", got, p.Output())
	}
	h.Must("gc", "--grace-period=0s")
	h.Must("image", "gc", "--grace-period=0s")
	layers, err := filepath.Glob(filepath.Join(h.Dir, "layers", "sha*"))
	if err != nil || len(layers) > 0 {
		t.Errorf("trees are left: %q, %v", layers, err)
	}
	// From here nothing of it is stored: it is merged anew.
	if r := tiny(t, h, []string{"--stage1-path=" + dir}, nil, "exit 4"); r.Status != 4 {
		t.Errorf("status %d\n%s", r.Status, r.Stderr)
	}
}
