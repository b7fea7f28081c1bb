// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
)

// firstSocket is the descriptor of the first socket that a program is given
// (SD_LISTEN_FDS_START of sd_listen_fds(3)).
const firstSocket = 3

// sockets places p.Sockets behind the standard streams. As with those, each is
// first duplicated above all places; the duplicates are appended to high.
func (p *Process) sockets(c *forkexec.Child, high []int) ([]int, error) {
	if len(p.Sockets) == 0 {
		return high, nil
	}
	above := max(10, firstSocket+len(p.Sockets))
	for i, s := range p.Sockets {
		h, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, above)
		if err != nil {
			return high, fmt.Errorf("cannot hand over socket %q: %w", s.Name, err)
		}
		high = append(high, h)
		c.Call("place a socket", unix.SYS_DUP3, uintptr(h), uintptr(firstSocket+i), 0)
	}
	return high, c.TellPID("LISTEN_PID")
}

// environment is p.Env, and of sockets what sd_listen_fds(3) looks for, but for
// the pid. Whatever else there is of that protocol is not about these.
func (p *Process) environment() []string {
	if len(p.Sockets) == 0 {
		return p.Env
	}
	var env, names []string
	for _, e := range p.Env {
		if !strings.HasPrefix(e, "LISTEN_") {
			env = append(env, e)
		}
	}
	for _, s := range p.Sockets {
		names = append(names, s.Name)
	}
	return append(env, "LISTEN_FDS="+strconv.Itoa(len(p.Sockets)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
}
