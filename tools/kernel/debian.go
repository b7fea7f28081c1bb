// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/tools/debian"
)

// Record is where in a kernel's directory it says which package it is of, as
// debian.Record writes it.
const Record = "packages"

// Download unpacks Debian's kernel for virtual machines of an architecture, that
// which linux-image-cloud-ARCH depends on, and returns its directory, with
// boot/vmlinuz-*, lib/modules, Record, the package's copyright at its place and the
// licences at debian.Licenses. keep is where packages are kept, and what is there is
// not downloaded; "" is debian.Cache.
func Download(arch, keep string) (dir string, err error) {
	if keep == "" {
		if keep, err = debian.Cache(); err != nil {
			return "", err
		}
	}
	debs, err := debian.Keep(keep, "kernel", arch, func(a debian.Archive) ([]string, error) {
		names, err := a.Depends(false, "linux-image-cloud-"+arch)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasPrefix(name, "linux-image-") && name != "linux-image-cloud-"+arch {
				return []string{name, "base-files"}, nil
			}
		}
		return nil, fmt.Errorf("cannot find the kernel's package: linux-image-cloud-%s depends on none", arch)
	})
	if err != nil {
		return "", err
	}
	dir = filepath.Join(debs, "unpacked")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(debs, "unpacking-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	list, err := debian.Read(debs)
	if err != nil {
		return "", err
	}
	var kernel []debian.Package
	for _, p := range list {
		wanted := func(name string) bool { return strings.HasPrefix(name, debian.Licenses+"/") }
		if p.Name != "base-files" {
			kernel = append(kernel, p)
			wanted = func(name string) bool {
				return strings.HasPrefix(name, "boot/vmlinuz-") || strings.HasPrefix(name, "usr/lib/modules/") || name == debian.CopyrightPath(p.Name)
			}
		}
		if err := unpack(p, tmp, wanted); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(tmp, Record), debian.Record(kernel), 0o644); err != nil {
		return "", err
	}
	if err := os.Symlink("usr/lib", filepath.Join(tmp, "lib")); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// unpack writes what is wanted of a package below dir.
func unpack(p debian.Package, dir string, wanted func(name string) bool) error {
	return p.Files(func(h *tar.Header, text []byte) error {
		if !wanted(h.Name) {
			return nil
		}
		to := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeSymlink {
			return os.Symlink(h.Linkname, to)
		}
		return os.WriteFile(to, text, 0o644)
	})
}

// Image is the path of the kernel itself.
func Image(dir string) (string, error) {
	boot, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(boot) != 1 {
		return "", fmt.Errorf("cannot find the kernel: %d files %s/boot/vmlinuz-*", len(boot), dir)
	}
	return boot[0], nil
}
