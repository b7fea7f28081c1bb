// SPDX-License-Identifier: Apache-2.0

package native

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// shelf is the pod's own root: a small tmpfs with one directory per app, on
// which the app's root is mounted, and the few files and mounts that apps
// share. Only the supervisor sees it.
type shelf struct {
	doc   *contract.Pod
	fd    int // the tmpfs, open for *at calls
	shm   int // /dev/shm of all apps, detached; -1 until the first app
	empty int // an empty read-only directory to hide things behind, detached; -1 until used
}

// Attributes of what apps may write to: no device nodes work and, but for the
// root itself, no set-user-ID program. A device cgroup is not needed then:
// a node that an app makes with CAP_MKNOD cannot be opened.
const (
	noDevices = unix.MOUNT_ATTR_NODEV
	noTricks  = unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID
	dataOnly  = noTricks | unix.MOUNT_ATTR_NOEXEC
)

// newShelf makes the tmpfs, attached nowhere yet.
func newShelf() (*shelf, error) {
	m, err := mount.New("tmpfs", noTricks, "mode=0755", "size=1m")
	if err != nil {
		return nil, err
	}
	return &shelf{fd: m, shm: -1, empty: -1}, nil
}

// attach mounts the shelf over the working directory, which is the pod's, in
// the supervisor's own mount namespace.
func (s *shelf) attach(doc *contract.Pod) error {
	s.doc = doc
	here, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(here)
	if err := mount.Attach(s.fd, here); err != nil {
		return fmt.Errorf("cannot mount the pod's own root: %w", err)
	}
	return nil
}

// close gives back what only the making of roots needs.
func (s *shelf) close() {
	for _, fd := range []int{s.fd, s.shm, s.empty} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// pivot makes the shelf the root of the supervisor's mount namespace and lets
// the host's mounts go.
func (s *shelf) pivot() error {
	if err := unix.Fchdir(s.fd); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot change to the pod's own root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot leave the host's root: %w", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// appRoot attaches the app's root, which is a detached mount, at shelf/<app> and
// mounts in it everything else the app sees.
func (s *shelf) appRoot(app *contract.App, root int, volumes []source) error {
	if err := unix.Mkdirat(s.fd, app.Name, 0o755); err != nil {
		return os.NewSyscallError("mkdirat", err)
	}
	if err := place(s.fd, app.Name, root); err != nil {
		return fmt.Errorf("cannot mount the root of app %q: %w", app.Name, err)
	}
	failpoint.Hit("native/root")
	steps := []struct {
		what string
		do   func() error
	}{
		{"/proc", func() error { return s.proc(root) }},
		{"/sys", func() error { return s.sys(root) }},
		{"/dev", func() error { return s.dev(root) }},
		{"/etc", func() error { return s.etc(root, app) }},
		{"the working directory", func() error { return workingDir(root, app) }},
		{"volumes", func() error { return attachVolumes(root, app, volumes) }},
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

// place attaches a detached mount at a directory of the root, making it if the
// image has none, and closes nothing.
func place(root int, target string, m int) error {
	at, err := safepath.MkdirAllInRoot(root, target, 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return mount.Attach(m, at)
}

// Paths of proc and sys that tell or change what is not the pod's. Of proc,
// what other runtimes protect too; of sys, what rkt always did.
var (
	procReadOnly = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
	procHidden   = []string{"acpi", "asound", "interrupts", "kcore", "kallsyms", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"}
	sysHidden    = []string{"firmware", "hypervisor", "module", "power", "devices/virtual/powercap"}
)

func (s *shelf) proc(root int) error {
	m, err := mount.New("proc", dataOnly)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if err := place(root, "proc", m); err != nil {
		return err
	}
	if s.doc.Insecure.Paths {
		return nil
	}
	for _, name := range procReadOnly {
		if err := readOnly(m, name); err != nil {
			return err
		}
	}
	return s.hide(m, procHidden)
}

func (s *shelf) sys(root int) error {
	attr := dataOnly
	if !s.doc.Insecure.Paths {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	m, err := mount.New("sysfs", attr)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if err := place(root, "sys", m); err != nil {
		return err
	}
	if s.doc.Insecure.Paths {
		return nil
	}
	return s.hide(m, sysHidden)
}

// readOnly mounts name below the filesystem in over itself, read-only. A name
// this kernel does not have is fine.
func readOnly(in int, name string) error {
	at, err := safepath.OpenBeneath(in, name, unix.O_PATH, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	m, err := mount.Clone(at, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if err := mount.SetAttr(m, unix.MOUNT_ATTR_RDONLY, 0, false); err != nil {
		return err
	}
	return mount.Attach(m, at)
}

// hide puts an empty directory or /dev/null over names below the filesystem in.
func (s *shelf) hide(in int, names []string) error {
	for _, name := range names {
		at, err := safepath.OpenBeneath(in, name, unix.O_PATH, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		err = s.hideOne(at)
		unix.Close(at)
		if err != nil {
			return fmt.Errorf("cannot hide %s: %w", name, err)
		}
	}
	return nil
}

func (s *shelf) hideOne(at int) error {
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	var m int
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		m, err = s.emptyDir()
	} else {
		m, err = cloneDevice("/dev/null")
	}
	if err != nil {
		return err
	}
	defer unix.Close(m)
	return mount.Attach(m, at)
}

func (s *shelf) emptyDir() (int, error) {
	if s.empty < 0 {
		m, err := mount.New("tmpfs", dataOnly|unix.MOUNT_ATTR_RDONLY, "mode=0555", "size=4k")
		if err != nil {
			return -1, err
		}
		s.empty = m
	}
	return mount.Clone(s.empty, "", false)
}

// Nodes of /dev that every Linux program may expect, bound from the host's; and
// links (as in systemd's and Docker's containers).
var (
	devNodes = []string{"null", "zero", "full", "random", "urandom", "tty"}
	devLinks = [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}}
)

func (s *shelf) dev(root int) error {
	m, err := mount.New("tmpfs", noTricks|unix.MOUNT_ATTR_NOEXEC, "mode=0755", "size=64k")
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if err := place(root, "dev", m); err != nil {
		return err
	}
	for _, name := range devNodes {
		if err := bindDevice(m, name, "/dev/"+name); err != nil {
			return err
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l[0], m, l[1]); err != nil {
			return os.NewSyscallError("symlinkat", err)
		}
	}
	pts, err := mount.New("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
	if err != nil {
		return err
	}
	defer unix.Close(pts)
	if err := place(m, "pts", pts); err != nil {
		return err
	}
	if err := s.sharedMemory(m); err != nil {
		return err
	}
	mq, err := mount.New("mqueue", dataOnly)
	if err != nil {
		return err
	}
	defer unix.Close(mq)
	return place(m, "mqueue", mq)
}

// bindDevice puts the host's device over an empty file: the bind mount's own
// flags let it be opened, the tmpfs below lets no other node.
func bindDevice(dev int, name, source string) error {
	if err := unix.Mknodat(dev, name, unix.S_IFREG|0o666, 0); err != nil {
		return os.NewSyscallError("mknodat", err)
	}
	m, err := cloneDevice(source)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	at, err := unix.Openat(dev, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(at)
	return mount.Attach(m, at)
}

// cloneDevice is a detached mount of the host's device node. Read-only: the
// device can be written to all the same, but the node, which is the host's,
// keeps its mode and owner.
func cloneDevice(source string) (int, error) {
	m, err := mount.Clone(unix.AT_FDCWD, source, false)
	if err != nil {
		return -1, err
	}
	if err := mount.SetAttr(m, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, 0, false); err != nil {
		unix.Close(m)
		return -1, err
	}
	return m, nil
}

// sharedMemory gives all apps of the pod the same /dev/shm: they share the IPC
// namespace that it belongs to.
func (s *shelf) sharedMemory(dev int) error {
	if s.shm < 0 {
		var err error
		if s.doc.HostIPC {
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
func (s *shelf) etc(root int, app *contract.App) error {
	type file struct {
		name, content          string
		onlyThere, onlyMissing bool
	}
	files := []file{{name: "hostname", content: s.doc.Hostname + "\n", onlyThere: true}}
	if s.doc.Resolv != nil {
		files = append(files, file{name: "resolv.conf", content: *s.doc.Resolv})
	}
	if s.doc.Hosts != nil {
		files = append(files, file{name: "hosts", content: *s.doc.Hosts, onlyMissing: s.doc.HostsIfMissing})
	}
	for _, f := range files {
		if f.onlyThere || f.onlyMissing {
			exists, empty := lookAt(root, "etc/"+f.name)
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

// lookAt tells whether the root has something at path, and whether that is an
// empty file, which is only a place to mount over, of the image's making or
// stage0's.
func lookAt(root int, path string) (exists, empty bool) {
	fd, err := safepath.OpenInRoot(root, path, unix.O_PATH)
	if err != nil {
		return false, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return true, err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0
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
