// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/wait"
)

const first, count = 0x4000_0000, 65536

// onThread runs f on a thread that is thrown away.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread()
		errs <- f()
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}

// sh runs a script as root of the namespace, with its output in a file.
func sh(n *Namespace, script string) (string, error) {
	out, err := os.CreateTemp("", "userns-")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	c := &forkexec.Child{}
	for i := range 2 {
		c.Call("place a stream", unix.SYS_DUP3, out.Fd(), uintptr(i+1), 0)
	}
	Enter(c, n.FD)
	BecomeRoot(c)
	if err := c.Exec("/bin/sh", []string{"sh", "-c", script}, []string{"PATH=/usr/bin:/bin"}); err != nil {
		return "", err
	}
	pid, err := c.Start()
	if err != nil {
		return "", err
	}
	if _, err := wait.For(pid); err != nil {
		return "", err
	}
	b, err := os.ReadFile(out.Name())
	return string(b), err
}

func TestNew(t *testing.T) {
	onThread(t, func() error {
		n, err := New(first, count, unix.CLONE_NEWUTS|unix.CLONE_NEWNET)
		if err != nil {
			return err
		}
		defer n.Close()
		before, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		if err := n.Join(unix.CLONE_NEWUTS | unix.CLONE_NEWNET); err != nil {
			return err
		}
		if after, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || after == before {
			return fmt.Errorf("joined %s from %s: %w", after, before, err)
		}
		n.Release()
		n.Release()
		out, err := sh(n, "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; id -G; hostname inside && hostname; cat /proc/self/status | grep CapEff")
		if err != nil {
			return err
		}
		line := fmt.Sprintf(" 0 %d %d\n", first, count)
		if want := "0\n0\n" + line + line + "0\ninside\n"; !strings.HasPrefix(out, want) || strings.Contains(out, "CapEff:\t0000000000000000") {
			return fmt.Errorf("inside: %q", out)
		}
		// It has nothing over the host's own.
		if out, err = sh(n, "mount -t tmpfs none /mnt 2>/dev/null || echo refused; ip link set lo up && echo made"); err != nil || out != "refused\nmade\n" {
			return fmt.Errorf("inside: %q, %w", out, err)
		}
		return nil
	})
}

// TestActAsRoot: files that the thread makes are the namespace's root's, through a
// mount with mapped owners they are 0's on the disk, and the thread can do what it
// could, meanwhile and afterwards.
func TestActAsRoot(t *testing.T) {
	dir := t.TempDir()
	onThread(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		n, err := New(first, count, 0)
		if err != nil {
			return err
		}
		defer n.Close()
		n.Release()
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGUSR1), 0, 0, 0); err != nil {
			return err
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		m, err := mount.Clone(fd, "", false)
		if err != nil {
			return err
		}
		defer unix.Close(m)
		if err := mount.MapOwners(m, n.FD, fd, false); err != nil {
			return err
		}
		if err := unix.Mknodat(m, "no", unix.S_IFREG|0o644, 0); err != unix.EOVERFLOW {
			return fmt.Errorf("who is not in the map makes a file: %w", err)
		}
		back, err := n.ActAsRoot()
		if err != nil {
			return err
		}
		if err := errors.Join(
			unix.Mknodat(m, "mapped", unix.S_IFREG|0o644, 0),
			os.WriteFile(filepath.Join(dir, "plain"), nil, 0o644), // DAC_OVERRIDE: dir is the host's root's
			unix.Mount("none", dir, "tmpfs", 0, ""),
			unix.Unmount(dir, unix.MNT_DETACH),
			back(),
			unix.Mknod(filepath.Join(dir, "after"), unix.S_IFCHR|0o644, 0x103),
		); err != nil {
			return err
		}
		for name, want := range map[string]uint32{"mapped": 0, "plain": first, "after": 0} {
			var st syscall.Stat_t
			if err := syscall.Stat(filepath.Join(dir, name), &st); err != nil || st.Uid != want || st.Gid != want {
				return fmt.Errorf("%s is %d:%d's, want %d: %w", name, st.Uid, st.Gid, want, err)
			}
		}
		var signal int32
		if err := prctlGet(unix.PR_GET_PDEATHSIG, &signal); err != nil || signal != int32(unix.SIGUSR1) {
			return fmt.Errorf("the signal at the parent's end is %d, %w", signal, err)
		}
		return nil
	})
}

// TestMapOwnersRefused names the filesystem.
func TestMapOwnersRefused(t *testing.T) {
	onThread(t, func() error {
		n, err := New(first, count, 0)
		if err != nil {
			return err
		}
		defer n.Close()
		fd, err := unix.Open("/proc/sys", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		m, err := mount.Clone(fd, "", false)
		if err != nil {
			return err
		}
		defer unix.Close(m)
		err = mount.MapOwners(m, n.FD, fd, false)
		if err == nil || err.Error() != "its filesystem, proc, cannot be mounted with mapped owners" {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}

// TestMakerDiesWithUs: the process behind the namespace is none that stays.
func TestMakerDiesWithUs(t *testing.T) {
	onThread(t, func() error {
		n, err := New(first, count, 0)
		if err != nil {
			return err
		}
		pid := n.maker.PID()
		n.Close()
		n.Release()
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("after Close: %w", err)
		}
		return nil
	})
}
