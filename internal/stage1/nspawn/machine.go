// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// machinePlace is where the machine's root is attached in the pod's mount
// namespace: a directory that is on every machine, away from the shelf.
const machinePlace = "/proc/driver"

// machineGroup is systemd's cgroup below the pod's; no app has such a name.
const machineGroup = "_systemd"

// machine is the small tree around the apps' roots, as systemd sees it.
type machine struct {
	root   int // descriptor of its root
	listen int // the control socket
}

// build makes the machine on the calling thread, which is in the pod's mount
// namespace. journal is a directory of the host for the pod's journal.
func (s *software) build(doc *contract.Pod, apps []assemble.Handed, journal string) (*machine, error) {
	root, err := mount.New("tmpfs", unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID, "mode=0755", "size=8m")
	if err != nil {
		return nil, err
	}
	at, err := unix.Open(machinePlace, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: machinePlace, Err: err}
	}
	defer unix.Close(at)
	if err := mount.Attach(root, at); err != nil {
		return nil, err
	}
	m := &machine{root: root, listen: -1}
	// By path: the link itself leads to the host's mounts.
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return m.skeleton(doc, s.init) },
		func() error { return m.software(s.tree) },
		func() error { return m.apps(doc, apps) },
		func() error {
			return m.bind(unix.AT_FDCWD, program, ownProgram, false, unix.MOUNT_ATTR_RDONLY)
		},
		func() error {
			return m.bind(unix.AT_FDCWD, journal, journalAt, true, unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
		},
		m.open,
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("cannot build the pod's machine: %w", err)
		}
	}
	failpoint.Hit("nspawn/machine")
	return m, nil
}

// skeleton writes directories and files. The tree is new and nobody else's: paths
// lead nowhere else.
func (m *machine) skeleton(doc *contract.Pod, init string) error {
	for _, dir := range []string{"usr", "etc/systemd/system", "proc", "sys", "dev", "run", "tmp", "root", "var/log/journal", "var/tmp", ownDir + "/apps", ownDir + "/place"} {
		if err := os.MkdirAll(machinePlace+"/"+dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(machinePlace+ownDir, 0o700); err != nil {
		return err
	}
	files := map[string]string{
		"etc/os-release": "ID=rkt\nNAME=rkt\nPRETTY_NAME=\"rkt pod\"\n",
		"etc/machine-id": machineID(doc) + "\n",
		"etc/hostname":   doc.Hostname + "\n",
		"etc/passwd":     "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
		"etc/group":      "root:x:0:\nnogroup:x:65534:\n",
		// Nothing that an app writes is dropped, and nothing of it kept after the pod.
		"etc/systemd/journald.conf": "[Journal]\nStorage=persistent\nSplitMode=none\nSeal=no\nRateLimitIntervalSec=0\n" +
			"RateLimitBurst=0\nSyncIntervalSec=30s\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\nForwardToKMsg=no\nForwardToConsole=no\nForwardToWall=no\n",
		"etc/systemd/system.conf": "[Manager]\nLogLevel=notice\nLogTarget=journal\nShowStatus=no\nDefaultTasksMax=infinity\nCrashShell=no\nCrashReboot=no\n",
	}
	for name, text := range units(doc, init) {
		files[unitDir+"/"+name] = text
	}
	for name, text := range files {
		if err := os.WriteFile(machinePlace+"/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// machineID is systemd's for the pod: its UUID.
func machineID(doc *contract.Pod) string { return strings.ReplaceAll(doc.UUID, "-", "") }

// software shows tree's programs, read-only.
func (m *machine) software(tree string) error {
	const attr = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV
	if err := m.bind(unix.AT_FDCWD, tree+"/usr", "/usr", true, attr); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		path := filepath.Join(tree, "/", dir)
		st, err := os.Lstat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return err
		case st.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err == nil {
				err = os.Symlink(to, machinePlace+"/"+dir)
			}
			if err != nil {
				return err
			}
		case st.IsDir():
			if err := m.bind(unix.AT_FDCWD, path, "/"+dir, true, attr); err != nil {
				return err
			}
		}
	}
	// By which the dynamic loader finds libraries on some distributions.
	cache := filepath.Join(tree, "/etc/ld.so.cache")
	if unix.Access(cache, unix.R_OK) != nil {
		return nil
	}
	return m.bind(unix.AT_FDCWD, cache, "/etc/ld.so.cache", false, attr)
}

// bind shows a file or directory at a place that is made for it.
func (m *machine) bind(dirfd int, source, target string, dir bool, attr uint64) error {
	fd, err := mount.Clone(dirfd, source, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := mount.SetAttr(fd, attr, 0, false); err != nil {
		return err
	}
	return m.attach(fd, target, dir)
}

func (m *machine) attach(fd int, target string, dir bool) error {
	path := machinePlace + target
	var err error
	if dir {
		err = os.MkdirAll(path, 0o755)
	} else {
		err = os.WriteFile(path, nil, 0o644)
	}
	if err != nil {
		return err
	}
	at, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(at)
	return mount.Attach(fd, at)
}

func (m *machine) apps(doc *contract.Pod, apps []assemble.Handed) error {
	for i := range apps {
		if err := m.attach(apps[i].Root, appsAt+"/"+doc.Apps[i].Name, true); err != nil {
			return err
		}
	}
	return nil
}

// open makes the control socket, in a directory that is root's alone in the
// machine and that no app sees.
func (m *machine) open() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: machinePlace + controlAt}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 64); err != nil {
		return os.NewSyscallError("listen", err)
	}
	m.listen = fd
	return nil
}

// boot starts systemd-nspawn on the machine, in systemd's cgroup, and returns its
// pid. It is killed with the calling thread, and the machine with it (Boot). What it says goes to
// stderr.
func (s *software) boot(doc *contract.Pod, stderr int) (int, error) {
	if err := hideRun(); err != nil {
		return 0, err
	}
	if err := nameHost(); err != nil {
		return 0, err
	}
	dir := doc.Cgroup + "/" + machineGroup
	if err := cgroup.Create(dir); err != nil {
		return 0, err
	}
	c := &forkexec.Child{}
	var err error
	if c.CgroupFD, err = cgroup.Open(dir); err != nil {
		return 0, err
	}
	defer unix.Close(c.CgroupFD)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	defer unix.Close(null)
	want, err := capabilities(doc)
	if err != nil {
		return 0, err
	}
	argv := append(append([]string{}, s.nspawn...), "--quiet", "--settings=no", "--register=no", "--keep-unit", "--console=pipe",
		"--directory="+machinePlace, "--machine=rkt-"+doc.UUID, "--uuid="+doc.UUID, "--link-journal=no",
		"--resolv-conf=off", "--timezone=off", "--capability="+strings.Join(want.Names(), ","),
		ownProgram, "boot", s.init)
	env := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", // whatever the host has
		// The pod's are there already.
		"SYSTEMD_NSPAWN_SHARE_NS_IPC=1", "SYSTEMD_NSPAWN_SHARE_NS_UTS=1",
		"SYSTEMD_NSPAWN_LOCK=0", "SYSTEMD_NSPAWN_TMPFS_TMP=0",
		// Its filter is for all in the machine; each app has the one that was asked
		// for (appinit).
		"SYSTEMD_SECCOMP=0",
	}
	c.Call("start a session", unix.SYS_SETSID)
	c.Call("end with rkt", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	if err := c.LimitFiles(); err != nil {
		return 0, err
	}
	for to, fd := range []int{null, null, stderr} {
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			return 0, os.NewSyscallError("fcntl", err)
		}
		defer unix.Close(high)
		c.Call("place a standard stream", unix.SYS_DUP3, uintptr(high), uintptr(to), 0)
	}
	c.Call("close descriptors", unix.SYS_CLOSE_RANGE, 3, 1<<32-1, 0)
	if err := c.Exec(s.nspawn[0], argv, env); err != nil {
		return 0, err
	}
	pid, err := c.Start()
	if err != nil {
		return 0, fmt.Errorf("cannot start systemd-nspawn: cannot %w", err)
	}
	return pid, nil
}

// capabilities are those that an app is to have, or systemd needs; systemd-nspawn
// adds them to its own.
func capabilities(doc *contract.Pod) (caps.Set, error) {
	have, known, err := caps.Bounding()
	if err != nil {
		return 0, err
	}
	want := caps.Of(unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP, unix.CAP_SYS_BOOT, unix.CAP_SYS_PTRACE, unix.CAP_KILL)
	if doc.Insecure.Capabilities {
		return have, nil
	}
	for i := range doc.Apps {
		set, _, err := caps.Choose(doc.Apps[i].Capabilities, have, known)
		if err != nil {
			return 0, err
		}
		want |= set
	}
	return want, nil
}

// hideRun gives the pod's mount namespace a /run of its own: what systemd-nspawn
// keeps there ends with the pod, however that ends.
func hideRun() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("cannot mount the pod's own /run: %w", os.NewSyscallError("mount", err))
	}
	return nil
}

// nameHost sees to it that systemd-nspawn finds the host's os-release, without which
// it does not start: of a host that has none, /etc in the pod's mount namespace is one
// with such a file beside what it has. It takes hideRun's /run.
func nameHost() error {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if unix.Access(path, unix.F_OK) == nil {
			return nil
		}
	}
	const dir = "/run/etc"
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(dir+"/os-release", []byte("ID=linux\nNAME=Linux\n"), 0o644)
	}
	if err == nil {
		err = os.NewSyscallError("mount", unix.Mount("overlay", "/etc", "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "lowerdir="+dir+":/etc"))
	}
	if err != nil {
		return fmt.Errorf("cannot give the pod's /etc the os-release that this host lacks: %w", err)
	}
	return nil
}

// Boot is the machine's first program, which becomes systemd. The kernel ends it
// with systemd-nspawn, and all of the pod with it.
func Boot(args []string) error {
	if len(args) != 1 || os.Getpid() != 1 {
		return errors.New("cannot boot: only systemd-nspawn starts this")
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	// For journald: the place where its files stay is there already.
	if err := os.MkdirAll("/run/systemd/journal", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/run/systemd/journal/flushed", nil, 0o644); err != nil {
		return err
	}
	env := []string{
		"SYSTEMD_UNIT_PATH=" + unitDir,
		"SYSTEMD_GENERATOR_PATH=/rkt/none", "SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/rkt/none",
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name == "container" || name == "container_uuid" || name == "PATH" {
			env = append(env, v)
		}
	}
	err := unix.Exec(args[0], []string{args[0], "--system", "--log-target=journal", "--log-level=notice", "--show-status=0"}, env)
	return &os.PathError{Op: "exec", Path: args[0], Err: err}
}
