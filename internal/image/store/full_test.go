// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// On a full disk everything fails with the kernel's word for it, and the store
// stays as it was.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := os.Getenv(childDir)
	if dir == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
		cmd.Env = append(os.Environ(), childDir+"="+t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"))
	s, err := Open(dir)
	must(t, err)
	a := commitImage(t, s, "a", []string{"a"}, "base", "a")
	rec := addImage(t, s, "b", "base", "b")
	rec.Names = []string{"a", "b"}

	w, err := s.NewBlob()
	must(t, err)
	var werr error
	for werr == nil {
		_, werr = w.Write(make([]byte, 4096))
	}
	if !errors.Is(werr, unix.ENOSPC) || werr.Error() != "cannot store blob: no space left on device" {
		t.Error(werr)
	}
	// Full now, as long as w holds what it got.
	if err := s.Commit(rec); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if d, err := s.NewLayer(); err == nil { // an empty directory may still fit
		must(t, d.Abort())
	} else if !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if r, err := s.ByName("a"); err != nil || r.ID != a.ID {
		t.Errorf("%s, %v", r.ID, err)
	}
	if _, err := s.ByID(string(rec.ID)); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	w.Abort()
	must(t, s.Commit(rec))
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Base(p)[0] == '.' {
			t.Errorf("%s is left", p)
		}
		return err
	}))
	must(t, s.Close())
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
}

func TestScratch(t *testing.T) {
	s := newStore(t)
	for _, make := range []func() (*os.File, error){s.Scratch, s.namedScratch} {
		f, err := make()
		must(t, err)
		defer f.Close()
		_, err = f.WriteString("x")
		must(t, err)
		fi, err := f.Stat()
		must(t, err)
		if n := fi.Sys().(*syscall.Stat_t).Nlink; n != 0 {
			t.Errorf("%d names", n)
		}
	}
	verify(t, s)
}
