// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/networks"
)

// networkProgram attaches pods to networks (package pod/network). It is apart,
// and comes up while the pod is assembled, so that a pod on the host's network
// does not pay for what it knows.
const networkProgram = "network"

// An attachment is the program at work on one pod.
type attachment struct {
	path   string
	socket int
	born   chan error // it was started, or not; then:
	pid    int
	joined string // the pod's directory, while it holds something of networks
	stays  bool   // it has work as long as the pod lives
}

// beginNetwork starts the program for a pod that will have networks.
func beginNetwork(doc *contract.Pod) (*attachment, error) {
	if doc.Network != contract.NetworkContained {
		return nil, nil
	}
	path, err := HelperPath(networkProgram)
	if err != nil {
		return nil, err
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	a := &attachment{path: path, socket: ends[0], born: make(chan error, 1)}
	// From another thread: the caller's may be in the pod's namespaces.
	go func() {
		var err error
		a.pid, err = networks.Start(path, "add", "/", environment(), ends[1])
		unix.Close(ends[1])
		a.born <- err
	}()
	return a, nil
}

// rejoin is for a pod whose manifest knew better than the command line, whether
// or not that changes its namespaces. It may be called again.
func (s *Start) rejoin(doc *contract.Pod) (err error) {
	if doc.Network == contract.NetworkContained {
		if s.joining == nil {
			s.joining, err = beginNetwork(doc)
		}
		return err
	}
	s.joining.end()
	s.joining = nil
	return nil
}

// attach has the pod attached: dir is its directory, lock its lock, ns its
// network namespace. On error the pod holds nothing of any network.
// resolv is what networks want in the pod's resolv.conf.
func (a *attachment) attach(dir string, lock, ns int) (resolv string, err error) {
	if err := a.wasBorn(); err != nil {
		return "", err
	}
	if err := unix.Sendmsg(a.socket, []byte(contract.NetworkAdd+dir), unix.UnixRights(lock, ns), nil, unix.MSG_NOSIGNAL); err != nil {
		return "", fmt.Errorf("cannot attach the pod to its networks: %w", err)
	}
	text, err := a.hear()
	word, rest, _ := strings.Cut(text, "\n")
	stays, resolv, _ := strings.Cut(rest, "\n")
	a.stays = stays == contract.NetworkStays
	if err == nil && word != contract.NetworkDone {
		if text == "" {
			text = networkProgram + " ended without a word"
		}
		err = errors.New(text)
	}
	if err != nil {
		return "", fmt.Errorf("cannot attach pod %s: %w", filepath.Base(dir), err)
	}
	return resolv, nil
}

func (a *attachment) wasBorn() (err error) {
	if a.born != nil {
		err = <-a.born
		a.born = nil
	}
	return err
}

// hear reads what the program answers; "" if it has ended. Its end alone does not
// tell: the pod's first process may have a copy of its end of the socket.
func (a *attachment) hear() (string, error) {
	process, err := unix.PidfdOpen(a.pid, 0)
	if err != nil {
		return "", os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	for {
		fds := []unix.PollFd{{Fd: int32(a.socket), Events: unix.POLLIN}, {Fd: int32(process), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", os.NewSyscallError("poll", err)
		case fds[0].Revents != 0:
			return networks.Hear(a.socket)
		default:
			return "", nil
		}
	}
}

// end lets the program end, and reaps it. It may be called again, and on nil.
func (a *attachment) end() {
	if a == nil || a.socket < 0 {
		return
	}
	_ = a.wasBorn()
	// Closing alone will not do: the pod's first process may have a copy.
	_ = unix.Shutdown(a.socket, unix.SHUT_RDWR)
	unix.Close(a.socket)
	a.socket = -1
	if a.pid > 0 {
		_, _ = wait.For(a.pid)
	}
}

// join attaches the pod to its networks, if it is to have any. resolv is what they
// want in its resolv.conf; "" if that is not for this pod.
func (s *Start) join(r *Ready, lock int) (resolv string, err error) {
	if s.joining == nil {
		return "", nil
	}
	s.joining.joined = r.Pod.Dir()
	resolv, err = s.joining.attach(r.Pod.Dir(), lock, s.network)
	if err != nil {
		s.joining.joined = ""
		return "", err
	}
	s.mark("network", time.Now())
	if r.Doc.Resolv != nil || r.Doc.NoNetworkDNS {
		return "", nil
	}
	return resolv, nil
}

// ownNetwork makes the network of a pod whose flavor assembles it itself, unless
// that is the host's, and tells what `run` has to know of it.
func (s *Start) ownNetwork(r *Ready, lock int) (env []string, err error) {
	if s.assembled() || r.Doc.Network == contract.NetworkHost {
		return nil, nil
	}
	if s.network, err = assemble.NewNetwork(); err != nil {
		return nil, err
	}
	resolv, err := s.join(r, lock)
	if err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(uintptr(s.network), unix.F_SETFD, 0); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	env = []string{contract.EnvNetNS + "=" + strconv.Itoa(s.network)}
	if resolv != "" {
		env = append(env, contract.EnvResolv+"="+resolv)
	}
	return env, nil
}

// part begins to give back what join took, once; the function that it returns
// waits until that is done.
func (s *Start) part() (finish func() error) {
	if s.joining == nil || s.joining.joined == "" {
		return func() error { return nil }
	}
	a := s.joining
	dir := a.joined
	a.joined = ""
	if s.network >= 0 { // what gives networks back waits for the namespace's end
		unix.Close(s.network)
		s.network = -1
	}
	// The program that attached the pod is still there while the pod is young.
	if a.socket >= 0 && unix.Send(a.socket, []byte(contract.NetworkRelease), unix.MSG_NOSIGNAL) == nil {
		return func() error {
			word, err := a.hear()
			if err == nil && word == "" { // it was ended
				return networks.Release(a.path, dir, environment())
			}
			return networks.Released(word, err)
		}
	}
	return releasing(a.path, dir)
}

// toRun is what `run` has to know of the pod's networks.
func (a *attachment) toRun() (env []string, err error) {
	if a == nil {
		return nil, nil
	}
	env = []string{contract.EnvNetwork + "=" + a.path}
	if !a.stays {
		a.end()
		return env, nil
	}
	if _, err := unix.FcntlInt(uintptr(a.socket), unix.F_SETFD, 0); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return append(env, contract.EnvNetworkFD+"="+strconv.Itoa(a.socket)), nil
}

// releasing is networks.Release beside what the caller goes on with; the function
// that is returned waits until that is done.
func releasing(path, dir string) (finish func() error) {
	done := make(chan error, 1)
	go func() { done <- networks.Release(path, dir, environment()) }()
	return func() error { return <-done }
}

// collectNetworks gives back what a pod that has ended holds of networks.
func collectNetworks(p *lifecycle.Pod) error {
	doc, err := p.Contract()
	if err != nil || doc.Network != contract.NetworkContained {
		return err
	}
	path, err := HelperPath(networkProgram)
	if err != nil {
		return err
	}
	return networks.Release(path, p.Dir(), environment())
}
