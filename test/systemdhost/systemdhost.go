// SPDX-License-Identifier: Apache-2.0

// Package systemdhost boots a host with systemd as its init, for tests of rkt on
// such: a Debian root that mmdebstrap made, in a container of systemd-nspawn's,
// with cgroup version 2 alone (and no controllers), systemd-machined, the journal,
// D-Bus, no network but its own loopback, and rkt installed in /usr.
//
// The container has all capabilities, so that nothing but its namespaces is
// between pods in it and this machine.
package systemdhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/test/cache"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// Images is where the tests' OCI layout is in the host (images.Layout).
const Images = "/images"

// packages are the host's, beside those that are essential.
var packages = []string{"systemd", "systemd-sysv", "systemd-container", "dbus", "iproute2", "procps", "iptables"}

// A Host is one that has booted.
type Host struct {
	dir     string // temporary, this machine's
	group   string // the cgroup that all of it is in
	session int    // descriptor of the cgroup of commands
	nspawn  *exec.Cmd
	ended   chan struct{}
	leader  int // pid of its init
	console bytes.Buffer
}

// Missing says what this machine lacks to boot such a host, or "".
func Missing() string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	for _, p := range []string{"systemd-nspawn", "mmdebstrap", "nsenter"} {
		if _, err := exec.LookPath(p); err != nil {
			return "needs " + p
		}
	}
	return ""
}

// Run is for TestMain: it builds rkt, boots a host with it, runs run and has the
// host power off. All of it is in a mount and a network namespace of its own, and
// what is made on this machine (a temporary directory, a cgroup) is removed; that
// anything of the host is left is a failure. Where something is Missing, run runs
// without a host.
func Run(run func(*Host) int) int {
	if Missing() != "" {
		return run(nil)
	}
	return rkt.ApartWithMounts(func() int {
		return rkt.WithInstall("rkt-systemd-", func(install rkt.Install) int {
			h, err := start(install)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			status := run(h)
			if err := h.powerOff(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return max(status, 1)
			}
			return status
		})
	})
}

// start boots a host.
//
// Preconditions: this process is in a mount namespace of its own, as Run sees to.
func start(install rkt.Install) (*Host, error) {
	base, err := cache.Dir("rkt-test-systemd", "bookworm-1", debian)
	if err != nil {
		return nil, err
	}
	layout, err := images.Layout()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "rkt-systemd-host-")
	if err != nil {
		return nil, err
	}
	h := &Host{dir: dir, ended: make(chan struct{})}
	if err := h.boot(base, layout, install); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot boot a systemd host: %w", err), h.remove())
	}
	return h, nil
}

// debian makes the root of a small Debian system.
func debian(dir string) error {
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--include="+strings.Join(packages, ","), "bookworm", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make the root of a systemd host: mmdebstrap: %w\n%s", err, out)
	}
	return os.Chmod(dir, 0o755)
}

func (h *Host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *Host) boot(base, layout string, install rkt.Install) error {
	for _, d := range []string{"changes", "work", "root", "data"} {
		if err := os.Mkdir(h.path(d), 0o755); err != nil {
			return err
		}
	}
	options := "lowerdir=" + base + ",upperdir=" + h.path("changes") + ",workdir=" + h.path("work")
	if err := unix.Mount("overlay", h.path("root"), "overlay", 0, options); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := h.install(install); err != nil {
		return err
	}
	if err := h.ownCgroup(); err != nil {
		return err
	}
	// nspawn and its locks are not this machine's.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	group, err := os.Open(h.group)
	if err != nil {
		return err
	}
	defer group.Close()
	// rkt's data is on no overlay, which overlays cannot have their changes on.
	h.nspawn = exec.Command("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--directory="+h.path("root"),
		"--bind="+h.path("data")+":/var/lib/rkt", "--bind-ro="+layout+":"+Images,
		"--private-network", "--capability=all", "--console=pipe",
		"--system-call-filter=@keyring") // as on a host: nspawn alone forbids keys
	h.nspawn.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	h.nspawn.Stdout, h.nspawn.Stderr = &h.console, &h.console
	h.nspawn.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := h.nspawn.Start(); err != nil {
		return err
	}
	go func() {
		_ = h.nspawn.Wait()
		close(h.ended)
	}()
	return h.await()
}

// install puts rkt where packages put it.
func (h *Host) install(i rkt.Install) error {
	usr := h.path("root/usr")
	for _, step := range [][]string{
		{"cp", "-r", "--no-target-directory", filepath.Join(i.Dir, "bin"), usr + "/bin"},
		{"cp", "-r", "--no-target-directory", filepath.Join(i.Dir, "libexec"), usr + "/libexec"},
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(step, " "), err, out)
		}
	}
	return nil
}

// ownCgroup makes the cgroup of all that follows, and has nspawn see version 2
// alone, whatever this machine has.
func (h *Host) ownCgroup() error {
	const all = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(all, &st); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		if err := unix.Mount(all+"/unified", all, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot find cgroup version 2: %w", err)
		}
	}
	h.group = filepath.Join(all, filepath.Base(h.dir))
	return os.Mkdir(h.group, 0o755)
}

// await waits until the host has booted.
func (h *Host) await() error {
	limit := time.After(rkt.Patience)
	for {
		if h.leader = h.init(); h.leader > 0 && h.openSession() == nil {
			if out, err := h.command(context.Background(), "systemctl", "is-system-running", "--wait").Output(); err == nil {
				return nil
			} else if state := strings.TrimSpace(string(out)); state == "degraded" {
				failed, _ := h.command(context.Background(), "systemctl", "--failed", "--no-pager").Output()
				return fmt.Errorf("a unit failed:\n%s\n%s", failed, h.console.String())
			}
		}
		select {
		case <-h.ended:
			return fmt.Errorf("systemd-nspawn ended: %s\n%s", h.nspawn.ProcessState, h.console.String())
		case <-limit:
			return fmt.Errorf("it does not run after %s", rkt.Patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// init is the pid of the container's first process, 0 before it is there.
func (h *Host) init() int {
	pid := strconv.Itoa(h.nspawn.Process.Pid)
	text, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	for _, child := range strings.Fields(string(text)) {
		status, _ := os.ReadFile("/proc/" + child + "/status")
		for line := range strings.Lines(string(status)) {
			f := strings.Fields(line)
			if len(f) > 2 && f[0] == "NSpid:" && f[len(f)-1] == "1" {
				n, _ := strconv.Atoi(child)
				return n
			}
		}
	}
	return 0
}

// openSession makes the cgroup of commands, in place of that of a login.
func (h *Host) openSession() (err error) {
	if h.session > 0 {
		return nil
	}
	slice := filepath.Join(h.group, "payload", "user.slice")
	if _, err := os.Stat(slice); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(slice, "session"), 0o755); err != nil {
		return err
	}
	h.session, err = unix.Open(filepath.Join(slice, "session"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

// command is one that runs in the host as a root's of its own would who has
// logged in: in the host's namespaces, in a cgroup in user.slice.
func (h *Host) command(ctx context.Context, argv ...string) *exec.Cmd {
	enter := []string{"--target=" + strconv.Itoa(h.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--wdns=/root", "--",
		// What is in another pid namespace does not end with nsenter.
		"setpriv", "--pdeathsig=KILL", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, argv...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=xterm", "SYSTEMD_PAGER="}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: h.session}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Listen is net.Listen, for TCP, at an address of the host's network.
func (h *Host) Listen(address string) (l net.Listener, err error) {
	ns, err := os.Open("/proc/" + strconv.Itoa(h.leader) + "/ns/net")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	err = netlink.In(ns, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// Path is where this machine has a file of the host's root, to be read and written
// while a test prepares; what the host has mounted below is not there.
func (h *Host) Path(name string) string { return filepath.Join(h.path("root"), name) }

// powerOff ends the host, with what is left in it, and removes what is left of it.
func (h *Host) powerOff() error {
	var errs []error
	off := h.command(context.Background(), "systemctl", "poweroff")
	if out, err := off.CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("cannot power off the systemd host: %w\n%s", err, out))
	}
	select {
	case <-h.ended:
	case <-time.After(rkt.Patience):
		errs = append(errs, fmt.Errorf("cannot power off the systemd host: it still runs after %s\n%s", rkt.Patience, h.console.String()))
	}
	return errors.Join(append(errs, h.remove())...)
}

// remove ends what runs and removes all files and cgroups.
func (h *Host) remove() error {
	var errs []error
	if h.group != "" {
		_ = os.WriteFile(h.group+"/cgroup.kill", []byte("1"), 0)
		for range 100 {
			errs = []error{removeGroups(h.group)}
			if errs[0] == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if h.session > 0 {
		unix.Close(h.session)
	}
	if err := unix.Unmount(h.path("root"), unix.MNT_DETACH); err != nil && err != unix.EINVAL {
		errs = append(errs, os.NewSyscallError("umount", err))
	}
	return errors.Join(append(errs, os.RemoveAll(h.dir))...)
}

// removeGroups removes a cgroup and all below it.
func removeGroups(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil //nolint:nilerr // cgroups come and go while we look
	})
	for _, d := range slices.Backward(dirs) {
		if rerr := unix.Rmdir(d); rerr != nil && rerr != unix.ENOENT {
			err = errors.Join(err, fmt.Errorf("cannot remove cgroup %s: %w", d, rerr))
		}
	}
	return err
}
