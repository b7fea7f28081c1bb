// SPDX-License-Identifier: Apache-2.0

package wall

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/hint"
)

// User is the system user that helpers run as where rkt is root. It owns
// nothing, and nobody else may run as it.
const User = "rkt-fetch"

// FixedID is the user and group of helpers on a machine that has no User:
// systemd's list of uids calls 60578 to 61183 unused, and Debian's policy gives
// nobody one above 60000 either. Nobody (65534) would not do: it is whoever
// has no other name, NFS's users among them.
const FixedID = 60578

// identity is the user and group for helpers.
func identity() (uid, gid uint32, err error) {
	f, err := os.Open("/etc/passwd")
	if errors.Is(err, os.ErrNotExist) {
		return FixedID, FixedID, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	return lookUp(f)
}

// lookUp finds User in passwd(5).
func lookUp(passwd io.Reader) (uid, gid uint32, err error) {
	lines := bufio.NewScanner(passwd)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 4 {
			continue
		}
		if fields[0] != User {
			if fields[2] == strconv.Itoa(FixedID) {
				uid = FixedID // taken, by somebody else
			}
			continue
		}
		u, uerr := strconv.ParseUint(fields[2], 10, 31)
		g, gerr := strconv.ParseUint(fields[3], 10, 31)
		if uerr != nil || gerr != nil || u == 0 || g == 0 {
			return 0, 0, fmt.Errorf("cannot run the fetch helper as user %s: its ids in /etc/passwd are %q and %q", User, fields[2], fields[3])
		}
		return uint32(u), uint32(g), nil
	}
	if err := lines.Err(); err != nil {
		return 0, 0, fmt.Errorf("cannot read /etc/passwd: %w", err)
	}
	if uid == FixedID {
		return 0, 0, hint.Wrap(fmt.Errorf("cannot run the fetch helper as user %d: somebody else has that id", FixedID),
			"make a system user "+User+"; see docs/security.md")
	}
	return FixedID, FixedID, nil
}

// mapped tells whether id means anything in the user namespace that the map
// (user_namespaces(7)) is of.
func mapped(idMap string, id uint32) bool {
	for line := range strings.Lines(idMap) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		first, err1 := strconv.ParseUint(f[0], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 33)
		if err1 == nil && err2 == nil && uint64(id) >= first && uint64(id) < first+count {
			return true
		}
	}
	return false
}
