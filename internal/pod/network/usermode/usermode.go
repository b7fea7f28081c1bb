// SPDX-License-Identifier: Apache-2.0

// Package usermode is the network of an ordinary user's pod: a program of the
// host's, pasta or slirp4netns, that carries what the pod sends and receives
// through sockets of the user's own. Nobody needs to be root for that, and
// nothing on the host changes.
//
// The program is a child of this one, which stays as long as the pod lives
// (network.Attachment.Serve): however it ends, the kernel kills the child.
package usermode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Names of the programs.
const (
	Pasta = "pasta"
	Slirp = "slirp4netns"
)

// Network is the only network that there is then; its Program is a path.
type Network struct{ Program string }

var (
	_ network.Source = Network{}
	_ network.Driver = Network{}
)

// Find knows the default network.
func (n Network) Find(name string) (network.Driver, error) {
	if name != pod.NetDefault {
		return nil, network.ErrUnknown
	}
	switch filepath.Base(n.Program) {
	case Pasta, Slirp:
		return n, nil
	}
	return nil, fmt.Errorf("cannot attach by %q: it is neither %s nor %s", n.Program, Pasta, Slirp)
}

// driver is what this one calls itself.
const driver = "usermode"

// Former gives back itself.
func (n Network) Former(a contract.Attached) (network.Driver, error) {
	if a.Driver != driver {
		return nil, network.ErrUnknown
	}
	return n, nil
}

// Names of networks.
func (Network) Names() ([]string, error) { return []string{pod.NetDefault}, nil }

// Collect has nothing to do: the kernel ends what belongs to no pod.
func (Network) Collect(context.Context, func(pod.UUID) bool) error { return nil }

// Del likewise.
func (Network) Del(context.Context, *network.Attachment) error { return nil }

// Traits of it.
func (Network) Traits() network.Traits {
	return network.Traits{Name: driver, DefaultRoute: true, Masquerade: true, Forwards: true}
}

// Add starts the program and waits until the pod has its network.
func (n Network) Add(ctx context.Context, a *network.Attachment) (contract.Attached, error) {
	if len(a.Network.Args) > 0 {
		return contract.Attached{}, fmt.Errorf("it takes no arguments such as %q: it is made by %s", a.Network.Args[0], filepath.Base(n.Program))
	}
	if err := free(a.Ports); err != nil {
		return contract.Attached{}, err
	}
	type outcome struct {
		attached contract.Attached
		err      error
	}
	up, ended := make(chan outcome, 1), make(chan error, 1)
	go func() {
		// The thread is in a mount namespace of its own, and the program is
		// killed when it ends: it is nobody else's, and stays.
		runtime.LockOSThread()
		p := &process{network: n, attachment: a}
		attached, err := p.start(ctx)
		if err != nil {
			p.end()
		}
		up <- outcome{attached, err}
		if err == nil {
			ended <- p.cmd.Wait()
		}
	}()
	o := <-up
	if o.err != nil {
		return contract.Attached{}, o.err
	}
	a.Serve = func(ctx context.Context) {
		select {
		case err := <-ended:
			a.Warn("the pod has no network any more: %s ended (%v)", filepath.Base(n.Program), err)
		case <-ctx.Done():
		}
	}
	return o.attached, nil
}

// free tells whether the ports can be had: the programs say it less clearly.
func free(ports []contract.Port) error {
	for _, p := range ports {
		for i := range max(p.Count, 1) {
			at := net.JoinHostPort(p.HostIP, strconv.Itoa(p.HostPort+i))
			var err error
			switch p.Protocol {
			case "tcp":
				var l net.Listener
				if l, err = net.Listen("tcp", at); err == nil {
					err = l.Close()
				}
			case "udp":
				var c net.PacketConn
				if c, err = net.ListenPacket("udp", at); err == nil {
					err = c.Close()
				}
			default:
				err = errors.New("only TCP and UDP can be")
			}
			if errno := unix.Errno(0); errors.As(err, &errno) {
				err = errno
			}
			if errors.Is(err, unix.EACCES) {
				err = fmt.Errorf("%w: an ordinary user has ports from net.ipv4.ip_unprivileged_port_start (1024) on", err)
			}
			if err != nil {
				return fmt.Errorf("port %q: cannot forward %s %d: %w", p.Name, p.Protocol, p.HostPort+i, err)
			}
		}
	}
	return nil
}

// resolv is a resolv.conf(5) that asks server, and the rest of the host's.
func resolv(server string) string {
	text := "nameserver " + server + "\n"
	b, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || len(b) > 64<<10 {
		return text
	}
	for line := range strings.Lines(string(b)) {
		switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "search", "domain", "options":
			text = strings.TrimSpace(line) + "\n" + text
		}
	}
	return text
}
