// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// ConfineVolume gives a volume's mount, attached nowhere yet, the flags that the
// document has for it, and set, which are MOUNT_ATTR_ flags.
func ConfineVolume(fd int, v *contract.Mount, set uint64) error {
	if v.ReadOnly {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	if v.NoSUID {
		set |= unix.MOUNT_ATTR_NOSUID
	}
	if v.NoExec {
		set |= unix.MOUNT_ATTR_NOEXEC
	}
	err := mount.SetAttr(fd, set, 0, v.Recursive)
	if err == nil && (v.Private || v.ReadOnly || !v.Recursive) {
		// What the host mounts there later would come without these flags, and
		// below a volume that is to show nothing below.
		err = mount.Private(fd, v.Recursive)
	}
	return err
}
