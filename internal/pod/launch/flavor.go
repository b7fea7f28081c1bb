// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Prefix is where rkt's own programs are installed, if they do not lie beside
// the rkt that runs; set at build time (-ldflags -X).
var Prefix = "/usr/lib/rkt/libexec"

// HelperPath finds one of rkt's own programs or files: in ../libexec/rkt
// beside the directory of the running program, then below Prefix. The
// environment has no say: rkt often runs as root.
func HelperPath(name string) (string, error) {
	path, dirs, err := lookHelper(name)
	if err == nil && path == "" {
		err = hint.Wrap(fmt.Errorf("cannot find %s: it is neither in %s nor in %s", name, dirs[0], dirs[1]),
			"install rkt with its libexec directory, or run `make build` in its source tree")
	}
	return path, err
}

// lookHelper is HelperPath that gives "" for what is in none of dirs.
func lookHelper(name string) (path string, dirs [2]string, err error) {
	if dirs, err = HelperDirs(); err != nil {
		return "", dirs, fmt.Errorf("cannot find %s: %w", name, err)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		if err == nil {
			return path, dirs, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", dirs, fmt.Errorf("cannot find %s: %w", name, err)
		}
	}
	return "", dirs, nil
}

// HelperDirs are the directories where HelperPath looks, in that order.
func HelperDirs() (dirs [2]string, err error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return dirs, err
	}
	return [2]string{filepath.Join(filepath.Dir(exe), "..", "libexec", "rkt"), Prefix}, nil
}

// A Flavor is a stage1 that can be used.
type Flavor struct {
	Path     string // of its manifest, absolute
	Manifest contract.Manifest
}

// Find looks up a flavor by name ("native"): in dir, unless that is "", then
// among rkt's own. There it is stage1-NAME.json, or a directory stage1-NAME that
// is the flavor's tree.
func Find(name, dir string) (Flavor, error) {
	if name == "" || strings.ContainsAny(name, "/.") {
		return Flavor{}, fmt.Errorf("cannot find stage1 %q: not a flavor's name", name)
	}
	forms := [...]string{"stage1-" + name + ".json", "stage1-" + name + "/" + contract.TreeManifest}
	if dir != "" {
		for _, form := range forms {
			f, err := Load(filepath.Join(dir, form))
			if !errors.Is(err, fs.ErrNotExist) {
				return f, err
			}
		}
	}
	path, dirs, err := lookHelper(forms[0])
	if err == nil && path == "" {
		path, _, err = lookHelper(forms[1])
	}
	if err == nil && path == "" {
		places := dirs[:]
		if dir != "" {
			places = append([]string{dir}, places...)
		}
		err = hint.Wrap(fmt.Errorf("cannot find stage1 %q: there is no %s in %s", name, forms[0], strings.Join(places, ", ")), whoHas(name))
	}
	if err != nil {
		return Flavor{}, err
	}
	return Load(path)
}

// whoHas is how to come by a flavor that is not there.
func whoHas(name string) string {
	switch name {
	case "kvm", "coreos": // packages of their own
		return "`apt install rkt-stage1-" + name + "` installs it, or `make stage1-" + name + "` in rkt's source tree makes it"
	case "native", "fly", "host":
		return "it is part of rkt: install rkt with its libexec directory, or run `make build` in its source tree"
	}
	return "rkt's own flavors are native, fly, host, coreos and kvm; stage1-images in paths.d is where others are looked for"
}

// Load reads the manifest of a flavor, which is trusted: whoever names one has
// seen to that. One of the name contract.TreeManifest is a tree's, see LoadTree.
func Load(path string) (Flavor, error) {
	if dir, name := filepath.Split(path); name == contract.TreeManifest {
		return LoadTree(filepath.Clean(dir))
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return Flavor{}, fmt.Errorf("cannot read stage1 manifest: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(fd)
	f := Flavor{Path: path}
	f.Manifest, err = readManifest(fd)
	if err != nil {
		return Flavor{}, fmt.Errorf("cannot read stage1 manifest %s: %w", path, err)
	}
	return f, f.check()
}

// readManifest reads a whole manifest; a pipe or what is too large is refused.
func readManifest(fd int) (contract.Manifest, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return contract.Manifest{}, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > contract.MaxManifest {
		return contract.Manifest{}, fmt.Errorf("it is not a file of at most %d bytes", contract.MaxManifest)
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		m, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err == nil && m == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return contract.Manifest{}, err
		}
		n += m
	}
	return contract.DecodeManifest(b)
}

// check looks at what every flavor must have.
func (f *Flavor) check() error {
	switch v := f.Manifest.ContractVersion; {
	case v > contract.Version:
		return hint.Wrap(fmt.Errorf("cannot use stage1 %s: it speaks version %d of the contract, rkt speaks %d", f.Path, v, contract.Version),
			"it takes a newer rkt, or an older version of the flavor")
	case v < contract.Version:
		return hint.Wrap(fmt.Errorf("cannot use stage1 %s: it speaks version %d of the contract, rkt speaks %d", f.Path, v, contract.Version),
			"it takes a newer version of the flavor")
	case f.Manifest.Name == "":
		return fmt.Errorf("cannot use stage1 %s: its manifest names no flavor", f.Path)
	}
	for _, name := range [...]string{"run", "enter", "stop", "gc"} {
		if v := f.Manifest.Entrypoints[name]; len(v) == 0 || v[0] == "" {
			return fmt.Errorf("cannot use stage1 %s: its manifest has no entry point %q", f.Path, name)
		}
	}
	return nil
}

// entrypoint gives the program and argument vector of an entry point.
func (f Flavor) entrypoint(name string, args ...string) (program string, argv []string, err error) {
	v := f.Manifest.Entrypoints[name]
	if len(v) == 0 {
		return "", nil, fmt.Errorf("cannot %s the pod: its stage1 %q has no such entry point", name, f.Manifest.Name)
	}
	program = v[0]
	if !filepath.IsAbs(program) {
		program = filepath.Join(filepath.Dir(f.Path), program)
	}
	return program, append(append([]string{}, v...), args...), nil
}
