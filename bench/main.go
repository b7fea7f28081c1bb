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
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netns"
	"github.com/rkt/rkt/test/rkt"
)

// inside marks the second start, in namespaces of its own, and names the work
// directory.
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

// start runs everything in a pid, a mount and a network namespace of its own, so
// that the host sees no mount, interface or rule of ours or the peers', and no
// process outlives the bench, whatever happens. What can only be given back from outside — the work
// directory and the peers' cgroups — is given back here.
func start(o options) error {
	if os.Geteuid() != 0 {
		return errors.New("cannot measure: needs root")
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
			return fmt.Errorf("cannot measure %q: no such row (see -list)", name)
		}
	}
	if o.work = os.Getenv(inside); o.work != "" {
		return isolated(o)
	}
	work, err := os.MkdirTemp("", "rkt-bench-")
	if err != nil {
		return err
	}
	apart(work)
	before := cgroups()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"="+work)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err = cmd.Start(); err == nil {
		go func() {
			<-stop
			_ = cmd.Process.Kill() // it is a pid 1: everything goes with it
		}()
		err = cmd.Wait()
	}
	removeNewCgroups(before)
	return errors.Join(err, os.RemoveAll(work))
}

// apart asks ext4 to keep what is made in each directory of dir away from the
// others' (chattr +T, as for home directories). Without a journal a new inode
// has to pass by all that were deleted beside it in the last minutes; so podman,
// which deletes hundreds a run, would slow down whoever makes one, and not
// itself alone. Other file systems say no.
func apart(dir string) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	const topDir = 0x20000 // FS_TOPDIR_FL
	if flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags|topDir)
	}
}

// isolated prepares the namespaces and measures.
func isolated(o options) (err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	for _, m := range []struct{ source, target, fstype, data string }{
		{"proc", "/proc", "proc", ""},
		{"tmpfs", "/run", "tmpfs", "mode=755"}, // crun, runc and nspawn keep state there
	} {
		if err := unix.Mount(m.source, m.target, m.fstype, unix.MS_NOSUID|unix.MS_NODEV, m.data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.target, err)
		}
	}
	if err := netns.LoopbackUp(); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		// crun refuses a hybrid hierarchy while v2 has a controller.
		dir := filepath.Join(o.work, "hugetlb")
		if err := os.Mkdir(dir, 0o700); err == nil {
			_ = unix.Mount("none", dir, "cgroup", 0, "hugetlb") // only crun's rows want it, and they say so
			defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
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
	defer b.collect()
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

// removeNewCgroups takes away what was left: empty cgroups that were not there
// before and are named as podman, crun and rkt name theirs. One of somebody
// else's that is in use is not empty.
func removeNewCgroups(before map[string]bool) {
	var found []string
	for path := range cgroups() {
		if !before[path] && (strings.Contains(path, "/libpod") || strings.Contains(path, "/rkt-")) {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	slices.Reverse(found) // children first
	for _, path := range found {
		_ = unix.Rmdir(path)
	}
}
