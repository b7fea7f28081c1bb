// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image/merge"
)

// rpmRoot makes a root whose rpm database has count packages and a key, by rpm
// itself; with small headers, and some that go over many pages.
func rpmRoot(t testing.TB, count int) (root, db string) {
	t.Helper()
	for _, p := range []string{"rpm", "rpmbuild"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("needs ", p)
		}
	}
	dir := t.TempDir()
	spec := "Name: some\nEpoch: 3\nVersion: 1.2~rc1+x\nRelease: 4^git%{?dist}\nSummary: s\nLicense: MIT and GPLv2+\nVendor: Some One: Inc.\n%description\nd\n%files\n"
	for i := range count - 1 {
		spec += fmt.Sprintf("%%package sub%d\nSummary: s\n%s%%description sub%d\n%s\n%%files sub%d\n", i, map[bool]string{true: "BuildArch: noarch\n"}[i%2 == 0],
			i, strings.Repeat("many words ", i*i*20), i)
	}
	file := filepath.Join(dir, "some.spec")
	if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(dir, "root")
	db = filepath.Join(root, "usr/lib/sysimage/rpm")
	if err := os.MkdirAll(db, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+dir, "--define", "_build_id_links none", file)
	var made []string
	if err := filepath.WalkDir(filepath.Join(dir, "RPMS"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".rpm") {
			made = append(made, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	run(t, append([]string{"rpm", "--dbpath", db, "--define", "_db_backend sqlite", "-i", "--justdb", "--nodeps", "--nosignature"}, made...)...)
	return root, db
}

func run(t testing.TB, argv ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, errs.String())
	}
	return string(out)
}

func stack(t testing.TB, dir string) *merge.Stack {
	t.Helper()
	s, err := merge.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestRPM: what rpm wrote is read as rpm itself reads it.
func TestRPM(t *testing.T) {
	root, db := rpmRoot(t, 60)
	var want, got []string
	for line := range strings.Lines(run(t, "rpm", "--dbpath", db, "-qa", "--qf", "%{NAME}|%|EPOCH?{%{EPOCH}}:{}||%{VERSION}-%{RELEASE}|%{ARCH}|%{LICENSE}|%{VENDOR}|%{SOURCERPM}\n")) {
		want = append(want, strings.TrimSpace(line))
	}
	all, err := Packages(stack(t, root))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		got = append(got, strings.Join([]string{p.Name, p.Epoch, p.Version, p.Arch, p.License, p.Supplier, p.Source}, "|"))
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" || len(want) != 60 {
		t.Errorf("%d packages (- rpm):\n%s", len(want), d)
	}
	if u := all[0].URL("fedora"); !strings.HasPrefix(u, "pkg:rpm/fedora/some@1.2~rc1%2Bx-4%5Egit?arch=") || !strings.HasSuffix(u, "&epoch=3") {
		t.Error(u)
	}
}

// TestRPMRefused: a database of another kind, one with a log beside it and one
// that is cut off are errors, not images without packages.
func TestRPMRefused(t *testing.T) {
	root, db := rpmRoot(t, 30)
	file := filepath.Join(db, "rpmdb.sqlite")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file, text, want string
	}{
		"cut":   {"rpmdb.sqlite", string(whole[:len(whole)/2]), "no whole SQLite database"},
		"other": {"rpmdb.sqlite", strings.Repeat("x", 4096), "no whole SQLite database"},
		"log":   {"rpmdb.sqlite-wal", "x", "a log beside it"},
		"old":   {"Packages", "x", "before SQLite"},
	} {
		path := filepath.Join(db, c.file)
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Packages(stack(t, root)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := Packages(stack(t, root)); err != nil || len(all) != 30 {
		t.Errorf("%d packages, %v", len(all), err)
	}
}

// TestGo: a program's modules are those that go version -m tells.
func TestGo(t *testing.T) {
	root := t.TempDir()
	program := filepath.Join(root, "bin", "layers")
	build := exec.Command("go", "build", "-o", program, "../../../cmd/acbuild")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "bin", "again"), text, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "bin", "broken"), append([]byte("\x7fELF"), bytes.Repeat([]byte{0xff}, 200)...), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "bin", "data"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(run(t, "go", "version", "-m", program)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && strings.HasPrefix(f[1], "go"):
			want = append(want, "stdlib "+f[1][2:])
		case f[0] == "dep" || f[0] == "mod":
			want = append(want, strings.TrimSpace(f[1]+" "+strings.Replace(f[2], "(devel)", "", 1)))
		}
	}
	all, err := Packages(stack(t, root))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		got = append(got, strings.TrimSpace(p.Name+" "+p.Version))
		if !cmp.Equal(p.Files, []string{"/bin/again", "/bin/layers"}) {
			t.Errorf("%s is said to be in %q", p.Name, p.Files)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" || len(want) < 5 {
		t.Errorf("modules (- go version -m):\n%s", d)
	}
	var doc bytes.Buffer
	if err := Write(&doc, stack(t, root), "x", epoch, "acbuild-1"); err != nil || !strings.Contains(doc.String(), "pkg:golang/github.com/spf13/pflag@v") || !strings.Contains(doc.String(), "linked into /bin/again, /bin/layers") || !strings.Contains(doc.String(), `"./bin/data"`) {
		t.Errorf("%v\n%.2000s", err, doc.String())
	}
}

func FuzzRPM(f *testing.F) {
	if _, db := rpmRoot(f, 12); db != "" {
		text, err := os.ReadFile(filepath.Join(db, "rpmdb.sqlite"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text[:len(text)-4096])
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, _ := RPM(bytes.NewReader(text), int64(len(text)))
		for _, p := range all {
			if p.Name == "" || p.Version == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}

func FuzzRPMHeader(f *testing.F) {
	entry := func(tag, kind, at byte) []byte {
		return []byte{0, 0, 3 + tag>>7, tag, 0, 0, 0, kind, 0, 0, 0, at, 0, 0, 0, 1}
	}
	f.Add(append(append(append([]byte{0, 0, 0, 2, 0, 0, 0, 4}, entry(0xe8, 6, 0)...), entry(0xe9, 6, 2)...), "n\x001\x00"...))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := rpmHeader(text); err == nil && (p.Name == "" || p.Version == "") {
			t.Errorf("%q: %+v", text, p)
		}
	})
}
