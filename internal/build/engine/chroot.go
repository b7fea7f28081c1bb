// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// chroot runs the step with a root of its own and rkt's usual capabilities and
// filter, in the host's other namespaces. All mounts are this process's own, and
// end with it.
func (o *order) chroot() (int, error) {
	s := &o.Step
	// Whatever the command leaves behind becomes this process's child.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl", err)
	}
	unix.Umask(0)
	root, err := o.chrootRoot()
	if err != nil {
		return 0, fmt.Errorf("cannot mount the step's root: %w", err)
	}
	app := &contract.App{Environment: s.Env, WorkingDir: s.Dir}
	p, err := appinit.Confine(&contract.Pod{}, app, appinit.Users{})
	if err != nil {
		return 0, err
	}
	if p.User, err = appinit.LookupUser(root, s.User, s.Group, nil, contract.Users{}); err != nil {
		return 0, err
	}
	if p.Program, err = appinit.LookupProgram(root, s.Argv[0], p.Dir, s.Env); err != nil {
		return 0, err
	}
	p.Argv, p.Root, p.DieWithParent = s.Argv, o.chrootPlace(), true
	p.Stdio = [3]int{0, 1, 2} // os/exec opened /dev/null where the caller has none
	if err := appinit.LendOutput(p.User.UID, 1, 2); err != nil {
		return 0, err
	}
	pid, err := p.Start()
	if err != nil {
		return 0, p.Failed(root, err)
	}
	status, err := wait.For(pid)
	return status, errors.Join(err, killChildren())
}

func (o *order) chrootPlace() string { return filepath.Join(o.Dir, "root") }

// chrootRoot mounts the tree and what programs expect in it, and returns a
// descriptor of it.
func (o *order) chrootRoot() (int, error) {
	s := &o.Step
	place := o.chrootPlace()
	if err := os.Mkdir(place, 0o755); err != nil {
		return -1, err
	}
	m, err := o.overlay()
	if err != nil {
		return -1, err
	}
	at, err := unix.Open(place, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	if err := mount.Attach(m, at); err != nil {
		return -1, err
	}
	binds := []Mount{{Source: "/proc", Target: "/proc"}, {Source: "/sys", Target: "/sys", ReadOnly: true}, {Source: "/dev", Target: "/dev"}}
	// The host's settings, which its /proc lets any root change.
	for _, p := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"} {
		if _, err := os.Lstat(p); err == nil {
			binds = append(binds, Mount{Source: p, Target: p, ReadOnly: true})
		}
	}
	if text, err := resolv(s.Network); err != nil {
		return -1, err
	} else if text != nil {
		binds = append(binds, Mount{Source: "/etc/resolv.conf", Target: "/etc/resolv.conf", ReadOnly: true})
	}
	if len(s.Hosts) > 0 {
		text, err := os.ReadFile("/etc/hosts")
		if err != nil && !os.IsNotExist(err) {
			return -1, err
		}
		file := filepath.Join(o.Dir, "hosts")
		if err := os.WriteFile(file, append(text, added(s.Hosts)...), 0o644); err != nil {
			return -1, err
		}
		binds = append(binds, Mount{Source: file, Target: "/etc/hosts", ReadOnly: true})
	} else if _, err := os.Stat("/etc/hosts"); err == nil {
		binds = append(binds, Mount{Source: "/etc/hosts", Target: "/etc/hosts", ReadOnly: true})
	}
	for _, b := range append(binds, s.Mounts...) {
		if err := bind(m, &b); err != nil {
			return -1, fmt.Errorf("cannot mount at %s: %w", b.Target, err)
		}
	}
	if s.Dir == "" {
		s.Dir = "/"
	}
	dir, err := safepath.MkdirAllInRoot(m, s.Dir, 0o755)
	if err != nil {
		return -1, err
	}
	return m, unix.Close(dir)
}

// overlay mounts the step's trees, attached nowhere.
func (o *order) overlay() (int, error) {
	lower := append(o.Step.Lower[:len(o.Step.Lower):len(o.Step.Lower)], filepath.Join(o.Dir, "skeleton"))
	return Overlay(lower, o.Step.Upper, filepath.Join(o.Dir, "overlay"))
}

// bind attaches what is at m.Source.
func bind(root int, m *Mount) error {
	fd, err := mount.Clone(unix.AT_FDCWD, m.Source, m.Target == "/dev")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if m.ReadOnly {
		if err := mount.SetAttr(fd, unix.MOUNT_ATTR_RDONLY, 0, false); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	var at int
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		at, err = safepath.MkdirAllInRoot(root, m.Target, 0o755)
	} else {
		at, err = safepath.CreateInRoot(root, m.Target, 0o644)
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return mount.Attach(fd, at)
}

// killChildren ends what the command left behind.
func killChildren() error {
	for {
		list, err := children()
		if err != nil || len(list) == 0 {
			return err
		}
		for _, pid := range list {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = wait.For(pid)
		}
	}
}

// children are those of this process; those of its children come to it when
// their parent is gone.
func children() ([]int, error) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var list []int
	for _, t := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for word := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				return nil, err
			}
			list = append(list, pid)
		}
	}
	return list, nil
}
