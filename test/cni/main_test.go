// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package cni runs networks with the plugins of Debian's
// containernetworking-plugins, on a host that is a network namespace and a mount
// namespace of the tests' own: nothing of the machine's network changes.
package cni

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that runs in the namespaces; its value is a directory
// for what the tests share.
const inside = "RKT_TEST_CNI_HOST"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "rkt-cni-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := apart(dir)
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// apart runs this program in the namespaces.
func apart(dir string) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// furnish makes the namespaces a host: directories that plugins write to are
// its own, sysfs shows its network, loopback is up.
func furnish() error {
	if os.Geteuid() != 0 {
		return nil // every test skips itself
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make the mounts private: %w", err)
	}
	for _, dir := range []string{"/run", "/var/lib/cni"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("cannot mount over %s: %w", dir, err)
		}
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("cannot mount sysfs: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot start loopback: %w: %s", err, out)
	}
	return nil
}

// needs skips the test where something is missing.
func needs(t *testing.T, plugins ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, p := range plugins {
		if _, err := os.Stat(filepath.Join(pluginDir, p)); err != nil {
			t.Skip("needs Debian's containernetworking-plugins")
		}
	}
	for _, p := range []string{"ip", "iptables", "iptables-save", "nsenter"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("needs " + p)
		}
	}
}
