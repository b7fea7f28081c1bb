// SPDX-License-Identifier: Apache-2.0

package rmtree

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func gone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	must(t, os.MkdirAll(filepath.Join(victim, "sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(victim, "sub", "f"), []byte("keep me"), 0o644))

	tree := filepath.Join(dir, "tree")
	must(t, os.MkdirAll(filepath.Join(tree, "a/b/c"), 0o755))
	for i := range 1100 { // more than one read of the directory
		must(t, os.WriteFile(filepath.Join(tree, "a", fmt.Sprint(i)), nil, 0))
	}
	must(t, os.WriteFile(filepath.Join(tree, "a/b/big"), make([]byte, 1<<20), 0o600))
	must(t, os.Symlink(victim, filepath.Join(tree, "link")))
	must(t, os.Symlink("../../victim", filepath.Join(tree, "a/link")))
	must(t, os.Symlink("nowhere", filepath.Join(tree, "a/dangling")))
	must(t, unix.Mkfifo(filepath.Join(tree, "a/fifo"), 0))
	must(t, os.Link(filepath.Join(victim, "sub", "f"), filepath.Join(tree, "hard")))

	freed, err := Remove(tree)
	must(t, err)
	if freed < 1<<20 {
		t.Errorf("freed %d bytes, want at least a mebibyte", freed)
	}
	gone(t, tree)
	if b, err := os.ReadFile(filepath.Join(victim, "sub", "f")); err != nil || string(b) != "keep me" {
		t.Errorf("what a link points to: %q, %v", b, err)
	}
}

func TestSimplePaths(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"missing", "no/parent"} {
		if freed, err := Remove(filepath.Join(dir, p)); freed != 0 || err != nil {
			t.Errorf("%s: %d, %v", p, freed, err)
		}
	}
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Symlink(dir, link))
	for _, p := range []string{link, file} {
		_, err := Remove(p)
		must(t, err)
		gone(t, p)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

// A path far longer than PATH_MAX and deeper than descriptors reach.
func TestDeep(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	must(t, os.Mkdir(tree, 0o700))
	// Names that look like those the remover gives itself.
	must(t, os.MkdirAll(filepath.Join(tree, ".deep-0", "x"), 0o700))
	fd, err := unix.Open(tree, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range 1500 {
		must(t, unix.Mkdirat(fd, "a-directory", 0o700))
		must(t, unix.Mkdirat(fd, "sibling", 0o500))
		next, err := unix.Openat(fd, "a-directory", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	_, err = Remove(tree)
	must(t, err)
	gone(t, tree)
}

// makeOdd fills tree with directories that their owner cannot write or search.
func makeOdd(t *testing.T, tree string) {
	t.Helper()
	for i, mode := range []os.FileMode{0, 0o100, 0o200, 0o400, 0o500, 0o555, 0o077} {
		d := filepath.Join(tree, fmt.Sprint(i))
		must(t, os.MkdirAll(filepath.Join(d, "sub", "subsub"), 0o700))
		must(t, os.WriteFile(filepath.Join(d, "f"), nil, 0))
		must(t, os.Chmod(filepath.Join(d, "sub"), mode))
		must(t, os.Chmod(d, mode))
	}
}

func TestOddModes(t *testing.T) {
	if dir := os.Getenv("RMTREE_TEST_DIR"); dir != "" { // the child below
		makeOdd(t, dir)
		if _, err := Remove(dir); err != nil {
			t.Fatal(err)
		}
		return
	}
	tree := filepath.Join(t.TempDir(), "tree")
	makeOdd(t, tree)
	_, err := Remove(tree)
	must(t, err)
	gone(t, tree)

	if os.Getuid() != 0 {
		return
	}
	// Root is above modes; a user is not.
	base, err := os.MkdirTemp("", "rmtree")
	must(t, err)
	defer os.RemoveAll(base)
	must(t, os.Chmod(base, 0o777))
	exe := filepath.Join(base, "test")
	b, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(exe, b, 0o755))
	cmd := exec.Command(exe, "-test.run=^TestOddModes$")
	cmd.Dir = base
	cmd.Env = append(os.Environ(), "RMTREE_TEST_DIR="+filepath.Join(base, "tree"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as a user: %v\n%s", err, out)
	}
	gone(t, filepath.Join(base, "tree"))
}

func TestImmutable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	tree := filepath.Join(t.TempDir(), "tree")
	must(t, os.MkdirAll(filepath.Join(tree, "d/e"), 0o755))
	must(t, os.WriteFile(filepath.Join(tree, "d/f"), nil, 0))
	must(t, os.WriteFile(filepath.Join(tree, "d/e/g"), nil, 0))
	for _, c := range [][2]string{{"+i", "d/f"}, {"+a", "d/e"}, {"+i", "d"}} {
		if out, err := exec.Command("chattr", c[0], filepath.Join(tree, c[1])).CombinedOutput(); err != nil {
			t.Skipf("chattr %s: %v: %s", c[0], err, out)
		}
	}
	if err := os.Remove(filepath.Join(tree, "d/f")); err == nil {
		t.Skip("this file system does not keep immutable files")
	}
	_, err := Remove(tree)
	must(t, err)
	gone(t, tree)
}

// A mount in the tree, even of the same file system, is not entered.
func TestMountPoint(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if dir := os.Getenv("RMTREE_TEST_DIR"); dir != "" { // in a mount namespace of its own
		must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		must(t, unix.Mount(dir+"/victim", dir+"/tree/d/mnt", "", unix.MS_BIND, ""))
		_, err := Remove(dir + "/tree")
		if err == nil || !strings.Contains(err.Error(), "tree/d/mnt") {
			t.Errorf("got %v", err)
		}
		gone(t, dir+"/tree/d/file")
		return
	}
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "tree/d/mnt"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "tree/d/file"), nil, 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "victim"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "victim/f"), nil, 0o644))
	cmd := exec.Command(os.Args[0], "-test.run=^TestMountPoint$")
	cmd.Env = append(os.Environ(), "RMTREE_TEST_DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "victim/f")); err != nil {
		t.Error(err)
	}
}
