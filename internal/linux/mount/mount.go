// SPDX-License-Identifier: Apache-2.0

// Package mount makes and places mounts by descriptor (fsopen(2), open_tree(2),
// move_mount(2), mount_setattr(2); Linux 5.12), so that no path given by a
// stranger is walked when something is mounted. Every descriptor returned is
// close-on-exec and the caller's to close; a mount that is not attached ends
// with its descriptor.
package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// New makes a detached mount of a new filesystem. attr are MOUNT_ATTR_ flags;
// options are "key=value" or "flag".
func New(fstype string, attr int, options ...string) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("cannot open filesystem %s: %w", fstype, err)
	}
	defer unix.Close(fs)
	for _, o := range options {
		if key, value, ok := cut(o); ok {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return -1, fmt.Errorf("cannot set %s of %s: %w", o, fstype, reason(fs, err))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("cannot create %s: %w", fstype, reason(fs, err))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, fmt.Errorf("cannot mount %s: %w", fstype, reason(fs, err))
	}
	return fd, nil
}

func cut(s string) (key, value string, ok bool) {
	for i := 0; i < len(s); i++ {
		if s[i] == '=' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// reason adds what the kernel wrote into the filesystem context's log.
func reason(fs int, err error) error {
	buf := make([]byte, 512)
	n, rerr := unix.Read(fs, buf)
	if rerr != nil || n < 3 {
		return err
	}
	text := buf[2:n] // after "e "
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	return fmt.Errorf("%w (%s)", err, text)
}

// Clone makes a detached copy of what is mounted at path below dirfd; an empty
// path copies dirfd itself.
func Clone(dirfd int, path string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(dirfd, path, flags)
	if err != nil {
		return -1, fmt.Errorf("cannot copy mount %q: %w", path, err)
	}
	return fd, nil
}

// SetAttr sets MOUNT_ATTR_ flags on a mount, detached or not.
func SetAttr(fd int, set, clear uint64, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: set, Attr_clr: clear}); err != nil {
		return fmt.Errorf("cannot set mount attributes: %w", err)
	}
	return nil
}

// Apart gives the calling thread, and what is started from it, a mount namespace of
// its own, of which the one that it was in learns nothing. The caller has locked its
// goroutine to the thread.
func Apart() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot detach from the host's mounts: %w", err)
	}
	return nil
}

// Private cuts a mount off from its peers and masters: what is mounted there
// shows here no more, nor the other way round.
func Private(fd int, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(fd, "", flags, &unix.MountAttr{Propagation: unix.MS_PRIVATE}); err != nil {
		return fmt.Errorf("cannot make mount private: %w", err)
	}
	return nil
}

// MapOwners has a detached mount show its files' owners as the user namespace
// behind userns maps them, and take them back likewise: what is 0 on the disk is
// that one's root here. source is what the mount was cloned from, for the error.
func MapOwners(fd, userns, source int, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)})
	switch {
	case err == unix.EINVAL || err == unix.EOPNOTSUPP:
		return fmt.Errorf("its filesystem, %s, cannot be mounted with mapped owners%s", Type(source), below(recursive))
	case err == unix.EPERM:
		return fmt.Errorf("its mount (%s) may not have its owners mapped%s: they are already, or it is the host's and this a user namespace", Type(source), below(recursive))
	case err == unix.ENOSYS:
		return errors.New("this kernel cannot mount with mapped owners (mount_setattr)")
	}
	return os.NewSyscallError("mount_setattr", err)
}

func below(recursive bool) string {
	if recursive {
		return ", or one mounted below it"
	}
	return ""
}

// Type names the filesystem of what a descriptor leads to, "unknown" if the
// calling thread's mount namespace does not have it.
func Type(fd int) string {
	const unknown = "unknown"
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return unknown
	}
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return unknown
	}
	id := strconv.FormatUint(st.Mnt_id, 10) + " "
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, id) {
			continue
		}
		if _, rest, ok := strings.Cut(line, " - "); ok {
			name, _, _ := strings.Cut(rest, " ")
			return name
		}
	}
	return unknown
}

// Attach places the detached mount fd over what the descriptor target names.
func Attach(fd, target int) error {
	err := unix.MoveMount(fd, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	return nil
}
