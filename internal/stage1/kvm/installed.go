// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rkt/rkt/internal/hint"
)

// machineFiles are what the flavor has beside its program.
type machineFiles struct{ kernel, initramfs string }

// installed finds them: in kvm/ beside the program.
func installed() (f machineFiles, err error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return f, fmt.Errorf("cannot find the guest's kernel: %w", err)
	}
	dir := filepath.Join(filepath.Dir(exe), "kvm")
	f = machineFiles{filepath.Join(dir, "vmlinux"), filepath.Join(dir, "initramfs")}
	for _, path := range []string{f.kernel, f.initramfs} {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return f, hint.Wrap(fmt.Errorf("cannot start a virtual machine: there is no %s", path), "`apt install rkt-stage1-kvm` installs it, or `make stage1-kvm` in rkt's source tree makes it")
		}
		if err != nil {
			return f, fmt.Errorf("cannot find the guest's kernel: %w", err)
		}
	}
	return f, nil
}
