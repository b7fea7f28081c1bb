// SPDX-License-Identifier: Apache-2.0

// Command vm runs end-to-end tests, and the attempts to escape, in a virtual
// machine: a host with cgroup version 2 alone, all its controllers, and nothing else running. The processor
// is emulated, so any machine can do it, slowly. It needs Debian's
// qemu-system-x86 and e2fsprogs, a static busybox, and a kernel, by default that
// of linux-image-cloud-amd64, which it downloads with apt-get. That has AppArmor;
// with Debian's apparmor installed, its tests run too. The systemd that the flavor
// coreos brings is the host's there as well. `make vm`.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/tools/kernel"
)

func main() {
	linux := flag.String("kernel", "", "`directory` with boot/vmlinuz-* and lib/modules; downloaded if empty")
	tests := flag.String("run", "Limit|Rlimits|Sysctl|Stats|Aside|Device|CDI|AppArmor|Profile|Labels|FilesOfAnApp|Masked|Protected|Pause|SCTP|Rootless$|PrivateUsers(OfSeveralApps)?$", "which end-to-end tests, as go test -run")
	escapes := flag.String("escape", "TestEscape$/native/none", "which attempts to escape, likewise; none if empty")
	patience := flag.Duration("timeout", 15*time.Minute, "when the machine is switched off")
	flag.Parse()
	status, err := run(*linux, *tests, *escapes, *patience)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vm: %v\n", err)
		status = 1
	}
	os.Exit(status)
}

func run(linux, tests, escapes string, patience time.Duration) (status int, err error) {
	dir, err := os.MkdirTemp("", "rkt-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if linux == "" {
		if linux, err = kernel.Download(runtime.GOARCH, ""); err != nil {
			return 0, err
		}
	}
	boot, err := kernel.Image(linux)
	if err != nil {
		return 0, err
	}
	disk, err := makeDisk(dir, tests, escapes)
	if err != nil {
		return 0, err
	}
	initramfs, err := makeInitramfs(dir, linux, append(network, "virtio_pci", "virtio_blk", "ext4", "overlay")...)
	if err != nil {
		return 0, err
	}
	return start(boot, initramfs, disk, patience)
}

// network is what pods' networks want of the kernel, and SCTP, which hosts seldom
// have.
var network = []string{"ipv6", "veth", "nf_tables", "nf_conntrack", "nf_conntrack_netlink", "nf_nat", "nft_chain_nat", "nft_nat", "nft_masq", "nft_ct",
	"nft_fib_inet", "nft_fib_ipv4", "nft_fib_ipv6", "sctp", "sch_tbf", "sch_ingress", "act_police", "cls_matchall"}

// initScript is the machine's first program, on its disk. It says its status by
// a line on the console.
const initScript = `#!/bin/busybox sh
export PATH=/bin HOME=/root TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t securityfs security /sys/kernel/security
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
cd /test
RKT_TEST_INSTALL=/install RKT_TEST_PEER=/test/peer RKT_TEST_IMAGES=/images RKT_TEST_PROFILE=/test/rkt-default /test/e2e.test -test.v -test.run "$(cat /test/run)" 2>&1
status=$?
if test -e /usr/bin/systemd-nspawn; then
	PATH=/bin:/usr/bin RKT_TEST_INSTALL=/install RKT_TEST_IMAGES=/images /test/stage1.test -test.v -test.run "$(cat /test/run)" 2>&1 || status=1
fi
if test -s /test/escape; then
	mkdir /sys/fs/cgroup/tests; echo $$ >/sys/fs/cgroup/tests/cgroup.procs # whose name no pod is to see
	RKT_TEST_INSTALL=/install RKT_TEST_ATTACKER=/test/attack /test/escape.test -test.v -test.run "$(cat /test/escape)" 2>&1 || status=1
fi
echo "vm: status $status"
poweroff -f
`

// makeDisk makes an ext4 image of the machine's root: busybox, rkt, images and
// the tests.
func makeDisk(dir, tests, escapes string) (string, error) {
	root := filepath.Join(dir, "root")
	for _, d := range []string{"bin", "sbin", "proc", "sys", "dev", "tmp", "root", "run", "etc", "test/peer", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return "", err
		}
	}
	if _, err := rkt.Build(filepath.Join(root, "install"), ""); err != nil {
		return "", err
	}
	if err := addSystemd(root); err != nil {
		fmt.Printf("vm: without systemd, so no test has systemd-nspawn: %v\n", err)
	}
	layout, err := images.Layout()
	if err != nil {
		return "", err
	}
	busybox, err := staticBusybox()
	if err != nil {
		return "", err
	}
	for _, step := range [][]string{
		{"cp", "-r", layout, filepath.Join(root, "images")},
		{"chmod", "-R", "a+rX", filepath.Join(root, "images"), filepath.Join(root, "install")}, // ordinary users', too
		{"cp", busybox, filepath.Join(root, "bin", "busybox")},
		{"cp", "dist/apparmor/rkt-default", filepath.Join(root, "test")},
		{"go", "build", "-trimpath", "-o", filepath.Join(root, "test", "peer", "peer"), "github.com/rkt/rkt/test/peer"},
		{"go", "build", "-o", filepath.Join(root, "test", "attack"), "./test/escape/testdata/attack"},
		{"go", "test", "-c", "-tags", "e2e", "-o", filepath.Join(root, "test", "e2e.test"), "github.com/rkt/rkt/test/e2e"},
		{"go", "test", "-c", "-tags", "e2e", "-o", filepath.Join(root, "test", "stage1.test"), "github.com/rkt/rkt/test/stage1test"},
		{"go", "test", "-c", "-tags", "e2e", "-o", filepath.Join(root, "test", "escape.test"), "github.com/rkt/rkt/test/escape"},
	} {
		cmd := exec.Command(step[0], step[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot fill the machine's disk: %s: %w\n%s", step[0], err, out)
		}
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return "", err
	}
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			if err := os.Symlink("busybox", filepath.Join(root, "bin", a)); err != nil {
				return "", err
			}
		}
	}
	for _, p := range []struct{ name, without string }{
		{"apparmor_parser", "no test loads a profile"},
		{"setpriv", "no test is an ordinary user's"},
		{"unshare", "no test is an ordinary user's"},
		{"newuidmap", "no ordinary user has subordinate ids"},
		{"newgidmap", "no ordinary user has subordinate ids"},
	} {
		path, err := exec.LookPath(p.name)
		if err != nil {
			fmt.Printf("vm: without %s, so %s\n", p.name, p.without)
			continue
		}
		if err := copyProgram(root, path); err != nil {
			return "", err
		}
	}
	for name, text := range map[string]string{"sbin/init": initScript, "test/run": tests, "test/escape": escapes, "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n",
		"etc/subuid": "", "etc/subgid": ""} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			return "", err
		}
	}
	disk := filepath.Join(dir, "disk")
	out, err := exec.Command("/sbin/mkfs.ext4", "-q", "-d", root, "-E", "root_owner=0:0", disk, "1G").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot make the machine's disk: %w\n%s", err, out)
	}
	return disk, nil
}

// addSystemd puts the flavor coreos into the machine, and its systemd into the place
// of a host's.
func addSystemd(root string) error {
	if out, err := exec.Command("go", "run", "github.com/rkt/rkt/tools/stage1-coreos", "-o", filepath.Join(root, "install"), "-image=false").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make the flavor coreos: %w\n%s", err, out)
	}
	tree := filepath.Join(root, "install/libexec/rkt/stage1-coreos")
	if out, err := exec.Command("cp", "-a", tree+"/usr", root+"/usr").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot copy systemd: %w\n%s", err, out)
	}
	// As Debian has it: what other programs need comes to the same places.
	for _, dir := range []string{"lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	return nil
}

// copyProgram puts a program and what it is linked to into the machine.
func copyProgram(root, program string) error {
	text, err := exec.Command("ldd", program).Output()
	if err != nil {
		return fmt.Errorf("cannot see what %s is linked to: %w", program, err)
	}
	files := map[string]string{program: "/bin/" + filepath.Base(program)}
	for _, word := range strings.Fields(string(text)) {
		if filepath.IsAbs(word) {
			files[word] = word
		}
	}
	for from, to := range files {
		to = filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("cp", "-L", "--preserve=mode", "--remove-destination", from, to).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot copy %s: %w\n%s", from, err, out)
		}
	}
	return nil
}

func staticBusybox() (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("needs busybox: %w", err)
	}
	if out, err := exec.Command("ldd", path).CombinedOutput(); err == nil {
		return "", fmt.Errorf("needs a static busybox (Debian's busybox-static); %s needs\n%s", path, out)
	}
	return path, nil
}

// start runs the machine, prints its console from the tests on, and returns
// their status.
func start(kernel, initramfs, disk string, patience time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "q35", "-cpu", "max", "-smp", "2", "-m", "2048",
		"-nodefaults", "-no-user-config", "-no-reboot", "-nographic", "-serial", "stdio", "-kernel", kernel, "-initrd", initramfs,
		"-append", "console=ttyS0 quiet panic=-1", "-drive", "if=virtio,format=raw,cache=unsafe,file="+disk)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("cannot start the machine: %w", err)
	}
	status := -1
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), "\r")
		if n, ok := strings.CutPrefix(line, "vm: status "); ok {
			if status, err = strconv.Atoi(n); err != nil {
				return 0, fmt.Errorf("cannot read the machine's status %q: %w", n, err)
			}
			continue
		}
		fmt.Println(line)
	}
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("the machine did not end within %v", patience)
	case status >= 0:
		return status, nil
	case err != nil:
		return 0, fmt.Errorf("cannot run the machine: %w\n%s", err, said.String())
	}
	return 0, fmt.Errorf("the machine ended without a status\n%s", said.String())
}
