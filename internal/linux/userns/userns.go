// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// initialInode is the inode of the machine's own user namespace, the same on
// every Linux since 3.8 (PROC_USER_INIT_INO in include/linux/proc_ns.h).
const initialInode = 0xEFFFFFFD

// Initial tells whether this process is in the machine's own user namespace:
// only there is root the host's root. Where that cannot be told it says yes. It
// looks once: a Go program stays where it is, and later the calling thread may
// have a root of its own, with another /proc.
func Initial() bool { return initial() }

var initial = sync.OnceValue(func() bool {
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/user", &st) != nil || st.Ino == initialInode
})

// A Range of ids: Count from Inside on are those from Outside on.
type Range struct{ Inside, Outside, Count uint32 }

// Subordinate reads subuid(5) or subgid(5) and returns the ranges that it gives
// to the user, by name or number, in the file's order. At most maxRanges: the
// kernel takes no longer map.
func Subordinate(file io.Reader, uid int, name string) ([]Range, error) {
	var found []Range
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) != 3 || f[0] != strconv.Itoa(uid) && (name == "" || f[0] != name) {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil || count == 0 || first == 0 || first+count > 1<<32-1 {
			return nil, fmt.Errorf("the line %q is no range of ids", lines.Text())
		}
		if len(found) == maxRanges {
			return nil, fmt.Errorf("it has more than %d ranges for one user", maxRanges)
		}
		found = append(found, Range{Outside: uint32(first), Count: uint32(count)})
	}
	return found, lines.Err()
}

const maxRanges = 300

// SubIDs says how an ordinary user gets more than one id.
const SubIDs = "the administrator can give you ids: newuidmap and newgidmap must be installed (Debian's package uidmap), " +
	"and /etc/subuid and /etc/subgid have a line such as YOU:100000:65536"

// OneGroup tells whether the process's namespace has one group, and nobody in it
// can change supplementary groups (setgroups).
func OneGroup() (bool, error) {
	denied, err := os.ReadFile("/proc/self/setgroups")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot look at own user namespace: %w", err)
	}
	return strings.TrimSpace(string(denied)) == "deny", nil
}
