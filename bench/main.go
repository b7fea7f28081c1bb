// SPDX-License-Identifier: Apache-2.0

// Command bench measures rkt against the budgets of SPECIFICATION.md, side by
// side with crun, runc, podman and systemd-nspawn, alternating in one run. It
// prints a table, and with -out writes it and a plot into a directory.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/rkt"
)

// inside marks the second start, in a mount namespace of its own.
const inside = "RKT_BENCH_INSIDE"

type options struct {
	rkt  string
	out  string
	only []string
	n    int
	work string
}

func main() {
	var o options
	var only string
	flag.StringVar(&o.rkt, "rkt", "", "the `program` to measure; built from this source tree if empty")
	flag.StringVar(&o.out, "out", "", "`directory` for the table and the plot")
	flag.StringVar(&only, "only", "", "comma-separated `rows` to measure; all if empty")
	flag.IntVar(&o.n, "n", 0, "how often each contender runs; each row has its own number if 0")
	list := flag.Bool("list", false, "print the rows and end")
	flag.Parse()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if *list {
		for _, r := range rows {
			fmt.Printf("%-12s %s\n", r.name, r.title)
		}
		return
	}
	if err := start(o); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) { // the inner start has said it
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		}
		os.Exit(1)
	}
}

// start runs everything in a mount namespace of its own, for two mounts that
// the host must not see: crun refuses a hybrid cgroup hierarchy while v2 has a
// controller, so hugetlb is mounted as v1; and what the peers mount goes away
// with the namespace, whatever happens.
func start(o options) error {
	if os.Geteuid() != 0 {
		return errors.New("cannot measure: needs root")
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
			return fmt.Errorf("cannot measure %q: no such row (see -list)", name)
		}
	}
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		return cmd.Run()
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	var err error
	if o.work, err = os.MkdirTemp("", "rkt-bench-"); err != nil {
		return err
	}
	before := cgroups()
	defer func() {
		_ = filepath.WalkDir(o.work, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			}
			return nil
		})
		_ = os.RemoveAll(o.work)
		removeNewCgroups(before)
	}()
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		dir := filepath.Join(o.work, "hugetlb")
		if err := os.Mkdir(dir, 0o700); err == nil {
			_ = unix.Mount("none", dir, "cgroup", 0, "hugetlb") // only crun's rows want it, and they say so
		}
	}
	if o.rkt == "" {
		install, err := rkt.Build(filepath.Join(o.work, "install"), "")
		if err != nil {
			return err
		}
		o.rkt = install.Bin("rkt")
	} else if o.rkt, err = filepath.Abs(o.rkt); err != nil {
		return err
	}
	return measure(o)
}

func measure(o options) error {
	b, err := newBench(o)
	if err != nil {
		return err
	}
	var report report
	for _, r := range rows {
		if len(o.only) > 0 && !slices.Contains(o.only, r.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", r.name, r.title)
		n := r.n
		if o.n > 0 {
			n = o.n
		}
		results, err := r.run(b, n)
		if err != nil {
			return fmt.Errorf("cannot measure %s: %w", r.name, err)
		}
		report.add(r, results)
	}
	fmt.Print(report.markdown(""))
	if o.out == "" {
		return nil
	}
	return report.write(o.out)
}

// cgroups lists the directories of all hierarchies.
func cgroups() map[string]bool {
	all := map[string]bool{}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all[path] = true
		}
		return nil
	})
	return all
}

// removeNewCgroups takes away what podman and crun left: empty cgroups that
// were not there before and are named as theirs.
func removeNewCgroups(before map[string]bool) {
	var found []string
	for path := range cgroups() {
		base := filepath.Base(path)
		if !before[path] && (strings.HasPrefix(base, "libpod") || strings.HasPrefix(base, "rkt-bench")) {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	slices.Reverse(found) // children first
	for _, path := range found {
		_ = unix.Rmdir(path)
	}
}
