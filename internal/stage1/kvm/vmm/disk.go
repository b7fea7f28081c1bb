// SPDX-License-Identifier: Apache-2.0

package vmm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/wait"
)

// diskPaths are where the program is that makes disks.
func diskPaths() []string { return []string{"/usr/bin/mkfs.erofs", "/usr/sbin/mkfs.erofs"} }

// MakeDisk makes a file system (EROFS) of all that is in a directory, in a file of no
// name any more, for Machine.Disks. It is made at path, where nothing may be.
func MakeDisk(dir, path string) (*os.File, error) {
	program, ok := find(diskPaths())
	if !ok {
		return nil, hint.Wrap(errors.New("cannot give the virtual machine its files: there is neither virtiofsd nor mkfs.erofs"),
			"install one: virtiofsd is in Debian 12's package qemu-system-common, mkfs.erofs in erofs-utils")
	}
	defer os.Remove(path)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	c := &forkexec.Child{}
	place(c, null, nil)
	// It says what it does on standard output; owners, modes, times and extended
	// attributes are those in dir.
	if err := c.Exec(program, []string{program, "--quiet", path, dir}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}); err != nil {
		return nil, err
	}
	pid, err := c.Start()
	if err != nil {
		return nil, fmt.Errorf("cannot start mkfs.erofs: cannot %w", err)
	}
	status, err := wait.For(pid)
	if err == nil && status != 0 {
		err = fmt.Errorf("cannot make a disk: mkfs.erofs has ended with status %d", status)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}
