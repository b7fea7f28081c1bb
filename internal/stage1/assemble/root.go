// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// appRoot attaches the app's root, which is a detached mount, at shelf/<app> and
// mounts in it everything else the app sees. last: no app follows.
func (s *shelf) appRoot(doc *contract.Pod, opened *app, last bool, users contract.Users) error {
	app, root := opened.App, opened.root
	if err := place(s.fd, app.Name, root); err != nil {
		return fmt.Errorf("cannot mount the root of app %q: %w", app.Name, err)
	}
	failpoint.Hit("assemble/root")
	steps := []struct {
		what string
		do   func() error
	}{
		{"/proc and /sys", func() error { return s.procAndSys(root, doc.Insecure.Paths, last) }},
		{"/dev", func() error { return s.devices(root, doc.HostIPC, app.DeviceRules != nil, last, users) }},
		{"its socket in /dev", func() error { return opened.listen() }},
		{"/etc", func() error { return s.etc(doc, app, root) }},
		{"the working directory", func() error { return workingDir(root, app) }},
		{"volumes", func() error { return attachVolumes(root, app, opened.volumes) }},
		{"devices", func() error { return attachDevices(root, app, opened.devices) }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("cannot set up %s of app %q: %w", step.what, app.Name, err)
		}
	}
	// Programs take it for granted; an image's own stays.
	_ = unix.Mkdirat(root, "tmp", 0o1777)
	if app.ReadOnlyRoot {
		if err := mount.SetAttr(root, unix.MOUNT_ATTR_RDONLY, 0, false); err != nil {
			return fmt.Errorf("cannot make the root of app %q read-only: %w", app.Name, err)
		}
	}
	return nil
}

// procAndSys attaches /sys and makes the place for /proc, which is the first
// process's to mount.
func (s *shelf) procAndSys(root int, bare, last bool) error {
	at, err := safepath.MkdirAllInRoot(root, "proc", 0o755)
	if err != nil {
		return err
	}
	s.procs = append(s.procs, at)
	if !bare {
		sys, err := take(s.sys, root, "sys", last)
		if err != nil {
			return err
		}
		return unix.Close(sys)
	}
	sys, _, err := newSys(0, s.hostNetwork)
	if err != nil {
		return err
	}
	defer unix.Close(sys)
	return place(root, "sys", sys)
}

// devices attaches /dev, and in it what each app has of its own (terminals) or
// what belongs to the pod's IPC namespace. ruled: the app has rules for nodes that
// it makes itself, which can be opened here.
func (s *shelf) devices(root int, hostIPC, ruled, last bool, users contract.Users) error {
	dev, err := take(s.dev, root, "dev", last)
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	if ruled {
		if err := mount.SetAttr(dev, 0, unix.MOUNT_ATTR_NODEV, false); err != nil {
			return err
		}
	}
	tty := users.Host(groupTTY)
	if users.Has(groupTTY) != nil {
		tty = users.Host(0)
	}
	options := []string{"newinstance", "ptmxmode=0666", "mode=0620", "gid=" + strconv.FormatUint(uint64(tty), 10)}
	pts, err := mount.New("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, options...)
	if err != nil && !userns.Initial() { // which may not have that group
		pts, err = mount.New("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, options[:3]...)
	}
	if err != nil {
		return err
	}
	defer unix.Close(pts)
	if err := place(dev, "pts", pts); err != nil {
		return err
	}
	if err := s.sharedMemory(dev, hostIPC); err != nil {
		return err
	}
	mq, err := mount.New("mqueue", dataOnly)
	if hostIPC && errors.Is(err, unix.EPERM) {
		// The host's IPC namespace is not the user namespace's.
		if mq, err = mount.Clone(unix.AT_FDCWD, "/dev/mqueue", false); errors.Is(err, unix.ENOENT) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(mq)
	return place(dev, "mqueue", mq)
}

// groupTTY is the group of terminals everywhere.
const groupTTY = 5

// workingDir makes the directory the app is to start in, if the image has none,
// as images expect.
func workingDir(root int, app *contract.App) error {
	if app.WorkingDir == "" || app.WorkingDir == "/" {
		return nil
	}
	fd, err := safepath.MkdirAllInRoot(root, app.WorkingDir, 0o755)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// sharedMemory gives all apps of the pod the same /dev/shm: they share the IPC
// namespace that it belongs to.
func (s *shelf) sharedMemory(dev int, hostIPC bool) error {
	if s.shm < 0 {
		var err error
		if hostIPC {
			s.shm, err = mount.Clone(unix.AT_FDCWD, "/dev/shm", false)
		} else {
			s.shm, err = mount.New("tmpfs", dataOnly, "mode=1777", "size=64m")
		}
		if err != nil {
			return err
		}
		return place(dev, "shm", s.shm)
	}
	m, err := mount.Clone(s.shm, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	return place(dev, "shm", m)
}

// etc puts the pod's resolv.conf, hosts and hostname over the image's.
func (s *shelf) etc(doc *contract.Pod, app *contract.App, root int) error {
	type file struct {
		name, content          string
		onlyThere, onlyMissing bool
	}
	files := []file{{name: "hostname", content: doc.Hostname + "\n", onlyThere: true}}
	if doc.Resolv != nil {
		files = append(files, file{name: "resolv.conf", content: *doc.Resolv})
	}
	if doc.Hosts != nil {
		files = append(files, file{name: "hosts", content: *doc.Hosts, onlyMissing: doc.HostsIfMissing})
	}
	for _, f := range files {
		if f.onlyThere || f.onlyMissing {
			exists, empty := appinit.LookAt(root, "etc/"+f.name)
			if f.onlyThere && !exists || f.onlyMissing && exists && !empty {
				continue
			}
		}
		if err := s.bindContent(root, app.Name+"."+f.name, "etc/"+f.name, f.content); err != nil {
			return err
		}
	}
	return nil
}

// bindContent writes a file on the shelf and binds it at target.
func (s *shelf) bindContent(root int, name, target, content string) error {
	fd, err := unix.Openat(s.fd, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		return fmt.Errorf("cannot write %s: %w", target, err)
	}
	m, err := mount.Clone(fd, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	at, err := safepath.CreateInRoot(root, target, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return mount.Attach(m, at)
}
