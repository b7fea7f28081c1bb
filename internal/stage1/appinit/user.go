// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// A Credential is whom a process runs as.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // supplementary, complete
	Home     string   // of UID in the image's passwd; "" if it is not there
}

// maxAccounts bounds what is read of an image's passwd and group files, bytes.
const maxAccounts = 4 << 20

// LookupUser resolves user and group as an image or a command line names them
// against the accounts in the root behind descriptor root: a number, "/path"
// for the owner of that file, or a name. An empty user is 0. An empty group is
// the user's primary group in passwd, or 0 for a number that is not there. The
// user's groups in the group file are added when group is empty, as Docker does.
// All are users' numbers in the pod, and such that it has.
func LookupUser(root int, user, group string, extra []int, users contract.Users) (Credential, error) {
	c, err := lookupUser(root, user, group, extra, users)
	for _, id := range append([]uint32{c.UID, c.GID}, c.Groups...) {
		if err == nil && users.Has(id) != nil {
			err = fmt.Errorf("cannot run as user %q: %w", user, users.Has(id))
		}
	}
	return c, err
}

func lookupUser(root int, user, group string, extra []int, users contract.Users) (Credential, error) {
	c := Credential{}
	var primary uint32
	var name string
	if path, ok := strings.CutPrefix(user, "/"); ok {
		var err error
		if c.UID, primary, err = ownerInRoot(root, path, users); err != nil {
			return c, fmt.Errorf("cannot take the owner of %q as user: %w", user, err)
		}
	} else {
		e, found, err := findPasswd(root, user)
		switch {
		case err != nil:
			return c, err
		case found:
			c.UID, primary, name, c.Home = e.uid, e.gid, e.name, e.home
		default:
			n, err := parseID(user)
			if user != "" && err != nil {
				return c, fmt.Errorf("cannot find user %q: no such name in the image's /etc/passwd", user)
			}
			c.UID = n
		}
	}
	switch {
	case group == "":
		c.GID = primary
	case strings.HasPrefix(group, "/"):
		var err error
		if _, c.GID, err = ownerInRoot(root, group[1:], users); err != nil {
			return c, fmt.Errorf("cannot take the group of %q: %w", group, err)
		}
	}
	if err := addGroups(root, &c, name, group); err != nil {
		return c, err
	}
	for _, g := range extra {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c, nil
}

type account struct {
	name, home string
	uid, gid   uint32
}

// findPasswd looks for a name, or for a number in the third column. A number
// wins over a user whose name is that number, as in Docker; rkt did the same.
func findPasswd(root int, user string) (account, bool, error) {
	text, err := readInRoot(root, "etc/passwd")
	if err != nil {
		return account{}, false, err
	}
	uid, numErr := parseID(user)
	if user == "" {
		uid, numErr = 0, nil
	}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 4 {
			continue
		}
		u, err1 := parseID(f[2])
		g, err2 := parseID(f[3])
		if err1 != nil || err2 != nil || f[0] == "" {
			continue
		}
		if (numErr == nil && u == uid) || (numErr != nil && f[0] == user) {
			a := account{name: f[0], uid: u, gid: g}
			if len(f) > 5 {
				a.home = f[5]
			}
			return a, true, nil
		}
	}
	return account{}, false, nil
}

// addGroups resolves a group given by name or number and collects the groups
// that list the user name as a member.
func addGroups(root int, c *Credential, name, group string) error {
	byName := group != "" && !strings.HasPrefix(group, "/")
	if byName {
		if n, err := parseID(group); err == nil {
			c.GID, byName = n, false
		}
	}
	if !byName && (name == "" || group != "") {
		return nil
	}
	text, err := readInRoot(root, "etc/group")
	if err != nil {
		return err
	}
	found := false
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 4 {
			continue
		}
		g, err := parseID(f[2])
		if err != nil {
			continue
		}
		if byName && f[0] == group {
			c.GID, found = g, true
			break
		}
		if !byName && name != "" && g != c.GID {
			for m := range strings.SplitSeq(f[3], ",") {
				if m == name {
					c.Groups = append(c.Groups, g)
					break
				}
			}
		}
	}
	if byName && !found {
		return fmt.Errorf("cannot find group %q: no such name in the image's /etc/group", group)
	}
	return nil
}

// parseID accepts what fits a uid_t, but for -1, which means "unchanged" to
// the kernel.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return uint32(n), err
}

// ownerInRoot are a file's owner and group as the pod sees them.
func ownerInRoot(root int, path string, users contract.Users) (uid, gid uint32, err error) {
	st, err := statInRoot(root, path)
	if err == nil {
		uid, err = users.Inside(st.Uid)
	}
	if err == nil {
		gid, err = users.Inside(st.Gid)
	}
	return uid, gid, err
}

func statInRoot(root int, path string) (st unix.Stat_t, err error) {
	fd, err := safepath.OpenInRoot(root, path, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	return st, unix.Fstat(fd, &st)
}

// readInRoot reads a regular file of the image; one that is missing is empty.
func readInRoot(root int, path string) (string, error) {
	fd, err := safepath.OpenInRoot(root, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	var st unix.Stat_t
	var fs unix.Statfs_t
	// A link to /proc/kmsg is a regular file, too: reading it waits, and takes
	// the host's messages away.
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || unix.Fstatfs(fd, &fs) != nil || fs.Type == unix.PROC_SUPER_MAGIC {
		return "", fmt.Errorf("cannot read the image's /%s: not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxAccounts+1))
	if err != nil {
		return "", fmt.Errorf("cannot read the image's /%s: %w", path, err)
	}
	if len(b) > maxAccounts {
		return "", fmt.Errorf("cannot read the image's /%s: larger than %d bytes", path, maxAccounts)
	}
	return string(b), nil
}
