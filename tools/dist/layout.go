// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/rkt/rkt/internal/build/cmd"
	"github.com/rkt/rkt/internal/cli"
	"github.com/rkt/rkt/internal/ui/page"
	"github.com/rkt/rkt/tools/programs"
)

// layout says where things lie on one kind of system.
type layout struct {
	prefix string // "/usr"
	// system is "deb" or "rpm", or "" for what no package manager knows.
	system string
	// changelog, licenses and copyright are texts; nil leaves them out.
	changelog, licenses, copyright []byte
}

// base is the tree of package rkt: everything a default run needs, the flavors that
// bring nothing of others, the image builder, and what is there to read. built is what
// programs.Build has filled.
func (l layout) base(built string) (tree, error) {
	var t tree
	if err := l.programs(&t, built, ""); err != nil {
		return nil, err
	}
	if err := l.data(&t); err != nil {
		return nil, err
	}
	l.manuals(&t)
	l.completions(&t)
	if err := l.documents(&t); err != nil {
		return nil, err
	}
	return t.settled()
}

// at is a path below the prefix.
func (l layout) at(name string) string {
	return strings.TrimPrefix(path.Join(l.prefix, name), "/")
}

func (l layout) programs(t *tree, built, pkg string) error {
	for _, name := range programs.Files(pkg) {
		from := filepath.Join(built, name)
		if to, err := os.Readlink(from); err == nil {
			t.symlink(l.at(name), to)
			continue
		}
		if err := t.copyFile(from, l.at(name), nil); err != nil {
			return fmt.Errorf("cannot find what was built: %w", err)
		}
	}
	return nil
}

// data is what dist/ has for the system: a new file there is installed.
func (l layout) data(t *tree) error {
	for from, to := range map[string]string{
		"dist/setup-data-dir.sh": "libexec/rkt/setup-data-dir.sh",
		"dist/sysusers.d":        "lib/sysusers.d",
		"dist/tmpfiles.d":        "lib/tmpfiles.d",
		"dist/apparmor":          "share/rkt/apparmor", // loading it is the administrator's to decide
		"dist/systemd":           "lib/systemd",
	} {
		if _, err := os.Stat(from); os.IsNotExist(err) && from == "dist/systemd" {
			continue
		}
		if err := t.copyFiles(from, l.at(to), l.relocate); err != nil {
			return err
		}
	}
	if l.system != "" {
		// Where the distribution puts its configuration, whatever the prefix is.
		t.dir("usr/lib/rkt")
	}
	return nil
}

// relocate has a unit start the programs where they are installed.
func (l layout) relocate(text []byte) []byte {
	for _, d := range []string{"/bin/", "/libexec/rkt/"} {
		text = bytes.ReplaceAll(text, []byte("/usr"+d+"rkt"), []byte(path.Join(l.prefix, d, "rkt")))
	}
	return text
}

func (l layout) manuals(t *tree) {
	for _, pages := range [][]page.Page{cli.Pages(), cmd.Pages()} {
		for _, p := range pages {
			name, text := page.FileName(p)+".1", []byte(page.Roff(p, pages))
			if l.system != "" {
				name, text = name+".gz", packed(text)
			}
			t.file(l.at("share/man/man1/"+name), 0o644, text)
		}
	}
	alias := "actool.1"
	if l.system != "" {
		alias += ".gz"
	}
	t.symlink(l.at("share/man/man1/"+alias), "acbuild-"+alias)
}

func (l layout) completions(t *tree) {
	zsh := "share/zsh/site-functions/_"
	if l.system == "deb" {
		zsh = "share/zsh/vendor-completions/_" // site-functions is the administrator's there
	}
	for _, program := range []string{"rkt", "acbuild"} {
		for shell, name := range map[string]string{
			"bash": "share/bash-completion/completions/" + program,
			"zsh":  zsh + program,
			"fish": "share/fish/vendor_completions.d/" + program + ".fish",
		} {
			script, _ := page.CompletionScript(shell, program)
			t.file(l.at(name), 0o644, []byte(script))
		}
	}
}

func (l layout) documents(t *tree) error {
	doc := l.at("share/doc/rkt")
	for _, name := range []string{"README.md", "ARCHITECTURE.md"} {
		if err := t.copyFile(name, path.Join(doc, name), nil); err != nil {
			return err
		}
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		return err
	}
	for _, p := range pages {
		if err := t.copyFile(p, path.Join(doc, p), nil); err != nil {
			return err
		}
	}
	return l.papers(t, "rkt", nil)
}

// papers are what each package has below share/doc, and what is overridden of
// Debian's judge's. notice is of what others made.
func (l layout) papers(t *tree, pkg string, notice []byte) error {
	doc := l.at("share/doc/" + pkg)
	copyright := l.copyright
	if notice != nil {
		head, err := os.ReadFile("dist/package/copyright-flavors")
		if err != nil {
			return err
		}
		copyright = append(head, notice...)
	}
	for name, text := range map[string][]byte{"changelog.gz": l.changelog, "copyright": copyright, "third-party-licenses.gz": l.licenses} {
		if text == nil {
			continue
		}
		if strings.HasSuffix(name, ".gz") {
			text = packed(text)
		}
		t.file(path.Join(doc, name), 0o644, text)
	}
	if l.system == "" {
		return t.copyFile("LICENSE", path.Join(doc, "LICENSE"), nil)
	}
	if l.system == "deb" {
		return t.copyFile("dist/package/lintian/"+pkg, l.at("share/lintian/overrides/"+pkg), nil)
	}
	return nil
}

// packed is text as gzip -9n would have it, the same each time.
func packed(text []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		w.ModTime = time.Unix(0, 0) // the zero time would be written as one
		if _, err = w.Write(text); err == nil {
			err = w.Close()
		}
	}
	if err != nil { // a buffer takes everything
		panic(err)
	}
	return b.Bytes()
}

// elfs are the paths of a tree's programs.
func (t tree) elfs() (paths []string) {
	for _, e := range t {
		if e.mode&fs.ModeType == 0 && bytes.HasPrefix(e.body, []byte("\x7fELF")) {
			paths = append(paths, e.path)
		}
	}
	return paths
}
