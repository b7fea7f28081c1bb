// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// LoadTree reads a flavor that is a tree of its own, that of an image or one that
// an administrator has put together, with contract.TreeManifest at its root.
//
// Its programs run on the host as whoever calls rkt, and their paths come from a
// stranger: they are resolved as a process would whose root is the tree, so that
// no link and no ".." leads out of it, and each, with all directories on the way
// to it, must belong to root, or to the caller, and be nobody else's to write.
// So must everything in the directories that the manifest names as its code.
// Whether the tree as a whole is trusted is the caller's to know. Errors:
// fs.ErrNotExist if there is no manifest.
func LoadTree(dir string) (Flavor, error) {
	t, err := openTree(dir)
	if err != nil {
		return Flavor{}, fmt.Errorf("cannot read stage1 %s: %w", dir, err)
	}
	defer unix.Close(t.root)
	f := Flavor{Path: filepath.Join(dir, contract.TreeManifest)}
	_, fd, err := t.open(contract.TreeManifest, unix.O_RDONLY|unix.O_NONBLOCK)
	if err == nil {
		f.Manifest, err = readManifest(fd)
		unix.Close(fd)
	}
	if err != nil {
		return Flavor{}, fmt.Errorf("cannot read stage1 manifest %s: %w", f.Path, err)
	}
	if err := f.check(); err != nil {
		return Flavor{}, err
	}
	for _, dir := range f.Manifest.Code {
		if err := t.code(dir); err != nil {
			return Flavor{}, fmt.Errorf("cannot use stage1 %s: %w", f.Path, err)
		}
	}
	for name, v := range f.Manifest.Entrypoints {
		program, err := t.program(v, name == "init")
		if err != nil {
			return Flavor{}, fmt.Errorf("cannot use stage1 %s: entry point %q: %w", f.Path, name, err)
		}
		v = slices.Clone(v)
		v[0] = program
		f.Manifest.Entrypoints[name] = v
	}
	return f, nil
}

// flavorTree is an open tree.
type flavorTree struct {
	dir  string // as it was asked for
	root int
	at   string // where the kernel says that root is
}

func openTree(dir string) (*flavorTree, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	t := &flavorTree{dir: dir, root: fd}
	if t.at, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
		err = ours(fd, "/")
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return t, nil
}

// open opens a file of the tree, and gives its path below the root, without links.
// The caller closes the descriptor.
func (t *flavorTree) open(path string, flags int) (string, int, error) {
	fd, err := safepath.OpenInRoot(t.root, path, flags)
	if err != nil {
		return "", -1, err
	}
	path, err = t.owned(fd)
	if err != nil {
		unix.Close(fd)
		return "", -1, err
	}
	return path, fd, nil
}

// owned tells where in the tree a file is, if it and the directories on the way to
// it are ours.
func (t *flavorTree) owned(fd int) (string, error) {
	at, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	path, in := strings.CutPrefix(at, strings.TrimSuffix(t.at, "/")+"/")
	if !in {
		return "", errors.New("it is not in the flavor's tree")
	}
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		dir, err := safepath.OpenBeneath(t.root, path[:i], unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		err = ours(dir, "/"+path[:i])
		unix.Close(dir)
		if err != nil {
			return "", err
		}
	}
	return path, ours(fd, "/"+path)
}

// ours refuses what somebody else may change.
func ours(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	return Unchangeable(&st, path, false)
}

// Unchangeable refuses a file or directory that others than root and the caller may
// change, path being its name in errors. sticky: a directory in which nobody moves
// another's files will do, for what root or the caller has in it.
func Unchangeable(st *unix.Stat_t, path string, sticky bool) error {
	if int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return fmt.Errorf("%s belongs to user %d, who could change it", path, st.Uid)
	}
	if st.Mode&0o022 != 0 && !(sticky && st.Mode&unix.S_ISVTX != 0) {
		return fmt.Errorf("%s may be changed by others: its mode is %04o", path, st.Mode&0o7777)
	}
	return nil
}

// program is the path of an entry point's program outside of the tree.
func (t *flavorTree) program(v []string, first bool) (string, error) {
	if len(v) == 0 || v[0] == "" {
		return "", errors.New("it names no program")
	}
	path, fd, err := t.open(v[0], unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return "", fmt.Errorf("cannot use program %q: %w", v[0], err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return "", fmt.Errorf("cannot use program %q: it cannot be executed", v[0])
	}
	if first && isScript(fd) {
		return "", fmt.Errorf("cannot use program %q: the first process of a pod cannot be a script", v[0])
	}
	return filepath.Join(t.dir, path), nil
}

// isScript tells whether the kernel would execute another program in this one's
// place.
func isScript(fd int) bool {
	var b [2]byte
	n, err := unix.Pread(fd, b[:], 0)
	return err == nil && n == 2 && string(b[:]) == "#!"
}
