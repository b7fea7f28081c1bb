// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
)

// listen makes the socket by which the app says how it is (contract.App.Notify), in
// its /dev, which is mounted by now.
func (a *app) listen() error {
	if a.Notify == "" {
		return nil
	}
	dir, name := path.Split(a.Notify)
	if dir != "/dev/" {
		return fmt.Errorf("it cannot be at %s", a.Notify)
	}
	dev, err := safepath.OpenInRoot(a.root, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	// No app has run yet: nobody else has written to this /dev.
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dev) + "/" + name}); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("bind", err)
	}
	a.notify = fd
	return nil
}

// Notify gives the caller the sockets by which apps say how they are, in the
// document's order, 0 for one that does not. It must follow Lay, or Start if that
// does not wait for the pod's end.
func (a *Assembly) Notify() []int { return a.notify }
