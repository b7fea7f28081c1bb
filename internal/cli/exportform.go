// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/image/tree"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// form is a way in which images are written for others.
type form string

// The forms.
const (
	formACI           form = "aci"
	formOCI           form = "oci"            // a layout directory
	formOCIArchive    form = "oci-archive"    // a layout in a tar
	formDockerArchive form = "docker-archive" // as of `docker save`
)

func forms() []string {
	return []string{string(formACI), string(formOCI), string(formOCIArchive), string(formDockerArchive)}
}

// target is where an export goes, and how.
type target struct {
	form      form // "" until the word, or the image, has said it
	path      string
	name      string // inside a layout or an archive, or ""
	overwrite bool
}

func (t *target) register(fs *pflag.FlagSet) {
	set := func(s string) error {
		if !slices.Contains(forms(), s) {
			return errors.New("want " + strings.Join(forms(), ", "))
		}
		t.form = form(s)
		return nil
	}
	fs.Var(setFunc{Call: set, Word: "FORMAT", Values: forms()}, "format", "what to write: "+strings.Join(forms(), ", ")+"; without it OUT says")
	fs.BoolVar(&t.overwrite, "overwrite", false, "replace OUT if it exists; add to it if it is an OCI layout")
}

// read finds out what OUT says of the form: a prefix as in names of images, or
// the ending. format is that of the image: an ACI stays one.
func (t *target) read(out string, format image.Format) error {
	fail := func(err error) error { return fmt.Errorf("cannot export to %q: %w", out, err) }
	t.path = out
	for _, f := range []form{formOCI, formOCIArchive, formDockerArchive} {
		if !strings.HasPrefix(out, string(f)+":") {
			continue
		}
		if t.form != "" && t.form != f {
			return fail(fmt.Errorf("its prefix does not go with --format=%s", t.form))
		}
		r, err := ref.Parse(out)
		if err != nil {
			return err
		}
		t.form, t.path, t.name = f, r.Path, r.Inner
		return nil
	}
	fi, err := os.Stat(out)
	isDir := err == nil && fi.IsDir() || strings.HasSuffix(out, "/")
	switch {
	case out == "":
		return fail(errors.New("it is empty"))
	case t.form != "":
	case strings.HasSuffix(out, ".aci"), format == image.ACI:
		t.form = formACI
	case isDir:
		t.form = formOCI
	default:
		return hint.Wrap(fail(errors.New("its name does not say in which form")),
			"end it with .aci, or write oci:"+out+", oci-archive:"+out+" or docker-archive:"+out)
	}
	if isDir && t.form != formOCI {
		return fail(errors.New("it is a directory"))
	}
	return nil
}

// writeOCI writes an OCI or Docker image.
func (t *target) writeOCI(ctx context.Context, o export.OCI) error {
	switch t.form {
	case formOCI:
		return o.Layout(ctx, t.path, t.name, t.overwrite)
	case formOCIArchive:
		return t.write(ctx, func(w io.Writer) error { return o.Archive(w, t.name) })
	}
	var names []string
	if t.name != "" {
		names = []string{t.name}
	}
	return t.write(ctx, func(w io.Writer) error { return o.DockerArchive(w, names) })
}

// write makes the file.
func (t *target) write(ctx context.Context, f func(io.Writer) error) error {
	if err := export.File(ctx, t.path, t.overwrite, f); err != nil {
		if strings.HasPrefix(err.Error(), "cannot write ") {
			return err
		}
		return fmt.Errorf("cannot write %q: %w", t.path, err)
	}
	return nil
}

// outArgs completes a stored thing first and then a file.
func outArgs(what string) argsCheck {
	return func(args []string) error {
		switch len(args) {
		case 0:
			return fmt.Errorf("%s is missing", what)
		case 1:
			return errors.New("the output is missing")
		case 2:
			return nil
		}
		return fmt.Errorf("unexpected argument %q", args[2])
	}
}

// stack opens the trees that make an image's root, its own dependencies too.
func stack(st *store.Store, rec image.Record) (*merge.Stack, error) {
	paths, err := tree.For(rec, st)
	if err != nil {
		return nil, needTrees(err)
	}
	return openStack(paths...)
}

func openStack(paths ...string) (*merge.Stack, error) {
	s, err := merge.Open(paths...)
	return s, needTrees(err)
}

// needTrees says why a member of group rkt does not get at unpacked layers.
func needTrees(err error) error {
	if err != nil && errors.Is(err, unix.EACCES) {
		return hint.Wrap(err, "unpacked layers hold other people's set-user-id programs, so only root gets at them; blobs can be exported by whoever may read the store: --format=oci")
	}
	return err
}

// skipped tells of what could not be written, a few times.
type skipped struct {
	c     *cli
	count int
}

// mostSkipped is how many files are named.
const mostSkipped = 20

func (s *skipped) note(what, path string) {
	if s.count++; s.count <= mostSkipped {
		s.c.say(fmt.Sprintf("left out: %s %q", what, filepath.Join("/", path)))
	}
}

func (s *skipped) end() {
	if s.count > mostSkipped {
		s.c.say(fmt.Sprintf("left out: %d more", s.count-mostSkipped))
	}
}
