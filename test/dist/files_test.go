// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dist

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/tools/debian"
	"github.com/rkt/rkt/tools/programs"
)

func debTree(t *testing.T, pkg, arch string) string {
	needs(t, "dpkg-deb")
	return unpack(t, pkg+"-deb-"+arch, func(dir string) []string { return []string{"dpkg-deb", "-x", deb(pkg, arch), dir} })
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Every program is there for each architecture, in its package, static, and of that
// architecture.
func TestMachines(t *testing.T) {
	for arch := range machines {
		for _, pkg := range packages() {
			if got := strings.TrimSpace(output(t, "dpkg-deb", "-f", deb(pkg, arch), "Architecture")); got != arch {
				t.Errorf("package %s for %s says it is for %s", pkg, arch, got)
			}
		}
		for _, p := range programs.List() {
			pkg := cmp.Or(p.Package, "rkt")
			if !slices.Contains(packages(), pkg) || p.Within {
				continue
			}
			dir := debTree(t, pkg, arch)
			text, err := os.ReadFile(filepath.Join(dir, "usr", p.Dir, p.Name))
			if err != nil {
				t.Error(err)
				continue
			}
			isStatic(t, p.Name, arch, text)
			for _, flavor := range p.Flavors {
				text, err := os.ReadFile(filepath.Join(dir, "usr", p.Dir, programs.Manifest(flavor)))
				if err != nil || !bytes.Contains(text, []byte(`"`+flavor+`"`)) {
					t.Errorf("the manifest of %s for %s: %v\n%s", flavor, arch, err, text)
				}
			}
		}
	}
}

func isStatic(t *testing.T, name, arch string, text []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		t.Errorf("%s for %s: %v", name, arch, err)
		return
	}
	defer f.Close()
	if f.Machine != machines[arch] {
		t.Errorf("%s, for %s, is for %s", name, arch, f.Machine)
	}
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		t.Errorf("%s wants %v: %v", name, libs, err)
	}
}

// The virtual machine's kernel and first program are of the package's architecture,
// and the package says whose the kernel is.
func TestMachineOfKVM(t *testing.T) {
	needsFlavors(t)
	needs(t, "cpio")
	for arch := range machines {
		dir := debTree(t, programs.KVM, arch)
		lib := filepath.Join(dir, "usr/libexec/rkt/kvm")
		isStatic(t, "kvm-init", arch, []byte(output(t, "cpio", "--quiet", "-i", "--to-stdout", "-F", filepath.Join(lib, "initramfs"), "init")))
		kernel, err := os.ReadFile(filepath.Join(lib, "vmlinux"))
		if err != nil {
			t.Fatal(err)
		}
		if arch == "arm64" {
			if string(kernel[56:60]) != "ARM\x64" {
				t.Error("the kernel for arm64 is no boot image")
			}
		} else {
			isStatic(t, "vmlinux", arch, kernel)
		}
		saysWhose(t, programs.KVM, arch, filepath.Join(lib, "packages"), "linux-image-", "GPL-2")
	}
}

// Programs and libraries of the coreos flavor are of the package's architecture, and
// the package says whose they are.
func TestTreeOfCoreOS(t *testing.T) {
	needsFlavors(t)
	for arch, machine := range machines {
		dir := debTree(t, programs.CoreOS, arch)
		tree, n := filepath.Join(dir, "usr/libexec/rkt/stage1-coreos"), 0
		for name := range listing(t, tree) {
			f, err := elf.Open(filepath.Join(tree, name))
			if err != nil {
				continue // another kind of file
			}
			if n++; f.Machine != machine {
				t.Errorf("%s, for %s, is for %s", name, arch, f.Machine)
			}
			f.Close()
		}
		if n < 20 {
			t.Errorf("the tree for %s has %d programs and libraries", arch, n)
		}
		for _, name := range []string{contract.TreeManifest, "usr/bin/systemd-nspawn", "usr/lib/systemd/systemd", "usr/share/common-licenses/LGPL-2.1"} {
			if _, err := os.Stat(filepath.Join(tree, name)); err != nil {
				t.Errorf("%s: %v", arch, err)
			}
		}
		saysWhose(t, programs.CoreOS, arch, filepath.Join(tree, debian.TreeRecord), "systemd", "LGPL-2.1")
	}
}

// saysWhose checks that the copyright names each package that the record does, and
// its source, among them one whose name begins with pkg, and refers to a licence.
func saysWhose(t *testing.T, pkg, arch, record, begins, license string) {
	t.Helper()
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	list, err := debian.ParseRecord(text)
	if err != nil {
		t.Fatal(err)
	}
	copyright, err := os.ReadFile(filepath.Join(debTree(t, pkg, arch), "usr/share/doc", pkg, "copyright"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range list {
		found = found || strings.HasPrefix(p.Name, begins)
		if p.Arch != arch && p.Arch != "all" || strings.Contains(p.Source, "signed") || p.SourceVersion == "" {
			t.Errorf("%s for %s is made of %s", pkg, arch, p)
		}
		for _, want := range []string{
			fmt.Sprintf("  %s %s, source %s %s\n", p.Name, p.Version, p.Source, p.SourceVersion),
			fmt.Sprintf("\nThe copyright of %s %s:\n", p.Name, p.Version),
		} {
			if !bytes.Contains(copyright, []byte(want)) {
				t.Errorf("the copyright of %s does not have %q", pkg, want)
			}
		}
	}
	if !found || !bytes.Contains(copyright, []byte("/usr/share/common-licenses/"+license)) {
		t.Errorf("the copyright of %s for %s is of %s", pkg, arch, text)
	}
}

// listing is what a tree has: mode, and content or where a link leads, by path.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		what := st.Mode().String()
		switch {
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what = "link to " + to
		case d.Type().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%s %d bytes, %x", what, len(text), sha256.Sum256(text))
		}
		rel, err := filepath.Rel(dir, path)
		list[rel] = what
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// differ are the places where the systems do: from the .deb's to the .rpm's, "" if
// that has none, and the other way round.
var differ = map[string][][2]string{
	"rkt": {
		{"usr/share/zsh/vendor-completions", "usr/share/zsh/site-functions"},
		{"usr/share/zsh/vendor-completions/_rkt", "usr/share/zsh/site-functions/_rkt"},
		{"usr/share/zsh/vendor-completions/_acbuild", "usr/share/zsh/site-functions/_acbuild"},
	},
	programs.KVM: { // what Debian has in /usr/share/common-licenses
		{"", "usr/share/doc/" + programs.KVM + "/licenses"},
		{"", "usr/share/doc/" + programs.KVM + "/licenses/GPL-2"},
		{"", "usr/share/doc/" + programs.KVM + "/licenses/LGPL-2.1"},
	},
}

// Both systems' packages have the same files, but where the systems differ, and
// rpm's own program finds every file as the package says it is.
func TestRPMIsTheSame(t *testing.T) {
	needs(t, "rpm", "rpm2cpio", "cpio")
	for debArch, rpmArch := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		for _, pkg := range packages() {
			rpmIsTheSame(t, pkg, debArch, rpmArch)
		}
	}
}

func rpmIsTheSame(t *testing.T, pkg, debArch, rpmArch string) {
	t.Helper()
	want := listing(t, debTree(t, pkg, debArch))
	cpio := filepath.Join(made, pkg+rpmArch+".cpio")
	if err := os.WriteFile(cpio, []byte(output(t, "rpm2cpio", rpm(pkg, rpmArch))), 0o600); err != nil {
		t.Fatal(err)
	}
	got := listing(t, unpack(t, pkg+"-rpm-"+rpmArch, func(dir string) []string {
		return []string{"cpio", "--quiet", "-idm", "--no-absolute-filenames", "-D", dir, "-F", cpio}
	}))
	moved := append([][2]string{{"usr/share/lintian", ""}, {"usr/share/lintian/overrides", ""}, {"usr/share/lintian/overrides/" + pkg, ""}}, differ[pkg]...)
	for _, m := range moved {
		from, to := m[0], m[1]
		switch {
		case from == "":
			if got[to] == "" {
				t.Errorf("the .rpm has no %s", to)
			}
			delete(got, to)
			continue
		case want[from] == "":
			t.Errorf("the .deb has no %s", from)
		case to != "":
			want[to] = want[from]
		}
		delete(want, from)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s %s: the .deb (-) and the .rpm (+) differ:\n%s", pkg, debArch, diff)
	}
	out := output(t, "rpm", "-qp", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{ARCH} %{BUILDTIME}\n[%{FILEUSERNAME}:%{FILEGROUPNAME}\n]", rpm(pkg, rpmArch))
	lines := strings.Fields(out)
	if head := strings.Join(lines[:4], " "); head != pkg+" "+version+"-1 "+rpmArch+" "+epoch {
		t.Errorf("the package says of itself: %s", head)
	}
	if owners := slices.Compact(lines[4:]); !slices.Equal(owners, []string{"root:root"}) {
		t.Errorf("owners: %v", owners)
	}
	output(t, "rpm", "-K", "--nosignature", rpm(pkg, rpmArch))
}

// rpm installs into an empty root, finds nothing to mind, and takes all back.
func TestRPMInstalls(t *testing.T) {
	needs(t, "rpm")
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := t.TempDir()
	run := func(args ...string) string {
		return output(t, append([]string{"rpm", "--root", root, "--dbpath", "/var/lib/rpm"}, args...)...)
	}
	run("--initdb")
	var files []string
	for _, pkg := range packages() {
		files = append(files, rpm(pkg, "x86_64"))
		if pkg != "rkt" {
			if needs := output(t, "rpm", "-qp", "--requires", rpm(pkg, "x86_64")); !strings.Contains(needs, "rkt = "+version+"-1\n") {
				t.Errorf("%s needs:\n%s", pkg, needs)
			}
		}
	}
	run(append([]string{"-i", "--nodeps", "--noscripts"}, files...)...)
	if out := output(t, filepath.Join(root, "usr/bin/rkt"), "version"); !strings.Contains(out, described) {
		t.Errorf("the installed rkt says %s", out)
	}
	if out := run(append([]string{"-V", "--nodeps", "--noscripts"}, packages()...)...); out != "" {
		t.Errorf("rpm -V: %s", out)
	}
	run(append([]string{"-e", "--noscripts"}, packages()...)...)
	for name := range listing(t, filepath.Join(root, "usr")) {
		if strings.Contains(name, "rkt") || strings.Contains(name, "acbuild") {
			t.Errorf("left: %s", name)
		}
	}
}

// Debian's own judge finds nothing.
func TestLintian(t *testing.T) {
	needs(t, "lintian")
	for _, arch := range []string{"amd64", "arm64"} {
		for _, pkg := range packages() {
			out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", deb(pkg, arch)).CombinedOutput()
			if err != nil || strings.Contains(string(out), "E: ") || strings.Contains(string(out), "W: ") {
				t.Errorf("lintian %s %s: %v\n%s", pkg, arch, err, out)
			}
		}
	}
}

// The same source gives the same bytes: from another directory, by another umask,
// in another zone, on fewer processors.
func TestReproducible(t *testing.T) {
	needs(t, "git", "sha256sum")
	source, out := t.TempDir(), t.TempDir()
	files := strings.Split(strings.TrimSuffix(output(t, "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00"), "\x00")
	for _, f := range files {
		if err := copyFile(filepath.Join(root, f), filepath.Join(source, f)); err != nil && !os.IsNotExist(err) { // git may still have it
			t.Fatal(err)
		}
	}
	flavors := "kvm,coreos"
	if noFlavors != "" {
		flavors = ""
	}
	cmd := exec.Command("sh", "-c", `umask 077 && exec "$@"`, "sh", tool, "-out", out, "-version", described, "-arch", "amd64", "-flavors", flavors, "-debs", debs)
	cmd.Dir, cmd.Env = source, append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch, "TZ=Asia/Kathmandu", "GOMAXPROCS=1", "HOME="+out,
		"GOCACHE="+strings.TrimSpace(output(t, "go", "env", "GOCACHE")), "GOMODCACHE="+strings.TrimSpace(output(t, "go", "env", "GOMODCACHE")), "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	a, err := os.ReadFile(filepath.Join(made, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	var want string // arm64's are made by the same code
	for line := range strings.Lines(string(a)) {
		if strings.Contains(line, "amd64") || strings.Contains(line, "x86_64") {
			want += line
		}
	}
	if diff := gocmp.Diff(want, string(b)); diff != "" {
		t.Errorf("the second time other bytes came out:\n%s", diff)
	}
	check := exec.Command("sha256sum", "--strict", "--check", "SHA256SUMS")
	check.Dir = made
	text, err := check.CombinedOutput()
	if n := strings.Count(string(text), ": OK\n"); err != nil || n != 6*len(packages()) {
		t.Errorf("sha256sum: %v, %d are right\n%s", err, n, text)
	}
}

// copyFile copies a file or a link, for nobody but us to read.
func copyFile(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, st.Mode()&0o700)
}
