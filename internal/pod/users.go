// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The words of --private-users and AnnotationUsers.
const (
	UsersPick = "pick" // a range that nobody has, found when the pod starts
	UsersNo   = "no"   // the host's
)

// usersCount is how many users and groups a range has if that is not said.
const usersCount = 1 << 16

// ParseUsers reads what --private-users is given: "pick" (or "true", "yes"), "no"
// ("false"), or FIRST[:COUNT], a range of the host's users and groups. count is
// 0 for "no", first is 0 for "pick".
func ParseUsers(s string) (first, count int64, err error) {
	switch s {
	case UsersPick, "true", "yes":
		return 0, usersCount, nil
	case UsersNo, "false":
		return 0, 0, nil
	}
	text, of, given := strings.Cut(s, ":")
	first, err = strconv.ParseInt(text, 10, 64)
	count = usersCount
	if err == nil && given {
		count, err = strconv.ParseInt(of, 10, 64)
	}
	switch {
	case err != nil:
		return 0, 0, errors.New("want pick, no, or FIRST[:COUNT]")
	case first < usersCount:
		return 0, 0, fmt.Errorf("%d is one of the host's own users: a range begins at %d or later", first, usersCount)
	case count < 1 || count > usersCount:
		return 0, 0, fmt.Errorf("a range has 1 to %d users, not %d", usersCount, count)
	case first > maxID-count:
		return 0, 0, fmt.Errorf("a range ends at %d at the latest", int64(maxID-1))
	}
	return first, count, nil
}

// FormatUsers is the form in which manifests have it.
func FormatUsers(first, count int64) string {
	switch {
	case count == 0:
		return UsersNo
	case first == 0:
		return UsersPick
	}
	return strconv.FormatInt(first, 10) + ":" + strconv.FormatInt(count, 10)
}
