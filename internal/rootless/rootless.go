// SPDX-License-Identifier: Apache-2.0

// Package rootless makes an ordinary user's rkt root of a user namespace, in
// which it does what root's rkt does: mounts, files of other users, namespaces.
// docs/decisions/0009-rootless.md tells how, and why the process stays the same.
package rootless

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/userns"
)

// envUID tells the rkt that is executed in the namespace whose it is. It means
// nothing to one that is in the machine's own user namespace.
const envUID = "RKT_ROOTLESS_UID"

// User tells whether this process is an ordinary user's rkt, in the namespace
// (then uid is the user's on the host) or before. It takes the word of it out of
// the environment, so it is asked once.
func User() (uid int, inside, ok bool) {
	if uid = os.Geteuid(); uid != 0 {
		return uid, false, true
	}
	text, set := os.LookupEnv(envUID)
	if !set {
		return 0, false, false
	}
	_ = os.Unsetenv(envUID)
	uid, err := strconv.Atoi(text)
	if err != nil || uid <= 0 || userns.Initial() {
		return 0, false, false
	}
	return uid, true, true
}

// Owns tells whether dir is the caller's own, or can be made by the caller.
func Owns(dir string) (bool, error) {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	if err == nil {
		return int(st.Uid) == os.Geteuid(), nil
	}
	for at := dir; err == unix.ENOENT && len(at) > 1; {
		at = filepath.Dir(at)
		if err = unix.Stat(at, &st); err == nil {
			return unix.Access(at, unix.W_OK|unix.X_OK) == nil, nil
		}
	}
	if err == unix.EACCES {
		return false, nil
	}
	return false, fmt.Errorf("cannot look at data directory %q: %w", dir, err)
}

// MakeDir makes the data directory, for nobody but the user: what lies in it may
// have set-user-id programs that a pod made, and they are the user's. One that
// exists must be the user's and for nobody else to write to, whatever was there a
// moment ago: who owns it says which images run.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make data directory: %w", err)
	}
	fd, err := openOwn(unix.AT_FDCWD, dir, 0)
	if err != nil {
		return fmt.Errorf("cannot use data directory %q: %w", dir, err)
	}
	defer unix.Close(fd)
	// Whoever else may look into a directory that the user chose.
	if err := unix.Mkdirat(fd, "pods", 0o700); err != nil && err != unix.EEXIST {
		return fmt.Errorf("cannot make data directory: %w", &fs.PathError{Op: "mkdir", Path: filepath.Join(dir, "pods"), Err: err})
	}
	pods, err := openOwn(fd, "pods", unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("cannot use data directory %q: pods: %w", dir, err)
	}
	unix.Close(pods)
	return nil
}

// openOwn opens a directory that is the caller's alone to write to.
func openOwn(at int, path string, flags int) (int, error) {
	fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	switch {
	case err != nil:
	case int(st.Uid) != os.Geteuid():
		err = fmt.Errorf("it belongs to user %d", st.Uid)
	case st.Mode&0o002 != 0:
		err = hint.Wrap(errors.New("everybody may write to it"), "chmod o-w "+path)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Become makes a user namespace whose root is the caller, and executes argv, this
// same program, in it in place of this process. join is the path of libexec's
// program of that name. It returns only an error.
func Become(join string, argv []string) error {
	ns, err := makeNamespace(join)
	if err != nil {
		return fmt.Errorf("cannot make a user namespace: %w", err)
	}
	defer ns.Close()
	return execute(join, ns, argv)
}

// Attempt is Become for callers that can go on without: it changes nothing before
// it has seen that a process can join the namespace, which some machines allow
// nobody (Ubuntu's AppArmor). Its error is ErrNone then, or that ids which the user
// has cannot be mapped.
func Attempt(join string, argv []string) error {
	ns, err := makeNamespace(join)
	if ids := (*mapError)(nil); errors.As(err, &ids) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	defer ns.Close()
	try := exec.Command(join, "3", join, join)
	try.ExtraFiles = []*os.File{ns}
	if out, err := try.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", ErrNone, cmp.Or(strings.TrimSpace(string(out)), err.Error()))
	}
	return execute(join, ns, argv)
}

// ErrNone: this machine lets the user make no user namespace that is of use.
var ErrNone = errors.New("no user namespace can be had")

// Join executes argv likewise in the user namespace of the process pid.
func Join(join string, pid int, argv []string) error {
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return fmt.Errorf("cannot open the user namespace of process %d: %w", pid, err)
	}
	defer ns.Close()
	return execute(join, ns, argv)
}

func execute(join string, ns *os.File, argv []string) error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	// One that exec leaves open; join closes it.
	fd, err := unix.FcntlInt(ns.Fd(), unix.F_DUPFD, 3)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	defer unix.Close(fd)
	vector := append([]string{join, strconv.Itoa(fd), self}, argv...)
	// Of two the first would count, and that is the caller's.
	_ = os.Unsetenv(envUID)
	env := append(os.Environ(), envUID+"="+strconv.Itoa(os.Geteuid()))
	if err := syscall.Exec(join, vector, env); err != nil {
		return fmt.Errorf("cannot execute %q: %w", join, err)
	}
	return nil
}

// makeNamespace makes a namespace and maps ids into it. It lives as long as the
// file is open, or a process is in it.
func makeNamespace(join string) (*os.File, error) {
	users, groups, err := maps()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// A process that waits in it for the maps, and ends when w is closed.
	pid, err := syscall.ForkExec(join, []string{join}, &syscall.ProcAttr{Dir: "/", Files: []uintptr{r.Fd()},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
	if err != nil {
		w.Close()
		return nil, explain(err)
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err == nil {
		err = setMaps(pid, users, groups)
	}
	w.Close()
	var status syscall.WaitStatus
	for {
		_, werr := syscall.Wait4(pid, &status, 0, nil)
		if werr != syscall.EINTR {
			break
		}
	}
	if err != nil {
		if ns != nil {
			ns.Close()
		}
		return nil, err
	}
	return ns, nil
}

// explain adds to the kernel's refusal of a user namespace what can be done.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return hint.Wrap(err, "the administrator's limit is reached: see /proc/sys/user/max_user_namespaces")
	case errors.Is(err, unix.EPERM):
		remedy := "this machine, or the container this is in, does not let ordinary users make user namespaces; in a chroot nobody may"
		if b, rerr := os.ReadFile("/proc/sys/kernel/unprivileged_userns_clone"); rerr == nil && len(b) > 0 && b[0] == '0' {
			remedy = "the administrator forbids it: sysctl kernel.unprivileged_userns_clone=1 would allow it"
		}
		return hint.Wrap(err, remedy)
	case errors.Is(err, unix.EINVAL):
		return hint.Wrap(err, "this kernel has no user namespaces")
	}
	return err
}

// NetworkProgram finds what carries a user's network, pasta before slirp4netns.
// The error says why there is none.
func NetworkProgram() (string, error) {
	for _, name := range []string{"pasta", "slirp4netns"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return "", err
		}
		if err := unix.Access("/dev/net/tun", unix.R_OK|unix.W_OK); err != nil {
			return "", fmt.Errorf("%s cannot be used: %w", name, &fs.PathError{Op: "open", Path: "/dev/net/tun", Err: err})
		}
		return path, nil
	}
	return "", errors.New("neither pasta nor slirp4netns is installed")
}
