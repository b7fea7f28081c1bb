// SPDX-License-Identifier: Apache-2.0

// Command stage1-coreos makes the tree of the coreos flavor, of Debian's packages
// systemd and systemd-container and the libraries that they need, which it
// downloads with apt-get, and of rkt's stage1-nspawn; and the same as an image. The
// same packages and program give the same bytes. `make stage1-coreos`.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/nspawn"
	"github.com/rkt/rkt/tools/debian"
)

func main() {
	out := flag.String("o", "build", "the `directory` of the installation, with libexec/rkt/stage1-nspawn")
	arch := flag.String("arch", runtime.GOARCH, "that of the installation, in Go's words")
	debs := flag.String("debs", "", "`directory` where packages are kept: what is there is not downloaded; a cache of the user's if empty")
	version := flag.String("version", "", "the image's `version`")
	image := flag.Bool("image", true, "write the image, stage1-coreos.aci, into the directory, too")
	only := flag.Bool("download", false, "only download the packages")
	flag.Parse()
	if *only {
		*out = ""
	}
	if err := run(*out, *arch, *debs, *version, *image); err != nil {
		fmt.Fprintln(os.Stderr, "stage1-coreos:", err)
		if h := hint.Of(err); h != "" {
			fmt.Fprintln(os.Stderr, "hint:", h)
		}
		os.Exit(1)
	}
}

func run(out, arch, debs, version string, image bool) (err error) {
	if debs == "" {
		if debs, err = debian.Cache(); err != nil {
			return err
		}
	}
	if debs, err = debian.Keep(debs, "systemd", arch, wanted); err != nil {
		return err
	}
	if out == "" {
		return nil
	}
	libexec := filepath.Join(out, "libexec", "rkt")
	t, err := build(debs, filepath.Join(libexec, "stage1-nspawn"))
	if err != nil {
		return err
	}
	dir := filepath.Join(libexec, "stage1-coreos")
	if err := t.write(dir); err != nil {
		return err
	}
	fmt.Printf("%s%s: %d bytes in %d files\n", t[debian.TreeRecord].text, dir, t.size(), len(t))
	if !image {
		return nil
	}
	text, err := t.aci(arch, version)
	if err != nil {
		return err
	}
	path := filepath.Join(out, "stage1-coreos.aci")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	fmt.Printf("%s: %d bytes, sha256 %s\n", path, len(text), hex.EncodeToString(sum[:]))
	return nil
}

// build is the tree, of the packages in debs and the program.
func build(debs, program string) (tree, error) {
	all, origin, err := unpack(debs)
	if err != nil {
		return nil, err
	}
	t, err := choose(all, origin)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	t[nspawn.TreeProgram] = file{mode: 0o755, text: text}
	m := nspawn.CoreOS.Manifest()
	t[contract.TreeManifest] = file{mode: 0o644, text: append(m.Encode(), '\n')}
	return t, nil
}
