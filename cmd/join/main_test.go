// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "join")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w -E main.enter", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestRefusals: whatever it is given, it ends, and says so.
func TestRefusals(t *testing.T) {
	join := build(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, args := range [][]string{{"3"}, {"3", "/bin/true"}, {"3", "/bin/true", "true"}, {"", "/bin/true", "true"}, {"99999", "/bin/true", "true"},
		{"-1", "/bin/true", "true"}, {"3x", "/bin/true", "true"}, {strings.Repeat("0", 1000) + "3", "/bin/true", "true"}, {"0000", "/bin/true", "true"}} {
		cmd := exec.Command(join, args...)
		cmd.ExtraFiles = []*os.File{null} // descriptor 3, which is no namespace
		var said bytes.Buffer
		cmd.Stderr = &said
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 254 || said.String() != "rkt: cannot join the user namespace\n" {
			t.Errorf("%.40q: %v, %q", args, err, said.String())
		}
	}
}

// TestWait: without arguments it lives as long as its standard input.
func TestWait(t *testing.T) {
	cmd := exec.Command(build(t))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(cmd.Process.Pid, 0); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestJoin: the program is executed with its arguments and the environment, as
// root of the namespace, and with no more descriptors than join had.
func TestJoin(t *testing.T) {
	join := build(t)
	holder := exec.Command(join)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	if err := holder.Start(); err != nil {
		t.Skipf("needs user namespaces: %v", err)
	}
	defer holder.Wait()
	defer in.Close()
	ns, err := os.Open("/proc/" + strconv.Itoa(holder.Process.Pid) + "/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	inside, err := os.Readlink(ns.Name())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(join, "3", "/bin/sh", "argv zero", "-c",
		"echo $0 $1 $A; readlink /proc/self/ns/user; readlink /proc/$$/ns/mnt; id -u; test -e /proc/self/fd/3 && echo open || echo closed", "zero", "one")
	cmd.Env, cmd.ExtraFiles = []string{"A=of the environment", "PATH=" + os.Getenv("PATH")}, []*os.File{ns}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mine, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 5 || lines[0] != "zero one of the environment" || lines[1] != inside || lines[2] == mine || lines[3] != "0" || lines[4] != "closed" {
		t.Errorf("said %q; the namespace is %s, the mount namespace of before %s", lines, inside, mine)
	}
}
