// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/scm"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// What an app's service and `run` say first; from then on it is what native's do.
const (
	messageHello  = "hello"  // of a service, with its app's name
	messageApp    = "app"    // the answer, with what is the app's
	messageFailed = "failed" // of who tells that an app's service could not start, and why
)

// possessions are what `run` gives to an app's service.
type possessions struct {
	document int
	stdio    [3]int // rkt's caller's
	kill     int    // cgroup.kill of the app's cgroup
	groups   []int
	log      int // -1 without
}

func (p *possessions) send(to int, app string) error {
	fds := []int{p.document, p.stdio[0], p.stdio[1], p.stdio[2], p.kill}
	logged := "0"
	if p.log >= 0 {
		fds, logged = append(fds, p.log), "1"
	}
	fds = append(fds, p.groups...)
	m := contract.Message{Kind: messageApp, App: app, Text: logged}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(to, m.Encode(), unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL))
}

// receivePossessions is the other side of send.
func receivePossessions(from int) (*possessions, error) {
	buf, oob := make([]byte, 4<<10), make([]byte, unix.CmsgSpace(4*250))
	n, oobn, _, _, err := unix.Recvmsg(from, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	m, ok := contract.DecodeMessage(buf[:n])
	if !ok || m.Kind != messageApp {
		return nil, errors.New("rkt has ended")
	}
	fds := scm.Rights(oob[:oobn])
	logged, err := strconv.Atoi(strings.TrimSpace(m.Text))
	if err != nil || len(fds) < 5+logged {
		return nil, fmt.Errorf("rkt has given %d descriptors, which are not enough", len(fds))
	}
	p := &possessions{document: fds[0], stdio: [3]int{fds[1], fds[2], fds[3]}, kill: fds[4], log: -1, groups: fds[5+logged:]}
	if logged == 1 {
		p.log = fds[5]
	}
	return p, nil
}

// peer is the pid of who is at the other end of a socket.
func peer(fd int) (int, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return int(c.Pid), nil
}
