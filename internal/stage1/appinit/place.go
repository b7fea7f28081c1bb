// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
)

// LookAt tells whether an app's root has something at path, and whether that is an
// empty file, which is only a place to mount over, of the image's making or
// stage0's.
func LookAt(root int, path string) (exists, empty bool) {
	fd, err := safepath.OpenInRoot(root, path, unix.O_PATH)
	if err != nil {
		return false, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return true, err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0
}
