// SPDX-License-Identifier: Apache-2.0

package rootless

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/userns"
)

// Where the administrator gives users ids of their own, subuid(5) and subgid(5).
const (
	SubUID = "/etc/subuid"
	SubGID = "/etc/subgid"
)

// SubIDs says whether the caller has ids beside the own one to map.
func SubIDs() (bool, error) {
	users, _, err := maps()
	return len(users) > 1, err
}

// maps are those of the namespace to be made: the user is its root, and the ids
// from 1 on are the user's subordinate ones. Without such, or without the
// programs that may map them, there is root alone.
func maps() (users, groups []userns.Range, err error) {
	uid, gid := os.Geteuid(), os.Getegid()
	users = []userns.Range{{Inside: 0, Outside: uint32(uid), Count: 1}}
	groups = []userns.Range{{Inside: 0, Outside: uint32(gid), Count: 1}}
	if _, err := exec.LookPath("newuidmap"); err != nil {
		return users, groups, nil
	}
	if _, err := exec.LookPath("newgidmap"); err != nil {
		return users, groups, nil
	}
	name, err := userName(uid)
	if err != nil {
		return nil, nil, err
	}
	subUsers, err := subordinate(SubUID, uid, name)
	if err != nil {
		return nil, nil, err
	}
	subGroups, err := subordinate(SubGID, uid, name)
	if err != nil {
		return nil, nil, err
	}
	if len(subUsers) == 0 || len(subGroups) == 0 {
		return users, groups, nil
	}
	return append(users, subUsers...), append(groups, subGroups...), nil
}

// subordinate are the ranges of a file, placed inside from 1 on.
func subordinate(path string, uid int, name string) ([]userns.Range, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := userns.Subordinate(f, uid, name)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	next := uint32(1)
	for i := range list {
		list[i].Inside = next
		if next+list[i].Count < next {
			return nil, fmt.Errorf("cannot use %s: it gives user %d more ids than there are", path, uid)
		}
		next += list[i].Count
	}
	return list, nil
}

// userName finds the user's name in passwd(5), else in the environment: it only
// says which lines are meant, and newuidmap has the last word.
func userName(uid int) (string, error) {
	f, err := os.Open("/etc/passwd")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err == nil {
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if p := strings.Split(lines.Text(), ":"); len(p) > 2 && p[2] == strconv.Itoa(uid) {
				return p[0], nil
			}
		}
		if err := lines.Err(); err != nil {
			return "", fmt.Errorf("cannot read /etc/passwd: %w", err)
		}
	}
	return os.Getenv("USER"), nil
}

// setMaps maps ids into the namespace of the process pid.
func setMaps(pid int, users, groups []userns.Range) error {
	if len(users) > 1 {
		if err := newMap("newuidmap", SubUID, pid, users); err != nil {
			return err
		}
		return newMap("newgidmap", SubGID, pid, groups)
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	for _, f := range []struct{ name, text string }{
		// A process could leave a group that denies it something (CVE-2014-8989).
		{"setgroups", "deny"},
		{"uid_map", line(users[0])},
		{"gid_map", line(groups[0])},
	} {
		if err := os.WriteFile(dir+f.name, []byte(f.text), 0); err != nil {
			return fmt.Errorf("cannot map your ids: %w", err)
		}
	}
	return nil
}

func line(r userns.Range) string { return fmt.Sprintf("%d %d %d", r.Inside, r.Outside, r.Count) }

// newMap runs newuidmap(1) or newgidmap(1).
func newMap(program, file string, pid int, list []userns.Range) error {
	args := []string{strconv.Itoa(pid)}
	for _, r := range list {
		args = append(args, strings.Fields(line(r))...)
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		err = errors.New(strings.ReplaceAll(text, "\n", "; "))
	}
	return &mapError{hint.Wrap(fmt.Errorf("cannot map the ids that %s gives you: %w", file, err),
		program+" needs its set-user-id bit or file capabilities, and the ranges must be yours")}
}

// mapError: the user has ids, and cannot have them mapped.
type mapError struct{ error }

func (e *mapError) Unwrap() error { return e.error }
