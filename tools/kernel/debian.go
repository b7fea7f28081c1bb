// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Download unpacks Debian's kernel package, that which linux-image-cloud-amd64
// depends on, into a cache, and returns its directory, with boot/vmlinuz-* and
// lib/modules.
func Download() (string, error) {
	cache := filepath.Join(os.TempDir(), fmt.Sprintf("rkt-vm-kernel-%d", os.Getuid()))
	if _, err := os.Stat(filepath.Join(cache, "boot")); err == nil {
		return cache, nil
	}
	tmp, err := os.MkdirTemp("", "rkt-vm-kernel-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	text, err := exec.Command("apt-cache", "depends", "linux-image-cloud-amd64").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the kernel's package: %w", err)
	}
	_, name, ok := strings.Cut(string(text), "Depends: linux-image-")
	if !ok {
		return "", fmt.Errorf("cannot find the kernel's package: linux-image-cloud-amd64 depends on none")
	}
	name = "linux-image-" + strings.Fields(name)[0]
	cmd := exec.Command("apt-get", "download", name)
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot download %s: %w\n%s", name, err, out)
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(debs) != 1 {
		return "", fmt.Errorf("cannot download %s: %d packages came", name, len(debs))
	}
	if out, err := exec.Command("dpkg", "-x", debs[0], filepath.Join(tmp, "kernel")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot unpack %s: %w\n%s", name, err, out)
	}
	return cache, os.Rename(filepath.Join(tmp, "kernel"), cache)
}

// Image is the path of the kernel itself.
func Image(dir string) (string, error) {
	boot, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(boot) != 1 {
		return "", fmt.Errorf("cannot find the kernel: %d files %s/boot/vmlinuz-*", len(boot), dir)
	}
	return boot[0], nil
}
