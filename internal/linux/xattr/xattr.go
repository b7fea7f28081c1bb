// SPDX-License-Identifier: Apache-2.0

// Package xattr reads extended attributes (xattr(7)) of files that a stranger
// wrote, following no link, and says which of them belong to a file wherever it
// goes.
package xattr

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Max is the kernel's bound on a value and on the list of names, bytes
// (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const Max = 64 << 10

// Travels says whether an attribute goes where its file goes. The marks of
// overlayfs do not: whoever could bring some along would forge whiteouts, or
// point a redirect or a metacopy at another layer's file. Labels and signatures
// of a security module belong to the host. Other systems' names mean nothing.
func Travels(name string) bool {
	for _, p := range []string{"trusted.overlay.", "user.overlay.", "security.selinux", "security.SMACK64",
		"security.apparmor", "security.ima", "security.evm", "system.nfs4_acl"} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	for _, p := range []string{"user.", "trusted.", "security.", "system.posix_acl_"} {
		if strings.HasPrefix(name, p) && len(name) > len(p) {
			return true
		}
	}
	return false
}

// Get reads one attribute of entry name in the directory dir ("." is dir
// itself). ok is false if there is none.
func Get(dir int, name, attr string) (value []byte, ok bool, err error) {
	path := at(dir, name)
	small := make([]byte, 256)
	n, err := unix.Lgetxattr(path, attr, small)
	if err == unix.ERANGE {
		small = make([]byte, Max)
		n, err = unix.Lgetxattr(path, attr, small)
	}
	switch err {
	case nil:
		return small[:n:n], true, nil
	case unix.ENODATA, unix.EOPNOTSUPP:
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("cannot read attribute %q of %q: %w", attr, name, err)
}

// All reads the attributes of entry name in the directory dir for which wanted
// says yes; nil if there are none.
func All(dir int, name string, wanted func(attr string) bool) (map[string][]byte, error) {
	path := at(dir, name)
	list := make([]byte, 1<<10)
	n, err := unix.Llistxattr(path, list)
	if err == unix.ERANGE {
		list = make([]byte, Max)
		n, err = unix.Llistxattr(path, list)
	}
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list attributes of %q: %w", name, err)
	}
	var all map[string][]byte
	for attr := range strings.SplitSeq(string(list[:n]), "\x00") {
		if attr == "" || !wanted(attr) {
			continue
		}
		value, ok, err := Get(dir, name, attr)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // removed since
		}
		if all == nil {
			all = map[string][]byte{}
		}
		all[attr] = value
	}
	return all, nil
}

// at is a path to an entry by way of its directory's descriptor: a magic link,
// so that no name of a stranger's but the last is walked, and the calls named l…
// do not follow that one.
func at(dir int, name string) string { return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name }
