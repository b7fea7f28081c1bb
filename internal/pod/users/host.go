// SPDX-License-Identifier: Apache-2.0

package users

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// interval is a row of ids that are somebody's.
type interval struct {
	first, count int64
	by           string
}

// taken are the ids that the host's files give to somebody. Users that only a
// directory service knows are not among them; such have no reason to be where
// containers are.
func (h Host) taken() (list []interval, err error) {
	for _, path := range h.Accounts {
		err = errors.Join(err, eachLine(path, func(f []string) {
			if len(f) < 3 {
				return
			}
			// Most are below anything that a pod may have.
			if id, err := strconv.ParseInt(f[2], 10, 64); err == nil && id >= slot {
				list = append(list, interval{id, 1, fmt.Sprintf("%d is %s in %s", id, f[0], path)})
			}
		}))
	}
	for _, path := range h.Subordinates {
		err = errors.Join(err, eachLine(path, func(f []string) {
			if len(f) < 3 {
				return
			}
			first, err1 := strconv.ParseInt(f[1], 10, 64)
			count, err2 := strconv.ParseInt(f[2], 10, 64)
			if err1 == nil && err2 == nil && count > 0 && first >= 0 {
				list = append(list, interval{first, count, fmt.Sprintf("%d and %d more are for %s in %s", first, count-1, f[0], path)})
			}
		}))
	}
	return list, err
}

// eachLine calls f with each line's words, which colons separate. Lines that are
// not of that form are others' to complain of.
func eachLine(path string, f func(words []string)) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20) // groups can have many members
	for lines.Scan() {
		f(strings.Split(strings.TrimSpace(lines.Text()), ":"))
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}
