// SPDX-License-Identifier: Apache-2.0

package usermode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// What the program finds in its mount namespace: a directory that is on every
// machine, with a file system of our own over it.
const (
	place   = "/proc/fs"
	nsPlace = place + "/net"   // the pod's network namespace
	ready   = place + "/ready" // a pipe: it is written to when the network is up
	api     = place + "/api"   // slirp4netns's socket
)

// pastaDNS is where pods ask for names: pasta passes it on to the host's server,
// even to one on the host's loopback, which pods do not reach otherwise.
const pastaDNS = "169.254.1.1"

// startLimit is how long a program has until the network is up.
const startLimit = 10 * time.Second

// process is one run of the program. All methods are called on one thread.
type process struct {
	network    Network
	attachment *network.Attachment
	cmd        *exec.Cmd
	said       said
	word       *os.File // where it says that it is ready
}

func (p *process) start(ctx context.Context) (a contract.Attached, err error) {
	if err := p.places(); err != nil {
		return a, err
	}
	slirp := filepath.Base(p.network.Program) == Slirp
	var args []string
	if slirp {
		args = []string{"--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
			"--netns-type=path", "--ready-fd=3", "--api-socket=" + api, nsPlace, p.attachment.Network.IfName}
	} else {
		args = pastaArgs(p.attachment.Network.IfName, p.attachment.Ports)
	}
	p.cmd = exec.Command(p.network.Program, args...)
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr = []string{}, "/", &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setsid: true}
	if slirp {
		p.cmd.ExtraFiles = []*os.File{p.word}
	}
	if err := p.cmd.Start(); err != nil {
		return a, err
	}
	if err := p.wait(ctx); err != nil {
		return a, err
	}
	a = contract.Attached{NetName: p.attachment.Network.Name, PluginPath: p.network.Program, IfName: p.attachment.Network.IfName, Driver: driver}
	if slirp {
		if err := addForwards(p.attachment.Ports); err != nil {
			return a, err
		}
		a.Resolv = resolv("10.0.2.3")
	} else {
		a.Resolv = resolv(pastaDNS)
	}
	return a, addresses(p.attachment.NetNS, &a)
}

// end kills what was started.
func (p *process) end() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// places makes the thread's mount namespace: the program is to find the pod's
// network by a path that nobody else has, and needs no right to look at this
// process for it.
func (p *process) places() error {
	if err := mount.Apart(); err != nil {
		return err
	}
	if err := unix.Mount("none", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700,size=64k"); err != nil {
		return fmt.Errorf("cannot mount a tmpfs: %w", err)
	}
	f, err := os.OpenFile(nsPlace, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(int(p.attachment.NetNS.Fd())), nsPlace, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot show the pod's network: %w", err)
	}
	if err := unix.Mkfifo(ready, 0o600); err != nil {
		return os.NewSyscallError("mkfifo", err)
	}
	fd, err := unix.Open(ready, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p.word = os.NewFile(uintptr(fd), ready)
	return nil
}

// wait waits until the program says that the network is up, or ends.
func (p *process) wait(ctx context.Context) error {
	process, err := unix.PidfdOpen(p.cmd.Process.Pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	for until := time.Now().Add(startLimit); ; {
		fds := []unix.PollFd{{Fd: int32(p.word.Fd()), Events: unix.POLLIN}, {Fd: int32(process), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 50)
		switch {
		case err != nil && err != unix.EINTR:
			return os.NewSyscallError("poll", err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case n > 0 && fds[0].Revents != 0:
			return nil
		case n > 0:
			_ = p.cmd.Wait()
			err := fmt.Errorf("%s ended (%s)", filepath.Base(p.network.Program), p.cmd.ProcessState)
			p.cmd = nil
			if text := p.said.text(); text != "" {
				err = fmt.Errorf("%w: %s", err, text)
			}
			return err
		case time.Now().After(until):
			return fmt.Errorf("%s was not ready within %v", filepath.Base(p.network.Program), startLimit)
		}
	}
}

// pastaArgs are passt(1)'s. Nothing of the host's loopback is in the pod's reach
// and nothing of the pod's on the host's but the ports that are asked for: pasta
// forwards all in both directions unless told not to.
func pastaArgs(ifName string, ports []contract.Port) []string {
	args := []string{"--foreground", "--quiet", "--config-net", "--no-map-gw", "--no-netns-quit",
		"--ns-ifname", ifName, "--dns-forward", pastaDNS, "--tcp-ns", "none", "--udp-ns", "none"}
	for _, k := range []struct{ protocol, flag string }{{"tcp", "--tcp-ports"}, {"udp", "--udp-ports"}} {
		none := true
		for _, p := range ports {
			if p.Protocol == k.protocol {
				args = append(args, k.flag, portSpec(p))
				none = false
			}
		}
		if none {
			args = append(args, k.flag, "none")
		}
	}
	return append(args, "--pid", ready, "--netns", nsPlace)
}

func portSpec(p contract.Port) string {
	row := func(first int) string {
		if p.Count > 1 {
			return fmt.Sprintf("%d-%d", first, first+p.Count-1)
		}
		return strconv.Itoa(first)
	}
	spec := row(p.HostPort) + ":" + row(p.PodPort)
	if p.HostIP != "" {
		spec = p.HostIP + "/" + spec
	}
	return spec
}

// addForwards asks slirp4netns for ports.
func addForwards(ports []contract.Port) error {
	for _, p := range ports {
		for i := range max(p.Count, 1) {
			ip := p.HostIP
			if ip == "" {
				ip = "0.0.0.0"
			}
			if err := addForward(p.Protocol, ip, p.HostPort+i, p.PodPort+i); err != nil {
				return fmt.Errorf("port %q: cannot forward %s %d: %w", p.Name, p.Protocol, p.HostPort+i, err)
			}
		}
	}
	return nil
}

// addForward is one call of slirp4netns(1)'s API.
func addForward(protocol, hostIP string, hostPort, podPort int) error {
	// By hand: net's dialer may use another thread, which does not see the path.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	conn := os.NewFile(uintptr(fd), api)
	defer conn.Close()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: api}); err != nil {
		return os.NewSyscallError("connect", err)
	}
	type arguments struct {
		Proto     string `json:"proto"`
		HostAddr  string `json:"host_addr"`
		HostPort  int    `json:"host_port"`
		GuestPort int    `json:"guest_port"`
	}
	request, err := json.Marshal(struct {
		Execute   string    `json:"execute"`
		Arguments arguments `json:"arguments"`
	}{"add_hostfwd", arguments{protocol, hostIP, hostPort, podPort}})
	if err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return os.NewSyscallError("shutdown", err)
	}
	b, err := io.ReadAll(io.LimitReader(conn, maxSaid))
	if err != nil {
		return err
	}
	var answer struct {
		Error *struct {
			Desc string `json:"desc"`
		} `json:"error"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return fmt.Errorf("cannot understand %s: %w", Slirp, err)
	}
	if answer.Error != nil {
		return errors.New(answer.Error.Desc)
	}
	return nil
}

// addresses fills in what the interface has. The thread that looks is in the
// pod's network for good.
func addresses(ns *os.File, a *contract.Attached) error {
	errs := make(chan error, 1)
	go func() { errs <- look(ns, a) }()
	if err := <-errs; err != nil {
		return fmt.Errorf("cannot look at the pod's interface: %w", err)
	}
	return nil
}

func look(ns *os.File, a *contract.Attached) error {
	runtime.LockOSThread() // and ends with the goroutine
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	i, err := net.InterfaceByName(a.IfName)
	if err != nil {
		return err
	}
	a.MAC = i.HardwareAddr.String()
	list, err := i.Addrs()
	if err != nil {
		return err
	}
	for _, addr := range list {
		n, ok := addr.(*net.IPNet)
		if !ok || n.IP.IsLinkLocalUnicast() {
			continue
		}
		if n.IP.To4() != nil && a.IP == "" {
			a.IP, a.Mask = n.IP.String(), net.IP(n.Mask).String()
		} else if n.IP.To4() == nil && a.IP6 == "" {
			a.IP6 = n.IP.String()
			a.Prefix6, _ = n.Mask.Size()
		}
	}
	return nil
}

// maxSaid bounds what is kept of a program's words, bytes.
const maxSaid = 4 << 10

// said keeps the beginning of what the program says, and lets the rest pass.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Write(p[:min(len(p), maxSaid-s.b.Len())])
	return len(p), nil
}

// text is it in one line, without pasta's complaints that there is no syslog.
func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for line := range strings.Lines(s.b.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasSuffix(line, "to syslog") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
