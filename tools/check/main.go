// SPDX-License-Identifier: Apache-2.0

// Command check runs every kind of test this machine can run, one after the
// other, and ends with what was skipped and why. `make check` and CI are this
// program; steps.go is the list.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/rkt/rkt/test/crane"
)

func main() {
	only := flag.String("only", "", "comma-separated `steps` to run; all if empty")
	list := flag.Bool("list", false, "print the steps and end")
	install := flag.Bool("install", false, "first install the Debian packages and the programs the tests need, if missing (needs root)")
	fuzztime := flag.Duration("fuzztime", 3*time.Second, "how long each fuzz target runs")
	flag.Parse()
	if err := run(*only, *list, *install, *fuzztime); err != nil {
		fmt.Fprintf(os.Stderr, "check: %v\n", err)
		os.Exit(1)
	}
}

func run(only string, list, install bool, fuzztime time.Duration) error {
	all := steps(fuzztime)
	if list {
		for _, s := range all {
			fmt.Printf("%-10s %s\n", s.name, s.about)
		}
		return nil
	}
	if install {
		if err := installPeers(); err != nil {
			return err
		}
	}
	var wanted []string
	if only != "" {
		wanted = strings.Split(only, ",")
		for _, w := range wanted {
			if !slices.ContainsFunc(all, func(s step) bool { return s.name == w }) {
				return fmt.Errorf("cannot run step %q: no such step (see -list)", w)
			}
		}
	}
	var sum summary
	var failed []string
	began := time.Now()
	for _, s := range all {
		if wanted != nil && !slices.Contains(wanted, s.name) {
			continue
		}
		if s.missing != nil {
			if why := s.missing(); why != "" {
				fmt.Printf("%-10s skipped: %s\n", s.name, why)
				sum.skip(why, "the whole step "+s.name)
				continue
			}
		}
		start := time.Now()
		note, err := s.run(&sum)
		took := time.Since(start).Round(100 * time.Millisecond)
		if err != nil {
			failed = append(failed, s.name)
			fmt.Printf("%-10s FAILED %8s  %v\n", s.name, took, err)
			continue
		}
		fmt.Printf("%-10s ok     %8s  %s\n", s.name, took, note)
	}
	sum.print(os.Stdout)
	fmt.Printf("%d tests passed in %s\n", sum.passed, time.Since(began).Round(time.Second))
	if failed != nil {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// packages are what the tests need of Debian: peers that check our work
// (umoci, skopeo, podman, crun, containerd), real software for images (etcd, nginx), and
// compressors.
var packages = []string{
	"attr", "bind9-dnsutils", "buildah", "bzip2", "containerd", "cpio", "crun", "docker-registry", "etcd-client", "etcd-server", "fish", "gcc", "git", "gnupg", "groff-base", "isal", "jq",
	"erofs-utils", "lz4", "qemu-system-common", "qemu-system-x86", "libc6-dev", "libcap2-bin", "libseccomp-dev", "lintian", "mmdebstrap", "nginx-light", "openssh-client", "openssl", "pigz", "podman", "rpm", "rpm2cpio", "runc", "skopeo",
	"systemd-container", "umoci", "xz-utils", "zstd", "busybox-static", "apparmor", "containernetworking-plugins", "iptables", "procps", "iproute2", "nftables", "python3-minimal", "passt", "slirp4netns", "uidmap", "util-linux", "zsh",
}

// installPeers installs what the tests need of other people's programs.
func installPeers() error {
	if err := installPackages(); err != nil {
		return err
	}
	// Here and not when a test asks: those have no network but their own.
	_, err := crane.Program()
	return err
}

// installPackages installs what is missing of packages. Services that come
// with them are not started: the tests run etcd and nginx in pods only.
func installPackages() error {
	var missing []string
	for _, p := range packages {
		out, err := exec.Command("dpkg-query", "-W", "-f=${db:Status-Status}", p).Output()
		if err != nil || string(out) != "installed" {
			missing = append(missing, p)
		}
	}
	if missing == nil {
		return nil
	}
	if os.Geteuid() != 0 {
		fmt.Printf("not installing %s: needs root\n", strings.Join(missing, " "))
		return nil
	}
	const policy = "/usr/sbin/policy-rc.d"
	f, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err == nil {
		defer os.Remove(policy)
		_, err = f.WriteString("#!/bin/sh\nexit 101\n")
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil && !os.IsExist(err) {
		return fmt.Errorf("cannot keep services from starting: %w", err)
	}
	fmt.Printf("installing %s\n", strings.Join(missing, " "))
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...)} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot install packages: apt-get %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}
