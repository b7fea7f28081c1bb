// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"golang.org/x/sys/unix"
)

func newExport(c *cli) *command {
	var app string
	t := &target{}
	cmd := &command{
		usage: "[OPTION…] UUID OUT",
		short: "write the root of an exited pod's app as an image",
		long: `Makes an image of the root of an app as the pod left it. OUT says in which form, as
for rkt image export:

  FILE.aci                an ACI: the image's own manifest, and the whole root
  DIR/, oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME]
                          the image that the app was made from, and what the pod
                          changed as one more layer and line of its history

Volumes are not part of an app's root. A pod that is running, or was never run, is
refused; so is one whose image is no longer stored. An app that was made from an ACI
can only become one.

OUT must not exist unless --overwrite; what is half written is removed.`,
		example: "  rkt export 5bc080ca changed.aci\n  rkt export --app=web 5bc080ca oci:/srv/images:web-changed",
		args:    outArgs("a pod's UUID"),
		words: func(begun string) ([]word, bool) {
			words, _ := c.podWords(begun)
			return words, true // the output
		},
		run: func(args []string) error { return c.export(args[0], args[1], app, t) },
	}
	cmd.flags().StringVar(&app, "app", "", "`NAME` of the app, if the pod has several")
	t.register(cmd.flags())
	return cmd
}

// changedApp is an app of a pod that has ended, and what it is made of.
type changedApp struct {
	pod    *lifecycle.Pod // locked
	name   string
	change export.Change
	image  image.Record
	ended  time.Time
}

func (c *cli) export(uuid, out, app string, t *target) error {
	if err := c.needRoot(); err != nil {
		return err // what pods write is theirs
	}
	dir, st, err := c.openStore()
	if err != nil {
		return err
	}
	p, err := c.openPod(uuid)
	if err != nil {
		return err
	}
	if st == nil {
		return fmt.Errorf("cannot export pod %s: %q has no images", p.ID(), dir)
	}
	defer st.Close()
	a, err := endedApp(st, p, app)
	if err != nil {
		return fmt.Errorf("cannot export pod %s: %w", p.ID(), err)
	}
	defer p.Close()
	if err := t.read(out, a.image.Format); err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	left := &skipped{c: c}
	defer left.end()
	if t.form == formACI {
		return c.exportRoot(ctx, st, a, t, left)
	}
	return c.exportChange(ctx, st, a, t, left)
}

// endedApp finds the app and locks its pod, so that nobody removes it.
func endedApp(st *store.Store, p *lifecycle.Pod, name string) (a changedApp, err error) {
	if err := p.Lock(); errors.Is(err, lifecycle.ErrBusy) {
		return a, hint.Wrap(errors.New("it is running, and its files may change any time"), "`rkt stop "+string(p.ID())+"`")
	} else if err != nil {
		return a, err
	}
	defer func() {
		if err != nil {
			_ = p.Close()
		}
	}()
	if ph := p.Phase(); ph != lifecycle.Run && ph != lifecycle.ExitedGarbage {
		return a, errors.New("it has not run")
	}
	doc, err := p.Contract()
	if err != nil {
		return a, err
	}
	m, err := p.Manifest()
	if err != nil {
		return a, err
	}
	a = changedApp{pod: p, name: name}
	if name == "" {
		if len(doc.Apps) != 1 {
			var names []string
			for i := range doc.Apps {
				names = append(names, doc.Apps[i].Name)
			}
			return a, hint.Wrap(fmt.Errorf("it has %d apps", len(doc.Apps)), "--app=NAME says which; there are "+strings.Join(names, ", "))
		}
		a.name = doc.Apps[0].Name
	}
	found := false
	for i := range doc.Apps {
		if doc.Apps[i].Name != a.name {
			continue
		}
		found = true
		a.change.Upper = filepath.Join(p.Dir(), lifecycle.Below(doc.Apps[i].Upper))
		for _, l := range doc.Apps[i].Layers {
			if filepath.Base(l) != "skeleton" { // rkt's own mount points
				a.change.Layers = append(a.change.Layers, l)
			}
		}
	}
	if !found {
		return a, fmt.Errorf("it has no app %q", a.name)
	}
	if a.ended, err = p.Finished(); err != nil {
		return a, err
	}
	for i := range m.Apps {
		if m.Apps[i].Name == a.name {
			if a.image, err = pinned(st, string(m.Apps[i].Image.ID)); err != nil {
				return a, hint.Wrap(err, "fetch the image again, the very same: "+string(m.Apps[i].Image.ID))
			}
		}
	}
	if a.image.ID == "" {
		return a, fmt.Errorf("its manifest has no app %q", a.name)
	}
	return a, nil
}

// exportRoot writes the whole root as an ACI.
func (c *cli) exportRoot(ctx context.Context, st *store.Store, a changedApp, t *target, left *skipped) error {
	s, err := merge.Open(append(a.change.Layers, a.change.Upper)...)
	if err != nil {
		return err
	}
	defer s.Close()
	var manifest []byte
	if a.image.Format == image.ACI {
		raw, err := export.Document(st, a.image.Manifest)
		if err != nil {
			return err
		}
		if manifest, err = export.Alone(raw); err != nil {
			return err
		}
	} else {
		src, err := export.Stored(st, a.image)
		if err != nil {
			return err
		}
		if manifest, err = export.Converted(a.image, src.Config.Digest, s); err != nil {
			return err
		}
	}
	return t.write(ctx, func(w io.Writer) error {
		_, err := export.ACI(w, manifest, s, export.Packing{Notes: left.note})
		return err
	})
}

// exportChange writes the image with what the pod changed on top.
func (c *cli) exportChange(ctx context.Context, st *store.Store, a changedApp, t *target, left *skipped) error {
	src, err := export.Stored(st, a.image)
	if err != nil {
		return err
	}
	// The layer is needed twice, for its digest and for its bytes.
	temp, err := st.Scratch()
	if err != nil {
		return err
	}
	defer temp.Close()
	l, err := c.packLayer(ctx, a, temp, left)
	if err != nil {
		return err
	}
	l.Created, l.By = a.ended, "rkt export "+string(a.pod.ID())
	if l.Created.IsZero() {
		l.Created = time.Unix(0, 0)
	}
	o, err := src.With(l)
	if err != nil {
		return err
	}
	return t.writeOCI(ctx, o)
}

// packLayer writes the layer to temp, compressed.
func (c *cli) packLayer(ctx context.Context, a changedApp, temp *os.File, left *skipped) (export.Added, error) {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return export.Added{}, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return export.Added{}, fmt.Errorf("cannot make pipe: %w", err)
	}
	defer r.Close()
	packed := make(chan error, 1)
	var l export.Added
	go func() {
		var err error
		l.DiffID, _, err = a.change.Layer(w, export.Packing{Notes: left.note})
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		packed <- err
	}()
	sum := sha256.New()
	zerr := fetch.Gzip(ctx, helper, r, io.MultiWriter(temp, sum))
	r.Close() // should it have ended early
	if err := <-packed; err != nil && !errors.Is(err, unix.EPIPE) {
		return l, err
	}
	if zerr != nil {
		return l, zerr
	}
	size, err := temp.Seek(0, io.SeekEnd)
	if err != nil {
		return l, err
	}
	l.Gzip = true
	l.Blob = export.Blob{Digest: image.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))), Size: size,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(temp, 0, size)), nil }}
	return l, nil
}
