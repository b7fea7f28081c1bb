// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/cli"
)

// docs/commands says what `rkt help` says.
func TestDocsAreCurrent(t *testing.T) {
	fresh := t.TempDir()
	if err := write(fresh, true); err != nil {
		t.Fatal(err)
	}
	const docs = "../../docs/commands"
	want := names(t, fresh)
	if got := names(t, docs); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("docs/commands has %v, want %v", got, want)
	}
	for _, name := range want {
		a, err := os.ReadFile(filepath.Join(fresh, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("docs/commands/%s is stale (%v): run go run ./tools/man -markdown docs/commands", name, err)
		}
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// Every command says what it is for, and every option what it does.
func TestPagesAreWhole(t *testing.T) {
	for _, p := range cli.Pages() {
		if p.Short == "" || p.Description == "" || p.ExitStatus == "" || p.Usage == "" {
			t.Errorf("the page of %s lacks something: %+v", p.Name, p)
		}
		if p.Examples == "" && len(p.Commands) == 0 && p.Name != "rkt help" {
			t.Errorf("%s has no examples", p.Name)
		}
		for _, l := range strings.Split(p.Description+"\n"+p.Examples, "\n") {
			if len([]rune(l)) > 84 {
				t.Errorf("%s: a line is too wide for a terminal: %q", p.Name, l)
			}
		}
		for _, o := range append(p.Options, p.Global...) {
			if o.Usage == "" || strings.HasSuffix(o.Usage, ".") {
				t.Errorf("%s %s: usage %q", p.Name, o.Flag, o.Usage)
			}
		}
	}
}

// groff has no complaint, and shows what was meant.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir, false); err != nil {
		t.Fatal(err)
	}
	run, err := os.ReadFile(filepath.Join(dir, "rkt-run.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`.SH "OPTIONS"`, `\fB\-\-exec\fR=\fIPROGRAM\fR`, `.SH "EXIT STATUS"`, `"RKT\-RUN" 1`} {
		if !bytes.Contains(run, []byte(want)) {
			t.Errorf("rkt-run.1 has no %s", want)
		}
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not installed")
	}
	for _, name := range names(t, dir) {
		var errs bytes.Buffer
		cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z", "-k", filepath.Join(dir, name))
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 {
			t.Errorf("groff %s: %v\n%s", name, err, errs.String())
		}
	}
}
