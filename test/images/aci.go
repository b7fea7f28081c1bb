// SPDX-License-Identifier: Apache-2.0

package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// ACI returns the path of the tiny image as an App Container Image (appc
// 0.8.11), made with tar, and packed with the named program: "" (plain),
// "gzip", "bzip2", "xz" or "zstd". Its name is example.com/tiny, its version
// 1.0; it runs `id` as user 12, group 34, and has a mount point "data" at
// /data.
func ACI(packer string) (string, error) {
	if err := tiny.find(); err != nil {
		return "", err
	}
	dir, err := cached("aci-"+packer, []string{tiny.files[0].host}, func(dir string) error { return buildACI(dir, packer) })
	return filepath.Join(dir, "tiny.aci"), err
}

func buildACI(dir, packer string) error {
	root := filepath.Join(dir, "rootfs")
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := copyTo(tiny.files[0].host, filepath.Join(bin, "busybox"), 0o755); err != nil {
		return err
	}
	var errs []error
	for link, target := range tiny.links {
		errs = append(errs, os.Symlink(target, filepath.Join(bin, filepath.Base(link))))
	}
	manifest, err := json.Marshal(map[string]any{
		"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/tiny",
		"labels": []map[string]string{{"name": "version", "value": "1.0"}, {"name": "os", "value": "linux"}, {"name": "arch", "value": arch()}},
		"app": map[string]any{
			"exec": []string{"/bin/id"}, "user": "12", "group": "34", "workingDirectory": "/",
			"environment": []map[string]string{{"name": "FROM", "value": "the manifest"}},
			"mountPoints": []map[string]any{{"name": "data", "path": "/data"}},
		},
	})
	errs = append(errs, err, os.WriteFile(filepath.Join(dir, "manifest"), manifest, 0o644))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	args := []string{"-C", dir, "--owner=0", "--group=0", "--numeric-owner", "-cf", filepath.Join(dir, "tiny.aci")}
	if packer != "" {
		args = append([]string{"--use-compress-program=" + packer}, args...)
	}
	if out, err := exec.Command("tar", append(args, "manifest", "rootfs")...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make an ACI: %w\n%s", err, out)
	}
	return os.RemoveAll(root)
}

// arch is this machine in appc's words.
func arch() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64"
	}
	return runtime.GOARCH
}
