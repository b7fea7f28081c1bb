// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/image/tree"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/spf13/pflag"
)

// defaultFlavor is what pods are isolated by unless the user says otherwise.
const defaultFlavor = "native"

// flavorFlags choose the flavor, by one of them.
type flavorFlags struct{ flag, value string }

func (f *flavorFlags) register(fs *pflag.FlagSet) {
	add := func(name, typ, usage string) *pflag.Flag {
		by := strings.TrimSuffix(name, "-name") // --stage1 is short for it
		return each(fs, name, typ, usage, func(s string) error {
			if s == "" {
				return errors.New("it is empty")
			}
			if f.flag != "" && (f.flag != by || f.value != s) {
				return fmt.Errorf("the flavor is chosen already, by --%s=%s", f.flag, f.value)
			}
			f.flag, f.value = by, s
			return nil
		})
	}
	add("stage1", "NAME", "the flavor, that is how the pod is isolated: an installed one, or an image's name").DefValue = defaultFlavor
	add("stage1-name", "NAME", "--stage1").Hidden = true
	add("stage1-path", "PATH", "the flavor in an image's file, a directory, or a manifest stage1-NAME.json")
	add("stage1-url", "URL", "the flavor in the image at an http, https or docker URL")
	add("stage1-hash", "ID", "the flavor in the stored image of that ID")
	add("stage1-from-dir", "FILE", "the flavor in an image's file, or a directory, of the directory of installed flavors")
}

// chosenFlavor is a flavor that a pod can be made for.
type chosenFlavor struct {
	launch.Flavor
	image image.ID     // that it came from; "" without
	store *store.Store // that keeps the image until the pod does; nil without
}

func (f *chosenFlavor) prepared() prepare.Flavor {
	return prepare.Flavor{Path: f.Path, Manifest: f.Manifest, Image: f.image}
}

// release is called when the pod is written, or never will be.
func (f *chosenFlavor) release() {
	if f.store != nil {
		_ = f.store.Close()
		f.store = nil
	}
}

func installed(f launch.Flavor, err error) (chosenFlavor, error) {
	return chosenFlavor{Flavor: f}, err
}

// findFlavor finds the flavor that was asked for, or that the configuration makes
// the default; the image that has it is fetched if need be. The caller releases it.
func (c *cli) findFlavor(f *flavorFlags) (chosenFlavor, error) {
	paths, err := config.LoadPaths(c.global.config)
	if err != nil {
		return chosenFlavor{}, err
	}
	dir := paths.Stage1Images
	switch f.flag {
	case "":
		return c.configuredFlavor(dir)
	case "stage1":
		return c.namedFlavor(f.value, dir)
	case "stage1-path":
		return c.flavorAt(f.value, dir)
	case "stage1-from-dir":
		return c.flavorFromDir(f.value, dir)
	case "stage1-hash":
		r, err := ref.Parse(f.value)
		if err == nil && r.Kind != ref.ID {
			err = errors.New("it is no image's ID")
		}
		if err != nil {
			return chosenFlavor{}, fmt.Errorf("cannot use --stage1-hash=%s: %w", f.value, err)
		}
		return c.flavorImage(f.value, false)
	}
	r, err := ref.Parse(f.value)
	if err == nil && r.Kind != ref.ACIURL && r.Kind != ref.Docker {
		err = errors.New("it is no http, https or docker URL")
	}
	if err != nil {
		return chosenFlavor{}, fmt.Errorf("cannot use --stage1-url=%s: %w", f.value, err)
	}
	return c.flavorImage(f.value, false)
}

// namedFlavor is an installed one, or if the name can be none of those, an image.
func (c *cli) namedFlavor(name, dir string) (chosenFlavor, error) {
	if short, ok := strings.CutPrefix(name, "coreos.com/rkt/stage1-"); ok {
		short, _, _ = strings.Cut(short, ":")
		return chosenFlavor{}, hint.Wrap(fmt.Errorf("cannot use stage1 %q: it is a flavor of rkt 1", name),
			"this rkt's own is --stage1="+short)
	}
	if strings.ContainsAny(name, "/.:") {
		r, err := ref.Parse(name)
		if err == nil && r.Kind != ref.Name && r.Kind != ref.Docker {
			err = hint.Wrap(errors.New("it is no name"), "use --stage1-path, --stage1-url or --stage1-hash")
		}
		if err != nil {
			return chosenFlavor{}, fmt.Errorf("cannot use stage1 %q: %w", name, err)
		}
		return c.flavorImage(name, false)
	}
	return installed(launch.Find(name, dir))
}

// configuredFlavor finds the default: by name and version, then where there is
// none, at its location.
func (c *cli) configuredFlavor(dir string) (chosenFlavor, error) {
	s, err := config.LoadStage1(c.global.config)
	switch {
	case err != nil:
		return chosenFlavor{}, err
	case s.Name == "" && s.Location == "":
		return installed(launch.Find(defaultFlavor, dir))
	case s.Name == "":
		return c.locatedFlavor(s.Location, dir)
	case strings.ContainsAny(s.Name, "/."):
		f, err := c.flavorImage(s.Name+":"+s.Version, false)
		if err != nil && s.Location != "" {
			return c.locatedFlavor(s.Location, dir)
		}
		return f, err
	}
	flavor, err := launch.Find(s.Name, dir)
	if err == nil && flavor.Manifest.Version != "" && flavor.Manifest.Version != s.Version {
		err = hint.Wrap(fmt.Errorf("cannot use stage1 %q: the configuration wants version %q, installed is %q", s.Name, s.Version, flavor.Manifest.Version),
			"change its version in stage1.d, or install that version")
	}
	if err != nil && s.Location != "" {
		return c.locatedFlavor(s.Location, dir)
	}
	return installed(flavor, err)
}

// locatedFlavor is what lies at a location of the configuration. That is the
// administrator's word for a manifest or a directory; an image has to be verified
// all the same.
func (c *cli) locatedFlavor(location, dir string) (chosenFlavor, error) {
	path, isFile := strings.CutPrefix(location, "file://")
	if !isFile && !strings.HasPrefix(path, "/") {
		return c.flavorImage(location, false)
	}
	if strings.HasSuffix(path, ".json") {
		return installed(launch.Load(path))
	}
	return c.flavorAt(path, dir)
}

// flavorAt is what lies at a path of the user's.
func (c *cli) flavorAt(path, dir string) (chosenFlavor, error) {
	fail := func(err error) (chosenFlavor, error) {
		return chosenFlavor{}, fmt.Errorf("cannot use stage1 at %q: %w", path, err)
	}
	if scheme, _, _ := strings.Cut(path, ":"); strings.Contains(path, ":") {
		switch ref.Kind(scheme) {
		case ref.OCILayout, ref.OCIArchive, ref.DockerArchive:
			return c.flavorImage(path, false)
		}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fail(err)
	}
	// What lies among those installed is as good as they are.
	trusted := false
	if places, err := flavorDirs(dir); err == nil {
		for _, p := range places {
			trusted = trusted || filepath.Dir(abs) == p
		}
	}
	return c.flavorFile(abs, trusted)
}

// flavorDirs are the directories of installed flavors.
func flavorDirs(dir string) ([]string, error) {
	dirs, err := launch.HelperDirs()
	if err != nil {
		return nil, err
	}
	if dir != "" {
		return append([]string{dir}, dirs[:]...), nil
	}
	return dirs[:], nil
}

// flavorFromDir is a file or directory among the installed flavors.
func (c *cli) flavorFromDir(name, dir string) (chosenFlavor, error) {
	if name != filepath.Base(name) || name == "." || name == ".." || name == "/" {
		return chosenFlavor{}, fmt.Errorf("cannot use --stage1-from-dir=%s: it is the name of a file in the directory of flavors, not a path", name)
	}
	places, err := flavorDirs(dir)
	if err != nil {
		return chosenFlavor{}, err
	}
	for _, p := range places {
		path := filepath.Join(p, name)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return c.flavorFile(path, true)
		}
	}
	return chosenFlavor{}, hint.Wrap(fmt.Errorf("cannot find stage1 %q: it is in none of %s", name, strings.Join(places, ", ")),
		"stage1-images in paths.d names another directory")
}

// flavorFile is a manifest, a tree, an image's file or a layout. trusted: that it
// is there says enough, as long as nobody but root could have put it there.
func (c *cli) flavorFile(path string, trusted bool) (chosenFlavor, error) {
	fail := func(err error) (chosenFlavor, error) {
		return chosenFlavor{}, fmt.Errorf("cannot use stage1 at %q: %w", path, err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return fail(cause(err))
	}
	manifest := ""
	switch {
	case !st.IsDir() && strings.HasSuffix(path, ".json"):
		manifest = path
	case st.IsDir():
		if _, err := os.Lstat(filepath.Join(path, contract.TreeManifest)); err == nil {
			manifest = filepath.Join(path, contract.TreeManifest)
		}
	}
	if manifest != "" || trusted {
		real, err := owned(path)
		if err != nil {
			return fail(err)
		}
		manifest, path = strings.Replace(manifest, path, real, 1), real
	}
	switch {
	case manifest != "" && !trusted && !c.global.insecure.image:
		return fail(hint.Wrap(errors.New("nothing vouches for it"), "install it among the flavors (stage1-images in paths.d), or accept the risk with --insecure-options=image"))
	case manifest != "":
		return installed(launch.Load(manifest))
	case st.IsDir():
		if _, err := os.Lstat(filepath.Join(path, "oci-layout")); err != nil {
			return fail(fmt.Errorf("the directory has neither %s nor an OCI layout", contract.TreeManifest))
		}
		return c.flavorImage("oci:"+path, trusted)
	case !st.Mode().IsRegular():
		return fail(errors.New("it is neither a file nor a directory"))
	case strings.HasSuffix(path, ".aci"):
		return c.flavorImage(path, trusted)
	}
	if strings.Contains(path, ":") {
		return fail(errors.New("a path of an archive has no colon"))
	}
	return c.flavorImage("oci-archive:"+path, trusted)
}

// owned refuses a path, absolute, that others than root and the caller could have
// put something else at: where links have led, each directory on the way and the
// file itself must be theirs and nobody else's to write. It gives the path without
// links.
func owned(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", cause(err)
	}
	for at := path; ; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return "", err
		}
		if err := launch.Unchangeable(&st, at, at != path); err != nil {
			return "", err
		}
		if at == "/" {
			return path, nil
		}
	}
}

// legacyAnnotation marks a stage1 image made for rkt before this contract.
const legacyAnnotation = "coreos.com/rkt/stage1/run"

// flavorImage finds or fetches an image, and the flavor that is in it.
func (c *cli) flavorImage(word string, trusted bool) (f chosenFlavor, err error) {
	dir, err := c.global.dataDir()
	if err != nil {
		return f, err
	}
	refs, err := parseRefs([]string{word})
	if err != nil {
		return f, err
	}
	refs[0].trusted = trusted
	st, err := store.Open(dir)
	if err != nil {
		return f, err
	}
	f = chosenFlavor{store: st}
	defer func() {
		if err != nil {
			f.release()
		}
	}()
	records, lease, err := c.findImages(st, refs, string(fetch.New))
	if err != nil {
		return f, err
	}
	defer lease.Close()
	rec := records[0]
	// From here on until the pod names them: the images of apps may have to be
	// fetched first, which waits for all leases.
	for _, l := range rec.Layers {
		st.HasLayer(l.DiffID)
	}
	st.Hold(rec.ID)
	ctx, stop := interruptible()
	defer stop()
	root, err := tree.Merged(ctx, rec, st)
	if err != nil {
		return f, err
	}
	f.image = rec.ID
	f.Flavor, err = launch.LoadTree(root)
	if errors.Is(err, fs.ErrNotExist) && !hasFile(root, contract.TreeManifest) {
		if _, old := rec.Annotations[legacyAnnotation]; old {
			err = hint.Wrap(fmt.Errorf("cannot use image %q as stage1: it was made for the stage1 interface of rkt 1 (annotation %q), which this rkt does not have", word, legacyAnnotation),
				"flavors of today have a manifest /"+contract.TreeManifest+": docs/stage1-contract.md")
		} else {
			err = fmt.Errorf("cannot use image %q as stage1: it has no /%s", word, contract.TreeManifest)
		}
	}
	return f, err
}

func hasFile(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// cause is an error without the name of the file, which the caller tells.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
