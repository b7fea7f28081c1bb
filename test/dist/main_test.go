// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package dist makes the packages and does with them what users do: installs them in
// a small Debian system, runs a pod there, removes them. dpkg, rpm and lintian say
// what they think of them.
package dist

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rkt/rkt/test/cache"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/tools/debian"
	"github.com/rkt/rkt/tools/programs"
)

// What the packages are called here.
const (
	described = "v9.8.7"
	version   = "9.8.7"
	epoch     = "1790000000" // 2026-09-21
)

// made is the directory of the packages, and tool what makes them.
var made, tool string

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && mmdebstrap() == nil {
		// Out here is the network from which Debian comes.
		for _, packages := range [][]string{nil, {qemu}} {
			if _, err := debianRoot(packages...); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	var err error
	if debs, err = debian.Cache(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !rkt.InApart() {
		downloadDebs()
	}
	os.Exit(rkt.ApartWithMounts(func() int {
		dir, err := os.MkdirTemp("", "rkt-dist-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		tool, made = filepath.Join(dir, "tool"), filepath.Join(dir, "made")
		build := exec.Command("go", "build", "-trimpath", "-o", tool, "./tools/dist")
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build tools/dist: %v\n%s", err, out)
			return 1
		}
		if err := makePackages(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

// root is the source's.
const root = "../.."

// debs is where Debian's packages are kept; noFlavors says why there are no packages
// with files of them.
var debs, noFlavors string

// downloadDebs has what is needed in debs, or leaves it, to be told by whoever needs
// it.
func downloadDebs() {
	for _, arch := range []string{"amd64", "arm64"} {
		for _, tool := range []string{"stage1-kvm", "stage1-coreos"} {
			cmd := exec.Command("go", "run", "./tools/"+tool, "-download", "-arch", arch, "-debs", debs)
			cmd.Dir = root
			_ = cmd.Run()
		}
	}
}

// makePackages runs the tool: for all packages if it can.
func makePackages() error {
	make := func(flavors string) (string, error) {
		cmd := exec.Command(tool, "-out", made, "-version", described, "-flavors", flavors, "-debs", debs)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch)
		text, err := cmd.CombinedOutput()
		return string(text), err
	}
	text, err := make("kvm,coreos")
	if err != nil && strings.Contains(text, "cannot download packages") {
		noFlavors = text
		text, err = make("")
	}
	if err != nil {
		return fmt.Errorf("cannot make packages: %w\n%s", err, text)
	}
	return nil
}

// packages are the names of all that are made.
func packages() []string {
	if noFlavors != "" {
		return []string{"rkt"}
	}
	return []string{"rkt", programs.KVM, programs.CoreOS}
}

// needsFlavors skips a test if only package rkt could be made.
func needsFlavors(t *testing.T) {
	t.Helper()
	if noFlavors != "" {
		t.Skip("needs packages of Debian's: " + noFlavors)
	}
}

func deb(pkg, arch string) string { return filepath.Join(made, pkg+"_"+version+"_"+arch+".deb") }
func rpm(pkg, arch string) string { return filepath.Join(made, pkg+"-"+version+"-1."+arch+".rpm") }
func tarball(pkg, arch string) string {
	return filepath.Join(made, pkg+"-"+version+"-linux-"+arch+".tar.gz")
}

func mmdebstrap() error {
	_, err := exec.LookPath("mmdebstrap")
	return err
}

// debianRoot is the root of a Debian system with nothing but what every one has, and
// the packages named; made once, and only read.
func debianRoot(packages ...string) (string, error) {
	key := strings.Join(append([]string{"bookworm-minbase-1"}, packages...), "-")
	return cache.Dir("rkt-test-dist", key, func(dir string) error {
		out, err := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--include="+strings.Join(packages, ","), "bookworm", dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot make a Debian root: mmdebstrap: %w\n%s", err, out)
		}
		return os.Chmod(dir, 0o755)
	})
}

// qemu is the package that the flavor kvm needs.
const qemu = "qemu-system-x86"

// needs skips a test where a program is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("needs " + p)
		}
	}
}

// output runs a program of this machine and returns what it prints.
func output(t *testing.T, argv ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%.1000s\n%s", strings.Join(argv, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// unpacked are the packages' trees, each unpacked once by its own system's program.
var unpacked sync.Map

func unpack(t *testing.T, key string, argv func(dir string) []string) string {
	t.Helper()
	if dir, ok := unpacked.Load(key); ok {
		return dir.(string)
	}
	dir := filepath.Join(made, "unpacked-"+key)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	output(t, argv(dir)...)
	unpacked.Store(key, dir)
	return dir
}
