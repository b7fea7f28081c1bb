// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/ui"
	"golang.org/x/sys/unix"
)

// imageRef is an image as the user named it.
type imageRef struct {
	ref.Ref
	canonical string // the name the store knows it by; "" of an ID
	signature string // path of --signature, or ""
	trusted   bool   // whoever named it vouches for it
}

// parseRefs reads the names of images. A word that could be an appc name is a
// file if there is one of that name here.
func parseRefs(words []string) ([]imageRef, error) {
	var cwd string
	refs := make([]imageRef, len(words))
	for i, word := range words {
		r, err := ref.Parse(word)
		if err != nil {
			return nil, err
		}
		if r.Kind == ref.Name {
			if st, err := os.Stat(word); err == nil && st.Mode().IsRegular() {
				r = ref.File(word)
			}
		}
		if r.Path != "" && cwd == "" && !filepath.IsAbs(r.Path) {
			if cwd, err = os.Getwd(); err != nil {
				return nil, fmt.Errorf("cannot use image %q: %w", word, err)
			}
		}
		refs[i].Ref = r.Abs(cwd)
		if r.Kind != ref.ID {
			refs[i].canonical = refs[i].Canonical()
		}
	}
	return refs, nil
}

// findImages gives each image's record, and the lease that keeps them until the
// pod names their layers. What is stored costs a lookup; only if an image is
// not, or is to be updated, anything is fetched, without the lease.
func (c *cli) findImages(st *store.Store, refs []imageRef, policy string) ([]image.Record, *store.Lease, error) {
	if policy != string(fetch.Update) {
		o := fetch.Options{Dirs: c.global.config, InsecureImage: c.global.insecure.image}
		records, lease, err := leased(st, refs, func(i int) (image.Record, error) {
			rec, err := fetch.Find(st, refs[i].Ref)
			if err != nil {
				return rec, err
			}
			o := o
			o.InsecureImage = o.InsecureImage || refs[i].trusted
			return fetch.Admit(o, rec, refs[i].Ref)
		})
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, fetch.ErrUnproven) {
			return records, lease, err
		}
	}
	fetched := make([]image.Record, len(refs))
	for i, r := range refs {
		var err error
		if fetched[i], err = c.fetchImage(st, r, fetch.Policy(policy)); err != nil {
			return nil, nil, err
		}
	}
	// Another process may have removed one before the lease was taken.
	return leased(st, refs, func(i int) (image.Record, error) {
		_, err := st.ByID(string(fetched[i].ID))
		return fetched[i], err
	})
}

// leased finds stored images under a new lease.
func leased(st *store.Store, refs []imageRef, find func(i int) (image.Record, error)) ([]image.Record, *store.Lease, error) {
	lease, err := st.Lease()
	if err != nil {
		return nil, nil, err
	}
	records := make([]image.Record, len(refs))
	for i := range refs {
		if records[i], err = find(i); err != nil {
			lease.Close()
			return nil, nil, err
		}
		st.Used(records[i].ID)
	}
	return records, lease, nil
}

// fetchImage fetches one image, until it is there or the user interrupts.
func (c *cli) fetchImage(st *store.Store, r imageRef, policy fetch.Policy) (image.Record, error) {
	o, err := c.fetchOptions()
	if err != nil {
		return image.Record{}, err
	}
	o.Policy, o.Signature = policy, r.signature
	o.InsecureImage = o.InsecureImage || r.trusted
	ctx, stop := interruptible()
	defer stop()
	return fetch.Image(ctx, st, o, r.Ref)
}

// interruptible is a context that ends when the user wants rkt to.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
}

// fetchOptions are those that the global flags and the terminal decide.
func (c *cli) fetchOptions() (fetch.Options, error) {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return fetch.Options{}, err
	}
	o := fetch.Options{
		Helper:         helper,
		InsecureImage:  c.global.insecure.image,
		InsecureTLS:    c.global.insecure.tls,
		InsecureHTTP:   c.global.insecure.http,
		InsecurePubkey: c.global.insecure.pubkey,
		Dirs:           c.global.config,
		TrustHTTPS:     c.global.trustHTTPS,
		Review:         c.reviewKey("give --trust-keys-from-https, or trust the key beforehand with `rkt trust`"),
		Config:         func() (*config.Config, error) { return config.Load(c.global.config) },
		Progress:       wire.ProgressLines,
		UserAgent:      "rkt/" + Version,
	}
	if f, ok := c.Err.(*os.File); ok {
		o.Stderr = f
		if ui.IsTerminal(f) {
			o.Progress = wire.ProgressBars
		}
	}
	return o, nil
}

// openStore opens the image store of the data directory, for verbs that only
// look at what is there: nil if there is no store.
func (c *cli) openStore() (dir string, st *store.Store, err error) {
	if dir, err = c.global.dataDir(); err != nil {
		return "", nil, err
	}
	if _, err := os.Lstat(filepath.Join(dir, "images", "oci-layout")); errors.Is(err, fs.ErrNotExist) {
		return dir, nil, nil
	}
	st, err = store.Open(dir)
	return dir, st, err
}

// storedImage finds an image by what the user calls it: an ID, or a name under
// which it was fetched.
func storedImage(st *store.Store, word string) (image.Record, error) {
	refs, err := parseRefs([]string{word})
	if err != nil {
		return image.Record{}, err
	}
	var rec image.Record
	if st == nil {
		err = fmt.Errorf("cannot find image %q: %w", word, store.ErrNotFound)
	} else if refs[0].Kind == ref.ID {
		rec, err = st.ByID(refs[0].ID)
	} else {
		// By its name alone: that the file behind it has changed or is gone does
		// not matter to whoever looks at what is stored.
		rec, err = fetch.Stored(st, refs[0].Ref)
	}
	if errors.Is(err, store.ErrNotFound) && hint.Of(err) == "" {
		err = hint.Wrap(err, "`rkt image list` shows the images that are stored")
	}
	return rec, err
}

// heldImages opens the store and finds images in it. Nobody collects them before
// the caller closes the store. proven: their blobs and trees will be read, so they
// are held as well, and what another user stored is refused.
func (c *cli) heldImages(proven bool, words ...string) (*store.Store, []image.Record, error) {
	_, st, err := c.openStore()
	if err != nil {
		return nil, nil, err
	}
	find := storedImage
	if proven {
		find = pinned
	}
	recs := make([]image.Record, len(words))
	for i, w := range words {
		if recs[i], err = find(st, w); err != nil {
			break
		}
		st.Hold(recs[i].ID)
	}
	if err != nil && st != nil {
		_ = st.Close()
	}
	return st, recs, err
}

// pinned finds a stored image and keeps its blobs and trees from being collected
// until the store is closed.
func pinned(st *store.Store, word string) (image.Record, error) {
	rec, err := storedImage(st, word)
	if err != nil {
		return rec, err
	}
	if rec.Claimed {
		return rec, hint.Wrap(fmt.Errorf("cannot use image %s: another user stored it, and nothing has proven it yet", rec.ID.Short()),
			fmt.Sprintf("`rkt fetch %s` does", rec.ID))
	}
	blobs, err := st.BlobsOf(rec)
	if err != nil {
		return rec, err
	}
	for _, b := range blobs {
		st.HasBlob(b)
	}
	for _, l := range rec.Layers {
		st.HasLayer(l.DiffID)
	}
	st.Hold(rec.ID)
	if _, err := st.ByID(string(rec.ID)); err != nil { // removed since
		return rec, err
	}
	st.Used(rec.ID)
	return rec, nil
}
