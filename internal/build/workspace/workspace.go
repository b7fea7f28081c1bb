// SPDX-License-Identifier: Apache-2.0

// Package workspace is an image under construction: files below .acbuild of the
// working path, and a lock.
//
//	.acbuild/lock            flock'ed by the command that works on it
//	.acbuild/state.json      State; its presence makes the build exist
//	.acbuild/manifest        appc: the image manifest; OCI: the configuration
//	.acbuild/annotations     OCI: the manifest's annotations
//	.acbuild/layers/<n>/     what was written over the base, lowest first, in
//	                         overlayfs's form
//	.acbuild/base/<n>/       trees of the base that an ordinary user unpacked
//	.acbuild/store/          an image store of the build's own, for local images
//	.acbuild/owners          its presence says that files have several owners, and
//	                         only root of a user namespace may deal with them
//	.acbuild/tmp/            what is on its way; nothing in it counts
//
// Every change of the state is one rename, so a command that fails, or is killed,
// leaves the build as it was before it, open to go on.
package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/place"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/linux/rmtree"
	"github.com/rkt/rkt/internal/linux/userns"
)

// Mode is the form in which an image is described while it is built.
type Mode string

// The modes, by the words of --build-mode.
const (
	AppC Mode = "appc"
	OCI  Mode = "oci"
)

// version is of the files' form.
const version = 1

// State is what is kept of a build beside its manifest and trees.
type State struct {
	Version int    `json:"version"`
	Mode    Mode   `json:"mode"`
	Base    *Base  `json:"base,omitempty"`
	Layers  int    `json:"layers"` // at least 1
	Tag     string `json:"tag,omitempty"`
	// History is what was done, in order.
	History []Step `json:"history,omitempty"`
	// Changed is when the build was last changed, in seconds since 1970.
	Changed int64 `json:"changed,omitempty"`
}

// Step is a command that changed the image.
type Step struct {
	Command string `json:"command"`
	Layer   int    `json:"layer"` // the number of the layer that was topmost
	Files   bool   `json:"files"` // it may have changed files
	Time    int64  `json:"time,omitempty"`
}

// Base is the image that a build began with.
type Base struct {
	ID    image.ID `json:"id"`
	Name  string   `json:"name"`            // as the user named it
	Store string   `json:"store,omitempty"` // the data directory it is stored in; "" is the build's own
	Trees []string `json:"trees"`           // absolute, lowest first
	Under []string `json:"under,omitempty"` // trees of what an ACI depends on: seen by run, not written
	User  bool     `json:"user,omitempty"`  // the trees are an ordinary user's
}

// Workspace is a build whose lock this process holds.
type Workspace struct {
	Dir   string // .acbuild, absolute
	State State
	Doc   manifest.Document

	lock *os.File
}

const dirName = ".acbuild"

// directory is .acbuild below path.
func directory(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("cannot use work path %q: %w", path, cause(err))
	}
	return filepath.Join(abs, dirName), nil
}

// Open opens the build at path.
func Open(path string) (*Workspace, error) {
	dir, err := directory(path)
	if err != nil {
		return nil, err
	}
	switch fi, err := os.Lstat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint.Wrap(fmt.Errorf("cannot find a build in %q: none was begun", path), "acbuild begin begins one")
	case err != nil:
		return nil, fmt.Errorf("cannot use work path %q: %w", path, cause(err))
	default:
		if err := ours(path, fi); err != nil {
			return nil, err
		}
		if err := private(path, dir); err != nil {
			return nil, err
		}
	}
	w := &Workspace{Dir: dir}
	if err := w.takeLock(path); err != nil {
		return nil, err
	}
	err = w.load(path)
	if err == nil {
		err = w.markOwned()
	}
	if err == nil {
		err = w.sweep()
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// ownersFile is the mark of Owned.
const ownersFile = "owners"

// Owned tells whether the build at path, if there is one, was worked on in a user
// namespace, and so takes one to go on.
func Owned(path string) (bool, error) {
	dir, err := directory(path)
	if err != nil {
		return false, err
	}
	_, err = os.Lstat(filepath.Join(dir, ownersFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil // or somebody else's, which is for Open to say
	}
	return err == nil, err
}

// markOwned makes Owned true, if this process is in a user namespace.
func (w *Workspace) markOwned() error {
	if userns.Initial() {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(w.Dir, ownersFile), os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("cannot mark the build: %w", cause(err))
	}
	return f.Close()
}

// sweep removes what a command that was killed left in tmp.
func (w *Workspace) sweep() error {
	tmp := filepath.Join(w.Dir, "tmp")
	list, err := os.ReadDir(tmp)
	for _, e := range list {
		if err == nil {
			_, err = rmtree.Remove(filepath.Join(tmp, e.Name()))
		}
	}
	if err != nil {
		return fmt.Errorf("cannot clear what another acbuild left: %w", err)
	}
	return nil
}

// ours refuses what another user made, or what is no directory: its links and
// files would lead this process, which may be root's, anywhere.
func ours(path string, fi fs.FileInfo) error {
	if !fi.IsDir() {
		return fmt.Errorf("cannot use work path %q: %s in it is no directory", path, dirName)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() {
		return hint.Wrap(fmt.Errorf("cannot use work path %q: the build in it is another user's", path), "--work-path names another directory")
	}
	return nil
}

// private lets nobody else into a directory of ours: layers have set-user-ID
// programs of whoever made them.
func private(path, dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		f := os.NewFile(uintptr(fd), dir)
		defer f.Close()
		var fi fs.FileInfo
		if fi, err = f.Stat(); err == nil {
			if err := ours(path, fi); err != nil {
				return err
			}
			if fi.Mode().Perm() != 0o700 {
				err = f.Chmod(0o700)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("cannot use work path %q: %w", path, cause(err))
	}
	return nil
}

func (w *Workspace) takeLock(path string) error {
	f, err := os.OpenFile(filepath.Join(w.Dir, "lock"), os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("cannot lock the build in %q: %w", path, cause(err))
	}
	if err := flock.TryLock(f, flock.Exclusive); err != nil {
		f.Close()
		if errors.Is(err, flock.ErrBusy) {
			return hint.Wrap(fmt.Errorf("cannot lock the build in %q: another acbuild is working on it", path), "wait for it, or use another --work-path")
		}
		return err
	}
	w.lock = f
	return nil
}

// Close gives the lock up.
func (w *Workspace) Close() { _ = w.lock.Close() }

func (w *Workspace) load(path string) error {
	fail := func(err error) error {
		return hint.Wrap(fmt.Errorf("cannot read the build in %q: %w", path, err), "acbuild end removes what is there")
	}
	raw, err := os.ReadFile(filepath.Join(w.Dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return hint.Wrap(fmt.Errorf("cannot find a build in %q: one was begun and never came to be", path), "acbuild begin begins one")
	}
	if err == nil {
		err = json.Unmarshal(raw, &w.State)
	}
	switch {
	case err != nil:
		return fail(cause(err))
	case w.State.Version != version:
		return fail(fmt.Errorf("it is of version %d, this acbuild knows %d", w.State.Version, version))
	case w.State.Layers < 1:
		return fail(errors.New("it has no layer"))
	}
	if raw, err = os.ReadFile(filepath.Join(w.Dir, "manifest")); err != nil {
		return fail(cause(err))
	}
	switch w.State.Mode {
	case AppC:
		w.Doc, err = manifest.ParseAppC(raw)
	case OCI:
		var text []byte
		var annotations map[string]string
		if text, err = os.ReadFile(filepath.Join(w.Dir, "annotations")); err == nil {
			err = json.Unmarshal(text, &annotations)
		}
		if err == nil {
			w.Doc, err = manifest.ParseOCI(raw, annotations)
		}
	default:
		err = fmt.Errorf("there is no mode %q", w.State.Mode)
	}
	if err != nil {
		return fail(cause(err))
	}
	return nil
}

// Save makes the changes of State and Doc last.
func (w *Workspace) Save() error {
	w.State.Changed = time.Now().Unix()
	var text []byte
	var err error
	switch d := w.Doc.(type) {
	case *manifest.AppC:
		text, err = d.Encode(true)
	case *manifest.OCI:
		var a []byte
		if a, err = json.Marshal(d.Annotations); err == nil {
			err = atomicfile.Write(filepath.Join(w.Dir, "annotations"), a, 0o644)
		}
		if err == nil {
			text, err = d.Encode(true)
		}
	}
	if err == nil {
		err = atomicfile.Write(filepath.Join(w.Dir, "manifest"), append(text, '\n'), 0o644)
	}
	if err == nil {
		text, err = json.MarshalIndent(w.State, "", "  ")
	}
	if err == nil {
		err = atomicfile.Write(filepath.Join(w.Dir, "state.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot save the build: %w", err)
	}
	return nil
}

// Create makes an empty build at path; Save makes it exist. On an error of what
// the caller does before that, Destroy.
func Create(path string, mode Mode) (*Workspace, error) {
	dir, err := directory(path)
	if err != nil {
		return nil, err
	}
	err = os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		w := &Workspace{Dir: dir}
		fi, err := os.Lstat(dir)
		if err == nil {
			err = ours(path, fi)
		}
		if err == nil {
			err = private(path, dir)
		}
		if err == nil {
			err = w.takeLock(path)
		}
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(filepath.Join(dir, "state.json")); err == nil {
			w.Close()
			return nil, hint.Wrap(fmt.Errorf("cannot begin a build in %q: one is open", path), "acbuild end ends it, --work-path names another directory")
		}
		// What a begin left that was killed.
		if err := w.empty(); err != nil {
			w.Close()
			return nil, err
		}
		return w.fill(mode)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot begin a build in %q: %w", path, cause(err))
	}
	w := &Workspace{Dir: dir}
	if err := w.takeLock(path); err != nil {
		return nil, err
	}
	return w.fill(mode)
}

func (w *Workspace) fill(mode Mode) (*Workspace, error) {
	w.State = State{Version: version, Mode: mode, Layers: 0}
	w.Doc = manifest.NewAppC()
	if mode == OCI {
		w.Doc = manifest.NewOCI()
	}
	if err := w.markOwned(); err != nil {
		_ = w.Destroy()
		return nil, err
	}
	for _, d := range []string{"layers", "tmp"} {
		if err := os.Mkdir(filepath.Join(w.Dir, d), 0o755); err != nil {
			_ = w.Destroy()
			return nil, fmt.Errorf("cannot begin a build: %w", cause(err))
		}
	}
	return w, nil
}

// empty removes everything but the lock.
func (w *Workspace) empty() error {
	list, err := os.ReadDir(w.Dir)
	for _, e := range list {
		if e.Name() != "lock" && err == nil {
			_, err = rmtree.Remove(filepath.Join(w.Dir, e.Name()))
		}
	}
	return err
}

// Destroy removes the build and gives the lock up. The state goes first: what a
// kill leaves then is no build.
func (w *Workspace) Destroy() error {
	err := os.Remove(filepath.Join(w.Dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		_, err = rmtree.Remove(w.Dir)
	}
	w.Close()
	if err != nil {
		return fmt.Errorf("cannot remove the build: %w", err)
	}
	return nil
}

// End removes the build at path, whole or not.
func End(path string) error {
	dir, err := directory(path)
	if err != nil {
		return err
	}
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot find a build in %q: none was begun", path)
	}
	if err == nil {
		err = ours(path, fi)
	}
	if err != nil {
		return err
	}
	w := &Workspace{Dir: dir}
	if err := w.takeLock(path); err != nil {
		return err
	}
	return w.Destroy()
}

// Layer is the path of a layer of the build's own.
func (w *Workspace) Layer(n int) string { return filepath.Join(w.Dir, "layers", strconv.Itoa(n)) }

// Lower are the trees under layer n, lowest first.
func (w *Workspace) Lower(n int) []string {
	var all []string
	if w.State.Base != nil {
		all = append(all, w.State.Base.Trees...)
	}
	for i := range n {
		all = append(all, w.Layer(i))
	}
	return all
}

// User says whether the trees carry an ordinary user's marks.
func (w *Workspace) User() bool { return os.Geteuid() != 0 }

// Top is the layer that is written to.
func (w *Workspace) Top() int { return w.State.Layers - 1 }

// Root is the image's root, to be written to.
func (w *Workspace) Root() *place.Root {
	return &place.Root{Lower: w.Lower(w.Top()), Upper: w.Layer(w.Top()), Stage: filepath.Join(w.Dir, "tmp"), User: w.User()}
}

// NewLayer puts an empty layer on top.
func (w *Workspace) NewLayer() error {
	n := w.State.Layers
	dir := w.Layer(n)
	if _, err := rmtree.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot add a layer: %w", err)
	}
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		w.State.Layers++
		err = w.Root().Prepare()
	}
	if err != nil {
		w.State.Layers = n
		return fmt.Errorf("cannot add a layer: %w", cause(err))
	}
	return nil
}

// Check says whether what the build stands on is still there.
func (w *Workspace) Check() error {
	if w.State.Base == nil {
		return nil
	}
	for _, t := range w.State.Base.Trees {
		if fi, err := os.Lstat(t); err != nil || !fi.IsDir() {
			return hint.Wrap(fmt.Errorf("cannot go on: the image %q that the build began with is gone", w.State.Base.Name),
				"fetch "+string(w.State.Base.ID)+" again, or begin anew")
		}
	}
	return nil
}

// Note adds a step to the history.
func (w *Workspace) Note(command []string, files bool) {
	w.State.History = append(w.State.History, Step{Command: quote(command), Layer: w.Top(), Files: files, Time: time.Now().Unix()})
}

// quote makes one line of words.
func quote(words []string) string {
	list := make([]string, len(words))
	for i, s := range words {
		if s == "" || strings.ContainsAny(s, " \t\n\"'\\#") {
			s = strconv.Quote(s)
		}
		list[i] = s
	}
	return strings.Join(list, " ")
}

func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
