// SPDX-License-Identifier: Apache-2.0

package rootless

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/userns"
)

// RootDir is where root's data lies unless --dir or a paths.d file says otherwise.
const RootDir = "/var/lib/rkt"

// envDir is an ordinary user's --dir. Root's rkt does not look at it.
const envDir = "RKT_DIR"

// Directory is rkt's data directory: flag (--dir), the `data` path of the
// configuration or the default; absolute, with links resolved as far as it exists.
// What the system's configuration says is root's: the data of an ordinary user,
// which user says the caller is, lies elsewhere.
func Directory(flag string, dirs config.Dirs, user bool) (string, error) {
	dir := flag
	if dir == "" && user {
		var err error
		if dir, err = userDir(dirs); err != nil {
			return "", err
		}
	}
	if dir == "" {
		paths, err := config.LoadPaths(dirs)
		if err != nil {
			return "", err
		}
		if dir = paths.Data; dir == "" {
			dir = RootDir
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("cannot use data directory %q: %w", dir, err)
	}
	// A directory that does not exist yet is made by the room that needs it.
	switch real, err := filepath.EvalSymlinks(abs); {
	case err == nil:
		return real, ownData(real)
	case errors.Is(err, fs.ErrNotExist):
		return abs, nil
	default:
		return "", fmt.Errorf("cannot use data directory %q: %w", dir, err)
	}
}

// ownData refuses the machine's root a data directory of another's: its documents
// say what rkt is to execute, mount and remove. Root of a user namespace cannot do
// what its maker may not.
func ownData(dir string) error {
	if os.Geteuid() != 0 || !userns.Initial() {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("cannot use data directory %q: %w", dir, err)
	}
	if st.Uid != 0 {
		return hint.Wrap(fmt.Errorf("cannot use data directory %q: it is user %d's", dir, st.Uid), "run rkt as that user")
	}
	return nil
}

// userDir is an ordinary user's data directory.
func userDir(dirs config.Dirs) (string, error) {
	if dir := os.Getenv(envDir); dir != "" {
		return dir, nil
	}
	if dirs.User != "" {
		paths, err := config.LoadPaths(config.Dirs{User: dirs.User})
		if err != nil || paths.Data != "" {
			return paths.Data, err
		}
	}
	if dir := dataDir(); dir != "" {
		return dir, nil
	}
	return "", hint.Wrap(errors.New("cannot find your data directory: neither HOME nor XDG_DATA_HOME is set to an absolute path"), "say where it is to be with --dir")
}

// dataDir is where the user's data lies by default (XDG Base Directory
// Specification): "" if the environment does not say where home is.
func dataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "rkt")
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "rkt")
	}
	return ""
}
