// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dist

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/tools/programs"
)

// A system is a small Debian in a directory, to run programs in.
type system struct {
	t    *testing.T
	view string // the root, with proc, dev and the rest mounted in it
}

// newSystem copies Debian, with the packages named, and mounts what a system has. The mounts are in a view of
// the copy, which is removed only if the view is gone: nothing of this machine is
// ever below what is removed.
func newSystem(t *testing.T, packages ...string) *system {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	needs(t, "mmdebstrap")
	base, err := debianRoot(packages...)
	if err != nil {
		t.Fatal(err)
	}
	layout, err := images.Layout()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rkt-dist-system-")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "root")
	s := &system{t: t, view: filepath.Join(dir, "view")}
	t.Cleanup(func() {
		if err := unix.Unmount(s.view, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("cannot unmount %s, which stays: %v", s.view, err)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	output(t, "cp", "-a", base, copied)
	if err := os.Mkdir(s.view, 0o755); err != nil {
		t.Fatal(err)
	}
	mount := func(source, target, kind string, flags uintptr, data string) {
		t.Helper()
		if err := unix.Mount(source, target, kind, flags, data); err != nil {
			t.Fatalf("cannot mount %s: %v", target, err)
		}
	}
	mount(copied, s.view, "", unix.MS_BIND, "")
	mount("proc", s.path("proc"), "proc", 0, "")
	mount("sysfs", s.path("sys"), "sysfs", 0, "")
	mount("/sys/fs/cgroup", s.path("sys/fs/cgroup"), "", unix.MS_BIND|unix.MS_REC, "")
	mount("tmpfs", s.path("run"), "tmpfs", 0, "mode=755")
	mount("tmpfs", s.path("dev"), "tmpfs", 0, "mode=755")
	for name, number := range map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7), "random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9), "tty": unix.Mkdev(5, 0),
	} {
		if err := unix.Mknod(s.path("dev/"+name), unix.S_IFCHR|0o666, int(number)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(s.path("dev/"+name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"images", "packages"} {
		if err := os.Mkdir(s.path("mnt/"+d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(layout, s.path("mnt/images"), "", unix.MS_BIND, "")
	mount(made, s.path("mnt/packages"), "", unix.MS_BIND, "")
	return s
}

func (s *system) path(name string) string { return filepath.Join(s.view, name) }

// try runs a command in the system.
func (s *system) try(argv ...string) (out string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), rkt.Patience)
	defer cancel()
	// The root of a mount namespace, as a system's is, and not a chroot: in that a
	// program that has made another namespace is told of itself where it lies outside.
	const enter = `cd "$0" && pivot_root . . && umount -l . && exec "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", enter, s.view}, argv...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

// must is try for what succeeds.
func (s *system) must(argv ...string) string {
	s.t.Helper()
	out, status := s.try(argv...)
	if status != 0 {
		s.t.Fatalf("%s: status %d\n%s", strings.Join(argv, " "), status, out)
	}
	return out
}

const debInSystem = "/mnt/packages/rkt_" + version + "_amd64.deb"

// inSystem is where a package's file is in a system.
func inSystem(pkg string) string { return "/mnt/packages/" + filepath.Base(deb(pkg, "amd64")) }

// The whole life of the package on a clean system: installed, used, installed
// again, removed, purged.
func TestDebian(t *testing.T) {
	s := newSystem(t)
	s.must("dpkg", "-i", debInSystem)
	s.looksInstalled()
	const image = "oci:/mnt/images:" + images.Tiny

	// A pod in the host's network, and one in its own.
	if out, status := s.try("rkt", "--insecure-options=image", "run", "--net=host", image, "--exec=/bin/sh", "--", "-c", "echo from the pod; exit 7"); status != 7 || !strings.Contains(out, "from the pod") {
		t.Errorf("a pod with --net=host: status %d\n%s", status, out)
	}
	out, status := s.try("rkt", "--insecure-options=image", "run", image, "--exec=/bin/sh", "--", "-c", "ip -o -4 addr show dev eth0 && ip route")
	if status != 0 || !strings.Contains(out, "inet ") || !strings.Contains(out, "default via") {
		t.Errorf("a pod in the default network: status %d\n%s", status, out)
	}
	if out := s.must("rkt", "list", "--no-legend"); strings.Count(out, "exited") != 2 {
		t.Errorf("rkt list:\n%s", out)
	}
	if out := s.must("rkt", "version"); !strings.Contains(out, described) {
		t.Errorf("rkt version: %s", out)
	}

	// A member of group rkt sees the images; others do not.
	group := strings.Split(s.must("getent", "group", "rkt"), ":")[2]
	as := func(group string) []string {
		return []string{"setpriv", "--reuid=4242", "--regid=" + group, "--clear-groups", "rkt", "--dir=/var/lib/rkt", "image", "list", "--no-legend"}
	}
	if out := s.must(as(group)...); !strings.Contains(out, "sha512-") && !strings.Contains(out, "sha256-") {
		t.Errorf("a member of group rkt sees %q", out)
	}
	if out, status := s.try(as("4242")...); status == 0 {
		t.Errorf("a stranger sees %q", out)
	}

	// Over itself, as an upgrade goes: nothing is lost.
	s.must("dpkg", "-i", debInSystem)
	s.looksInstalled()
	if out := s.must("rkt", "image", "list", "--no-legend"); out == "" {
		t.Error("the image is gone after an upgrade")
	}

	// Removed: programs go, pods and images stay. Purged: that is said.
	s.must("dpkg", "-r", "rkt")
	for _, gone := range []string{"usr/bin/rkt", "usr/libexec/rkt", "usr/share/doc/rkt", "usr/lib/rkt"} {
		if _, err := os.Lstat(s.path(gone)); !os.IsNotExist(err) {
			t.Errorf("%s is there after removal: %v", gone, err)
		}
	}
	key := s.path("etc/rkt/trustedkeys/root.d/key")
	if err := os.WriteFile(key, []byte("the administrator's"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := listing(t, s.path("var/lib/rkt"))
	out = s.must("dpkg", "-P", "rkt")
	for _, want := range []string{"rkt: /var/lib/rkt is left, with what rkt stored in it", "rkt: /etc/rkt is left, with configuration and keys in it"} {
		if !strings.Contains(out, want) {
			t.Errorf("purging does not say %q:\n%s", want, out)
		}
	}
	if diff := cmp.Diff(before, listing(t, s.path("var/lib/rkt"))); diff != "" {
		t.Errorf("purging changed what rkt stored:\n%s", diff)
	}
	if _, err := os.Stat(key); err != nil {
		t.Errorf("purging took the administrator's key: %v", err)
	}

	// And installed once more, it finds them.
	s.must("dpkg", "-i", debInSystem)
	s.looksInstalled()
	if out := s.must("rkt", "list", "--no-legend"); strings.Count(out, "exited") != 2 {
		t.Errorf("rkt list, installed again:\n%s", out)
	}
	s.must("rkt", "gc", "--grace-period=0s")
	if left := rkt.Leftovers(s.path("var/lib/rkt"), nil); left != nil {
		t.Errorf("left: %s", strings.Join(left, "\n"))
	}
}

func dirs(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	return entries
}

// looksInstalled checks what the package has set up.
func (s *system) looksInstalled() {
	s.t.Helper()
	if out := s.must("dpkg", "--verify", "rkt"); out != "" {
		s.t.Errorf("dpkg --verify: %s", out)
	}
	if out := s.must("dpkg-query", "-W", "-f=${db:Status-Status}", "rkt"); out != "installed" {
		s.t.Errorf("the package is %s", out)
	}
	for path, want := range map[string]string{
		"/var/lib/rkt": "750 root rkt", "/var/lib/rkt/layers": "700 root root", "/etc/rkt": "2775 root rkt-admin", "/usr/lib/rkt": "755 root root",
		"/usr/bin/rkt": "755 root root", "/usr/libexec/rkt/stage1-native": "755 root root", "/usr/libexec/rkt/stage1-native.json": "644 root root",
	} {
		if got := strings.TrimSpace(s.must("stat", "-c", "%a %U %G", path)); got != want {
			s.t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if out := s.must("getent", "passwd", "rkt-fetch"); !strings.Contains(out, "nologin") {
		s.t.Errorf("the helper's user: %s", out)
	}
}

// What was never used leaves nothing when it is purged.
func TestPurgedUnused(t *testing.T) {
	s := newSystem(t)
	var before map[string]string
	for _, top := range []string{"etc", "usr", "var"} {
		for name, what := range listing(t, s.path(top)) {
			if before == nil {
				before = map[string]string{}
			}
			before[top+"/"+name] = what
		}
	}
	s.must("dpkg", "-i", debInSystem)
	if out := s.must("dpkg", "-P", "rkt"); strings.Contains(out, "is left") || strings.Contains(out, "warning") {
		t.Errorf("dpkg -P: %s", out)
	}
	for _, top := range []string{"etc", "usr", "var"} {
		for name, what := range listing(t, s.path(top)) {
			name = top + "/" + name
			// Groups and users stay, as is Debian's custom; dpkg keeps its own books.
			switch strings.TrimSuffix(name, "-") {
			case "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/subuid", "etc/subgid", "etc/.pwd.lock":
				continue
			}
			if strings.HasPrefix(name, "var/lib/dpkg/") || strings.HasPrefix(name, "var/log/") {
				continue
			}
			if before[name] != what {
				t.Errorf("%s was %q and is %q", name, before[name], what)
			}
		}
	}
}

// The packages of flavors are installed after rkt or with it, their pods run, and
// they go without a trace.
func TestFlavorPackages(t *testing.T) {
	needsFlavors(t)
	s := newSystem(t, qemu)
	const image = "oci:/mnt/images:" + images.Tiny
	say := func(flavor string) (string, int) {
		return s.try("rkt", "--insecure-options=image", "run", "--stage1="+flavor, "--net=none", image, "--exec=/bin/sh", "--", "-c", "echo from the pod, pid $$; uname -r; exit 7")
	}
	// Without rkt they are not configured.
	if out, status := s.try("dpkg", "-i", inSystem(programs.CoreOS)); status == 0 || !strings.Contains(out, "depends on rkt (= "+version+")") {
		t.Errorf("without rkt: status %d\n%s", status, out)
	}
	s.must("dpkg", "-P", programs.CoreOS)

	// Without them rkt says what is missing.
	s.must("dpkg", "-i", debInSystem)
	for flavor, pkg := range map[string]string{"coreos": programs.CoreOS, "kvm": programs.KVM} {
		out, status := say(flavor)
		if status != 254 || !strings.Contains(out, "cannot find stage1 \""+flavor+"\"") || !strings.Contains(out, "\nrun: hint: `apt install "+pkg+"`") {
			t.Errorf("without %s: status %d\n%s", pkg, status, out)
		}
	}
	before := listing(t, s.path("usr"))

	s.must("dpkg", "-i", inSystem(programs.CoreOS), inSystem(programs.KVM))
	if out := s.must("dpkg", "--verify", programs.CoreOS, programs.KVM); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	host := strings.TrimSpace(s.must("uname", "-r"))
	for _, flavor := range []string{"coreos", "kvm"} {
		out, status := say(flavor)
		if status != 7 || !strings.Contains(out, "from the pod") {
			t.Errorf("flavor %s: status %d\n%s", flavor, status, out)
		}
		if own := !strings.Contains(out, host); own != (flavor == "kvm") {
			t.Errorf("flavor %s, on a host with kernel %s:\n%s", flavor, host, out)
		}
	}
	if out := s.must("rkt", "list", "--no-legend"); strings.Count(out, "exited") != 2 {
		t.Errorf("rkt list:\n%s", out)
	}
	s.must("rkt", "gc", "--grace-period=0s")

	// rkt does not go from below them.
	if out, status := s.try("dpkg", "-r", "rkt"); status == 0 {
		t.Errorf("rkt went alone:\n%s", out)
	}
	if out := s.must("dpkg", "-P", programs.CoreOS, programs.KVM); strings.Contains(out, "warning") {
		t.Errorf("dpkg -P: %s", out)
	}
	if diff := cmp.Diff(before, listing(t, s.path("usr"))); diff != "" {
		t.Errorf("before (-) and after (+) the flavors:\n%s", diff)
	}
	if left := rkt.Leftovers(s.path("var/lib/rkt"), nil); left != nil {
		t.Errorf("left: %s", strings.Join(left, "\n"))
	}
}

// The tarballs of flavors go over rkt's.
func TestFlavorTarballs(t *testing.T) {
	needsFlavors(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for _, pkg := range packages() {
		output(t, "tar", "-xzf", tarball(pkg, "amd64"), "--strip-components=1", "-C", dir)
	}
	h := rkt.New(t, rkt.Install{Dir: dir})
	layout, err := images.Layout()
	if err != nil {
		t.Fatal(err)
	}
	if r := h.Rkt("run", "--stage1=coreos", "--net=none", "oci:"+layout+":"+images.Tiny, "--exec=/bin/sh", "--", "-c", "exit 7"); r.Status != 7 {
		t.Errorf("status %d\n%s", r.Status, r.Stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "share/doc", programs.KVM, "licenses/GPL-2")); err != nil {
		t.Error(err)
	}
}

// The tarball runs from where it is unpacked, and through a link.
func TestTarball(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	output(t, "tar", "-xzf", tarball("rkt", "amd64"), "-C", dir)
	top := filepath.Join(dir, "rkt-"+version+"-linux-amd64")
	if entries := dirs(t, dir); len(entries) != 1 || filepath.Join(dir, entries[0].Name()) != top {
		t.Fatalf("unpacked: %v", entries)
	}
	h := rkt.New(t, rkt.Install{Dir: top})
	layout, err := images.Layout()
	if err != nil {
		t.Fatal(err)
	}
	if r := h.Rkt("run", "--net=host", "oci:"+layout+":"+images.Tiny, "--exec=/bin/sh", "--", "-c", "exit 7"); r.Status != 7 {
		t.Errorf("status %d\n%s", r.Status, r.Stderr)
	}
	// In place of /usr/local, in a system without any package manager.
	for _, unit := range []string{"libexec/rkt/setup-data-dir.sh", "lib/sysusers.d/rkt.conf", "share/man/man1/rkt.1", "share/bash-completion/completions/rkt", "share/doc/rkt/third-party-licenses.gz"} {
		if _, err := os.Stat(filepath.Join(top, unit)); err != nil {
			t.Error(err)
		}
	}
	if uid := func() uint32 {
		st, err := os.Lstat(filepath.Join(top, "bin/rkt"))
		if err != nil {
			t.Fatal(err)
		}
		return st.Sys().(*syscall.Stat_t).Uid
	}(); uid != 0 {
		t.Errorf("bin/rkt is %d's", uid)
	}
	link := filepath.Join(dir, "rkt")
	if err := os.Symlink(filepath.Join(top, "bin/rkt"), link); err != nil {
		t.Fatal(err)
	}
	if out := output(t, link, "image", "list", "--dir="+h.Dir, "--no-legend"); out == "" {
		t.Error(fmt.Errorf("no image through the link"))
	}
}
