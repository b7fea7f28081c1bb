// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// tree makes a flavor's tree with a program at bin/flavor, and with first as the
// words of every entry point.
func tree(t *testing.T, first string, more map[string][]string) string {
	t.Helper()
	dir := t.TempDir()
	m := contract.Manifest{ContractVersion: contract.Version, Name: "test", Entrypoints: map[string][]string{}, Features: []contract.Feature{"later-than-this-rkt"}}
	for _, name := range []string{"run", "enter", "stop", "gc"} {
		m.Entrypoints[name] = []string{first, name}
	}
	for name, v := range more {
		m.Entrypoints[name] = v
	}
	write(t, dir, contract.TreeManifest, string(m.Encode()), 0o644)
	write(t, dir, "bin/flavor", "#!/bin/sh\n", 0o755)
	write(t, dir, "data", "", 0o644)
	return dir
}

func write(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode))
	if err != nil {
		t.Fatal(err)
	}
}

func TestLoadTree(t *testing.T) {
	for _, first := range []string{"bin/flavor", "/bin/flavor", "/link", "link", "up", "/../../bin/flavor"} {
		dir := tree(t, first, nil)
		for name, target := range map[string]string{"link": "/bin/flavor", "up": "../../../../../../../bin/flavor"} {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		f, err := Load(filepath.Join(dir, contract.TreeManifest))
		if err != nil {
			t.Errorf("%s: %v", first, err)
			continue
		}
		program, argv, err := f.entrypoint("enter", "--", "x")
		if want := filepath.Join(dir, "bin/flavor"); err != nil || program != want || strings.Join(argv, " ") != want+" enter -- x" {
			t.Errorf("%s is %s, %q, %v", first, program, argv, err)
		}
	}
	if _, err := LoadTree(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tree without a manifest: %v", err)
	}
}

// TestLoadTreeRefuses: what leads out of the tree, or could be changed by others.
func TestLoadTreeRefuses(t *testing.T) {
	fatal := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for want, make := range map[string]func() string{
		`entry point "run": cannot use program "/bin/sh": `: func() string { // the host's is not the tree's
			return tree(t, "/bin/sh", map[string][]string{"enter": {"bin/flavor"}, "stop": {"bin/flavor"}, "gc": {"bin/flavor"}})
		},
		`entry point "pause": cannot use program "/data": it cannot be executed`: func() string {
			return tree(t, "bin/flavor", map[string][]string{"pause": {"/data"}})
		},
		`entry point "pause": cannot use program "bin": it cannot be executed`: func() string {
			return tree(t, "bin/flavor", map[string][]string{"pause": {"bin"}})
		},
		`entry point "pause": it names no program`: func() string {
			return tree(t, "bin/flavor", map[string][]string{"pause": {}})
		},
		`entry point "init": cannot use program "bin/flavor": the first process of a pod cannot be a script`: func() string {
			return tree(t, "bin/flavor", map[string][]string{"init": {"bin/flavor"}})
		},
		"/bin may be changed by others: its mode is 0777": func() string {
			dir := tree(t, "bin/flavor", nil)
			fatal(os.Chmod(filepath.Join(dir, "bin"), 0o777))
			return dir
		},
		"/bin/flavor may be changed by others: its mode is 0775": func() string {
			dir := tree(t, "bin/flavor", nil)
			fatal(os.Chmod(filepath.Join(dir, "bin/flavor"), 0o775))
			return dir
		},
		"/ may be changed by others: its mode is 0757": func() string {
			dir := tree(t, "bin/flavor", nil)
			fatal(os.Chmod(dir, 0o757))
			return dir
		},
		"it is not a file of at most 65536 bytes": func() string {
			dir := tree(t, "bin/flavor", nil)
			fatal(os.Truncate(filepath.Join(dir, contract.TreeManifest), contract.MaxManifest+1))
			return dir
		},
		"stage1.json: openat2": func() string { // a link to the host's
			dir := tree(t, "bin/flavor", nil)
			other := filepath.Join(tree(t, "bin/flavor", nil), contract.TreeManifest)
			fatal(os.Remove(filepath.Join(dir, contract.TreeManifest)), os.Symlink(other, filepath.Join(dir, contract.TreeManifest)))
			return dir
		},
		"it speaks version 2 of the contract, rkt speaks 1": func() string {
			dir := tree(t, "bin/flavor", nil)
			text, err := json.Marshal(map[string]any{"contractVersion": 2, "name": "test"})
			fatal(err, os.WriteFile(filepath.Join(dir, contract.TreeManifest), text, 0o644))
			return dir
		},
	} {
		if f, err := LoadTree(make()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v, %+v", want, err, f)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	dir := tree(t, "bin/flavor", nil)
	fatal(os.Chown(filepath.Join(dir, "bin/flavor"), 12, 0))
	if _, err := LoadTree(dir); err == nil || !strings.Contains(err.Error(), "/bin/flavor belongs to user 12, who could change it") {
		t.Errorf("another user's program: %v", err)
	}
}

// TestLoadTreeCode: what a tree's programs load and execute is theirs who own them.
func TestLoadTreeCode(t *testing.T) {
	make := func(code ...string) string {
		t.Helper()
		dir := tree(t, "bin/flavor", nil)
		m := contract.Manifest{ContractVersion: contract.Version, Name: "test", Entrypoints: map[string][]string{}, Code: code}
		for _, name := range []string{"run", "enter", "stop", "gc"} {
			m.Entrypoints[name] = []string{"bin/flavor"}
		}
		write(t, dir, contract.TreeManifest, string(m.Encode()), 0o644)
		write(t, dir, "usr/lib/arch/loader.so", "", 0o755)
		write(t, dir, "usr/lib/arch/lib.so.1", "", 0o644)
		write(t, dir, "usr/lib/systemd/systemd", "", 0o755)
		write(t, dir, "var/cache", "", 0o666)
		for name, target := range map[string]string{"lib": "usr/lib", "usr/lib/arch/lib.so": "lib.so.1", "usr/lib64": "../lib/arch"} {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"var", "var/cache"} { // not the umask's
			if err := os.Chmod(filepath.Join(dir, name), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, code := range [][]string{nil, {"usr"}, {"/usr", "lib/../lib", "bin"}} {
		if _, err := LoadTree(make(code...)); err != nil {
			t.Errorf("%q: %v", code, err)
		}
	}
	dir := make("/")
	if err := os.RemoveAll(filepath.Join(dir, "var")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("var/none", filepath.Join(dir, "none")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTree(dir); err != nil {
		t.Errorf("all of the tree: %v", err)
	}
	link := func(target string) func(string) error {
		return func(dir string) error { return os.Symlink(target, filepath.Join(dir, "usr/lib/evil.so")) }
	}
	chmod := func(name string, mode os.FileMode) func(string) error {
		return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
	}
	chown := func(name string) func(string) error {
		return func(dir string) error { return os.Lchown(filepath.Join(dir, name), 12, 0) }
	}
	for _, c := range []struct {
		code   []string
		spoil  func(dir string) error
		want   string
		asRoot bool
	}{
		{[]string{"/"}, chmod("usr", 0o755), "/var may be changed by others: its mode is 0777", false},
		{[]string{"none"}, chmod("usr", 0o755), `cannot look at its code in "none"`, false},
		{[]string{"usr"}, chmod("usr/lib/arch", 0o775), "/usr/lib/arch may be changed by others: its mode is 0775", false},
		{[]string{"usr"}, chmod("usr", 0o757), "/usr may be changed by others: its mode is 0757", false},
		{[]string{"lib"}, chmod("usr", 0o757), "/usr may be changed by others: its mode is 0757", false},
		{[]string{"usr"}, chmod("usr/lib/arch/lib.so.1", 0o664), "/usr/lib/arch/lib.so.1 may be changed by others: its mode is 0664", false},
		{[]string{"bin", "usr"}, chmod("usr/lib/arch/loader.so", 0o757), "/usr/lib/arch/loader.so may be changed by others: its mode is 0757", false},
		{[]string{"usr"}, link("/etc/passwd"), "/usr/lib/evil.so is a link that does not lead to the tree", false},
		{[]string{"usr"}, link("../../../x"), "/usr/lib/evil.so is a link that does not lead to the tree", false},
		{[]string{"usr"}, link("../../var/cache"), "/var may be changed by others: its mode is 0777", false},
		{[]string{"usr"}, link("../../var/made-later"), "/usr/lib/evil.so is a link that does not lead to the tree", false},
		{[]string{"usr"}, func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "usr/lib/pipe"), 0o600) }, "/usr/lib/pipe is neither a file, nor a directory, nor a link", false},
		{[]string{"usr"}, chown("usr/lib/arch/lib.so.1"), "/usr/lib/arch/lib.so.1 belongs to user 12, who could change it", true},
		{[]string{"usr"}, chown("usr/lib/systemd"), "/usr/lib/systemd belongs to user 12, who could change it", true},
	} {
		if c.asRoot && os.Geteuid() != 0 {
			continue
		}
		dir := make(c.code...)
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if f, err := LoadTree(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: want %q, got %v, %+v", c.code, c.want, err, f)
		}
	}
}
