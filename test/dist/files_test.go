// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dist

import (
	"bytes"
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

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/tools/programs"
)

func debTree(t *testing.T, arch string) string {
	needs(t, "dpkg-deb")
	return unpack(t, "deb-"+arch, func(dir string) []string { return []string{"dpkg-deb", "-x", deb(arch), dir} })
}

// Every program is there for each architecture, static, and of that architecture.
func TestMachines(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		dir := debTree(t, arch)
		if got := strings.TrimSpace(output(t, "dpkg-deb", "-f", deb(arch), "Architecture")); got != arch {
			t.Errorf("the package for %s says it is for %s", arch, got)
		}
		for _, p := range programs.List() {
			path := filepath.Join(dir, "usr", p.Dir, p.Name)
			f, err := elf.Open(path)
			if err != nil {
				t.Error(err)
				continue
			}
			if f.Machine != machine {
				t.Errorf("%s, for %s, is for %s", p.Name, arch, f.Machine)
			}
			if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
				t.Errorf("%s wants %v: %v", p.Name, libs, err)
			}
			f.Close()
			for _, flavor := range p.Flavors {
				text, err := os.ReadFile(filepath.Join(dir, "usr", p.Dir, programs.Manifest(flavor)))
				if err != nil || !bytes.Contains(text, []byte(`"`+flavor+`"`)) {
					t.Errorf("the manifest of %s for %s: %v\n%s", flavor, arch, err, text)
				}
			}
		}
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

// Both systems' packages have the same files, but where the systems differ, and
// rpm's own program finds every file as the package says it is.
func TestRPMIsTheSame(t *testing.T) {
	needs(t, "rpm", "rpm2cpio", "cpio")
	for debArch, rpmArch := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		want := listing(t, debTree(t, debArch))
		for from, to := range map[string]string{
			"usr/share/zsh/vendor-completions":          "usr/share/zsh/site-functions",
			"usr/share/zsh/vendor-completions/_rkt":     "usr/share/zsh/site-functions/_rkt",
			"usr/share/zsh/vendor-completions/_acbuild": "usr/share/zsh/site-functions/_acbuild",
		} {
			want[to] = want[from]
			delete(want, from)
		}
		for _, debianOnly := range []string{"usr/share/lintian", "usr/share/lintian/overrides", "usr/share/lintian/overrides/rkt"} {
			if want[debianOnly] == "" {
				t.Errorf("%s is not there", debianOnly)
			}
			delete(want, debianOnly)
		}
		cpio := filepath.Join(made, rpmArch+".cpio")
		if err := os.WriteFile(cpio, []byte(output(t, "rpm2cpio", rpm(rpmArch))), 0o600); err != nil {
			t.Fatal(err)
		}
		got := listing(t, unpack(t, "rpm-"+rpmArch, func(dir string) []string {
			return []string{"cpio", "--quiet", "-idm", "--no-absolute-filenames", "-D", dir, "-F", cpio}
		}))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the .deb (-) and the .rpm (+) differ:\n%s", debArch, diff)
		}
		out := output(t, "rpm", "-qp", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{ARCH} %{BUILDTIME}\n[%{FILEUSERNAME}:%{FILEGROUPNAME}\n]", rpm(rpmArch))
		lines := strings.Fields(out)
		if head := strings.Join(lines[:4], " "); head != "rkt "+version+"-1 "+rpmArch+" "+epoch {
			t.Errorf("the package says of itself: %s", head)
		}
		if owners := slices.Compact(lines[4:]); !slices.Equal(owners, []string{"root:root"}) {
			t.Errorf("owners: %v", owners)
		}
		output(t, "rpm", "-K", "--nosignature", rpm(rpmArch))
	}
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
	run("-i", "--nodeps", "--noscripts", rpm("x86_64"))
	if out := output(t, filepath.Join(root, "usr/bin/rkt"), "version"); !strings.Contains(out, described) {
		t.Errorf("the installed rkt says %s", out)
	}
	if out := run("-V", "--nodeps", "--noscripts", "rkt"); out != "" {
		t.Errorf("rpm -V: %s", out)
	}
	run("-e", "--noscripts", "rkt")
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
		out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", deb(arch)).CombinedOutput()
		if err != nil || strings.Contains(string(out), "E: ") || strings.Contains(string(out), "W: ") {
			t.Errorf("lintian %s: %v\n%s", arch, err, out)
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
	cmd := exec.Command("sh", "-c", `umask 077 && exec "$@"`, "sh", tool, "-out", out, "-version", described, "-arch", "amd64")
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
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("the second time other bytes came out:\n%s", diff)
	}
	check := exec.Command("sha256sum", "--strict", "--check", "SHA256SUMS")
	check.Dir = made
	text, err := check.CombinedOutput()
	if n := strings.Count(string(text), ": OK\n"); err != nil || n != 6 {
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
