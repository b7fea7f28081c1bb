// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPackageVersion(t *testing.T) {
	when := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for described, want := range map[string]string{
		"v1.2.3":                  "1.2.3",
		"v1.2.3-rc1":              "1.2.3~rc1",
		"v1.2.3-5-gabcdef0":       "1.2.3+5.abcdef0",
		"v1.2.3-rc1-5-gabcdef0":   "1.2.3~rc1+5.abcdef0",
		"v1.2.3-dirty":            "1.2.3.dirty",
		"abcdef0":                 "0~20260102.150405.abcdef0",
		"abcdef0-dirty":           "0~20260102.150405.abcdef0.dirty",
		"version-of-mine-3-gabcd": "0~20260102.150405.versionofmine3gabcd",
		"unknown":                 "0~20260102.150405.unknown",
	} {
		if got := packageVersion(described, when); got != want {
			t.Errorf("packageVersion(%q) = %q, want %q", described, got, want)
		}
	}
}

// dpkg has the last word on what is newer.
func TestVersionsSort(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("needs dpkg")
	}
	when := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	var last string
	for i, described := range []string{"ffffff0", "aaaaaa0", "v0.9", "v1.2.3-rc1", "v1.2.3-rc1-5-gabcdef0", "v1.2.3", "v1.2.3-5-gabcdef0", "v1.2.4-rc1"} {
		v := packageVersion(described, when.Add(time.Duration(i)*time.Second))
		if last != "" {
			if out, err := exec.Command("dpkg", "--compare-versions", last, "lt", v).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s is not older than %s: %v %s", last, v, err, out)
			}
		}
		last = v
	}
}

func TestTree(t *testing.T) {
	var tr tree
	tr.file("usr/libexec/rkt/b", 0o755, []byte("x"))
	tr.file("usr/bin/rkt", 0o755, nil)
	tr.symlink("usr/bin/a", "rkt")
	settled, err := tr.settled()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range settled {
		paths = append(paths, e.path)
	}
	if got := strings.Join(paths, " "); got != "usr/bin/a usr/bin/rkt usr/libexec/rkt usr/libexec/rkt/b" {
		t.Errorf("settled: %s", got)
	}
	root := filepath.Join(t.TempDir(), "root")
	for range 2 { // twice: an installation over another
		if err := settled.write(root); err != nil {
			t.Fatal(err)
		}
	}
	if to, err := os.Readlink(filepath.Join(root, "usr/bin/a")); to != "rkt" {
		t.Errorf("usr/bin/a leads to %q: %v", to, err)
	}
	if st, err := os.Stat(filepath.Join(root, "usr/libexec/rkt/b")); err != nil || st.Mode() != 0o755 {
		t.Errorf("mode %v: %v", st.Mode(), err)
	}
	tr.file("usr/bin/rkt", 0o644, nil)
	if _, err := tr.settled(); err == nil {
		t.Error("a path was on the list twice, and nobody minded")
	}
}

// Units that are wanted by something are enabled; the scripts name them, and are
// shells' to read.
func TestScripts(t *testing.T) {
	t.Chdir("../..")
	var tr tree
	tr.file("usr/lib/systemd/system/rkt-gc.timer", 0o644, []byte("[Timer]\n\n[Install]\nWantedBy=timers.target\n"))
	tr.file("usr/lib/systemd/system/rkt-gc.service", 0o644, []byte("[Service]\n"))
	tr.file("usr/lib/systemd/system/rkt@.service", 0o644, []byte("[Service]\n\n[Install]\nWantedBy=a.target\n"))
	tr.file("usr/lib/sysusers.d/rkt.conf", fs.FileMode(0o644), []byte("\n[Install]\n"))
	if got := strings.Join(units(tr), " "); got != "rkt-gc.timer" {
		t.Errorf("units: %q", got)
	}
	for _, with := range []tree{tr, nil} {
		scripts, err := debScripts(with)
		if err != nil {
			t.Fatal(err)
		}
		scripts["post"], scripts["preun"], scripts["postun"], err = rpmScripts(with)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range scripts {
			if strings.Contains(text, "@UNITS@") || strings.Contains(text, "rkt-gc.timer") != (with != nil) || strings.Contains(text, "rkt-gc.service") {
				t.Errorf("%s:\n%s", name, text)
			}
			cmd := exec.Command("sh", "-n")
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s\n%s", name, err, out, text)
			}
		}
	}
}
