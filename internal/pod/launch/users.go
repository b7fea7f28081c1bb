// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/pod/users"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// usersLine tells of the pod's own users in its events.
func (s *Start) usersLine(at int64) string {
	if s.users == nil {
		return ""
	}
	return contract.UsersLine(s.users.Users, at)
}

// usersToRun hands the range of users to `run`.
func (s *Start) usersToRun() (env []string, err error) {
	var words []string
	for _, fd := range s.users.FDs() {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		words = append(words, strconv.Itoa(fd))
	}
	if words != nil {
		env = []string{contract.EnvHeld + "=" + strings.Join(words, ",")}
	}
	return env, nil
}

// Users removes what ranges of users that no pod has any more have left. Those are
// the machine's own root's to give, and to take away.
func Users() error {
	if !userns.Initial() {
		return nil
	}
	return users.OfMachine().Collect()
}
