// SPDX-License-Identifier: Apache-2.0

// Package cache keeps what tests make once and read often, in a directory of this
// user's alone under the temporary directory.
package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Dir returns the directory of that key in the cache called name, filled by fill
// if it is not there yet. It appears by rename, so two test binaries may ask at
// once.
func Dir(name, key string, fill func(dir string) error) (string, error) {
	cache := filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d", name, os.Getuid()))
	if err := os.Mkdir(cache, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	st, err := os.Lstat(cache)
	if err != nil {
		return "", err
	}
	if owner := st.Sys().(*syscall.Stat_t).Uid; !st.IsDir() || int(owner) != os.Getuid() || st.Mode().Perm() != 0o700 {
		return "", fmt.Errorf("cannot use %s: not a private directory of ours", cache)
	}
	dir := filepath.Join(cache, key)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}
