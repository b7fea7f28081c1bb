// SPDX-License-Identifier: Apache-2.0

// Package fetch brings images into the store. It drives libexec/rkt/fetch,
// which talks to registries and reads what strangers wrote; what comes out of
// that program is believed only once its digest is proven, here, while the
// bytes flow. docs/data-path.md tells the whole way.
package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/linux/flock"
)

// Policy says when a stored image will do.
type Policy string

// The pull policies, by the words of --pull-policy. Archives and .aci files
// are imported again whenever they changed, whatever the policy.
const (
	New    Policy = "new"    // fetch what is not stored
	Update Policy = "update" // always ask where the image comes from
	Never  Policy = "never"  // only what is stored
)

// Options for Image. The zero value of a field is its safe or usual choice.
type Options struct {
	// Helper is the path of libexec/rkt/fetch.
	Helper string
	Policy Policy // "" is New
	// The members of --insecure-options that matter here.
	InsecureImage  bool // images that nothing vouches for are welcome
	InsecureTLS    bool // certificates are not checked
	InsecureHTTP   bool // plain http will do where https fails
	InsecurePubkey bool // plain http and any certificate will do for keys
	// Dirs have the keystore and the policy.
	Dirs config.Dirs
	// DiscoveryPort is asked for discovery's pages instead of those of https and
	// http; 0 is theirs.
	DiscoveryPort uint16
	// TrustHTTPS: keys that discovery finds are trusted without a review if they
	// come over https.
	TrustHTTPS bool
	// Review asks the user about keys that discovery finds; nil refuses them.
	Review Review
	// Signature is the file with an ACI's detached signature; "" looks for it
	// where the image comes from.
	Signature string
	// AnyPlatform: an image for another kind of machine is welcome, to be kept
	// or looked at. Of an index, this machine's is chosen all the same.
	AnyPlatform bool
	// Platform, unless zero, is the kind of machine that the OCI or Docker image is
	// for. Names mean images for this machine, so one for another is stored by its
	// digest alone, and asked for by its name where it comes from. It goes with
	// AnyPlatform.
	Platform ociconfig.Platform
	// Config is called only if a registry or a web server will be asked, once
	// for each; nil is an empty configuration.
	Config func() (*config.Config, error)
	// Progress is one of wire's Progress words.
	Progress string
	// Stderr is where progress and warnings go; nil is nowhere.
	Stderr *os.File
	// Name is what the user called: what messages begin with; "" is rkt.
	Name string
	// UserAgent is sent to registries.
	UserAgent string
	// StallMillis and RetryMillis are wire.Request's; 0 is the usual.
	StallMillis, RetryMillis int
	// Unpackers is how many layers are unpacked at once; 0 is one for each CPU.
	Unpackers int
}

// platform is which image of an index is meant.
func (o Options) platform() ociconfig.Platform {
	if o.foreign() {
		return o.Platform
	}
	return ociconfig.Host()
}

// foreign tells whether the image is for another kind of machine than this.
func (o Options) foreign() bool {
	return o.Platform != ociconfig.Platform{} && o.Platform != ociconfig.Host()
}

// means tells whether a stored image that goes by r is the one that is asked for.
func (o Options) means(r ref.Ref, rec image.Record) bool {
	return !o.foreign() || r.Kind == ref.ID || rec.ID == pinned(r).ID()
}

func (o Options) unpackers() int {
	if o.Unpackers > 0 {
		return o.Unpackers
	}
	return max(runtime.NumCPU(), 2)
}

func (o Options) say(format string, args ...any) {
	if o.Stderr != nil {
		fmt.Fprintf(o.Stderr, cmp.Or(o.Name, "rkt")+": "+format+"\n", args...)
	}
}

// Image gives the image that r names, from the store or, as the policy allows,
// from where r points. On error the store is as it was. An image that nothing
// vouches for is refused unless opt.InsecureImage, before anything is
// downloaded.
//
// The caller must not hold a lease of st: storing an image waits for all.
// Errors: store.ErrNotFound if the policy forbids to fetch.
func Image(ctx context.Context, st *store.Store, opt Options, r ref.Ref) (rec image.Record, err error) {
	switch opt.Policy {
	case "", New, Update, Never:
	default:
		return image.Record{}, fmt.Errorf("cannot use pull policy %q: want new, update or never", opt.Policy)
	}
	if opt.Signature != "" {
		if err := CheckSignable(r); err != nil {
			return image.Record{}, err
		}
	}
	cwd, err := os.Getwd()
	if err != nil && r.Path != "" && !filepath.IsAbs(r.Path) {
		return image.Record{}, fmt.Errorf("cannot find the working directory: %w", err)
	}
	r = r.Abs(cwd)
	found, err := find(st, r)
	if err == nil && !opt.means(r, found) {
		err = fmt.Errorf("cannot find image %q for %s: %w", r.String(), opt.Platform, store.ErrNotFound)
	}
	if err == nil {
		err = hold(st, r, found)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return image.Record{}, err
	}
	if err == nil && (opt.Policy != Update || settled(r)) {
		_, aerr := Admit(opt, found, r)
		if aerr == nil {
			rec, err := stored(ctx, st, opt, r, found)
			if err != nil {
				return image.Record{}, err
			}
			return Admit(opt, rec, r)
		}
		if !errors.Is(aerr, ErrUnproven) || opt.Policy == Never {
			return image.Record{}, aerr
		}
		// Whoever knows that the image is stored must hear why that does not help.
		defer func() {
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("%w; it is stored, but %w", err, ErrUnproven)
			}
		}()
	}
	if r.Kind == ref.ID || opt.Policy == Never {
		return image.Record{}, notStored(r)
	}
	if err := acceptable(opt, r); err != nil {
		return image.Record{}, err
	}
	rec, err = locked(ctx, st, opt, r)
	if other := (*elsewhereError)(nil); errors.As(err, &other) {
		rec, err := Image(ctx, st, opt, other.at)
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w; as an ACI: %s", err, other.why.Error())
		}
		return rec, err
	}
	if err != nil {
		return image.Record{}, wrap(r, err)
	}
	return Admit(opt, rec, r)
}

// CheckSignable refuses references of which no signature in a file can be.
func CheckSignable(r ref.Ref) error {
	if signable(r) {
		return nil
	}
	return fmt.Errorf("cannot fetch %q: a signature in a file is for ACIs", r.String())
}

// stored makes a stored image that may be used fit for use.
func stored(ctx context.Context, st *store.Store, opt Options, r ref.Ref, rec image.Record) (image.Record, error) {
	if !opt.AnyPlatform {
		if err := aci.CheckPlatform(rec.Labels); err != nil {
			return image.Record{}, err
		}
	}
	if rec.Claimed {
		var err error
		if rec, err = adopt(ctx, st, opt, r, rec); err != nil {
			return image.Record{}, fmt.Errorf("cannot use image %s, which another user stored: %w", rec.ID.Short(), err)
		}
	}
	if !whole(st, rec) {
		if err := repair(ctx, st, opt, rec); err != nil {
			return image.Record{}, fmt.Errorf("cannot unpack image %s again: %w", rec.ID.Short(), err)
		}
	}
	if opt.Policy == Update && r.Kind != ref.ID && !slices.Contains(rec.Names, r.Canonical()) {
		// The image has got a new name by this, and maybe more trust.
		rec.Names = []string{r.Canonical()}
		if err := st.Commit(rec); err != nil {
			return image.Record{}, err
		}
		return Find(st, r)
	}
	return rec, nil
}

// settled tells that asking again can bring nothing new: r says what the bytes
// are, or Find has looked at the file.
func settled(r ref.Ref) bool {
	switch r.Kind {
	case ref.Docker:
		return r.Digest != ""
	case ref.ACIURL, ref.Name:
		return false
	}
	return true
}

// wrap says what could not be done, once.
func wrap(r ref.Ref, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("cannot fetch %q: interrupted: %w", r.String(), context.Canceled)
	}
	return fmt.Errorf("cannot fetch %q: %w", r.String(), err)
}

func notStored(r ref.Ref) error {
	if r.Kind == ref.ID {
		return hint.Wrap(fmt.Errorf("cannot find image %q: %w", r.String(), store.ErrNotFound), "see rkt image list")
	}
	return hint.Wrap(fmt.Errorf("cannot find image %q: %w, and the pull policy is never", r.String(), store.ErrNotFound),
		"fetch it first, or use --pull-policy=new")
}

// locked fetches under the lock of r, or takes over what another process
// fetched while this one waited.
func locked(ctx context.Context, st *store.Store, opt Options, r ref.Ref) (image.Record, error) {
	key := r.Canonical()
	l, err := st.TryFetchLock(key)
	if errors.Is(err, flock.ErrBusy) {
		opt.say("another rkt is fetching %q; waiting for it", r.String())
		l, err = waitLock(ctx, st, key)
		if err == nil && opt.Policy != Update {
			if rec, ferr := Find(st, r); ferr == nil && opt.means(r, rec) && hold(st, r, rec) == nil {
				if _, aerr := Admit(opt, rec, r); !errors.Is(aerr, ErrUnproven) {
					_ = l.Close()
					return rec, nil
				}
			}
		}
	}
	if err != nil {
		return image.Record{}, err
	}
	defer l.Close()
	f := &fetching{st: st, opt: opt, ref: r}
	switch r.Kind {
	case ref.ACIFile, ref.ACIURL, ref.Name:
		return f.aci(ctx)
	}
	return f.oci(ctx)
}

// hold keeps an image that was found from being collected before it is used; one
// that just was counts as not found.
func hold(st *store.Store, r ref.Ref, rec image.Record) error {
	if !st.Hold(rec.ID) {
		return fmt.Errorf("cannot find image %q: %w", r.String(), store.ErrNotFound)
	}
	return nil
}

// waitLock waits for a lock, or for ctx.
func waitLock(ctx context.Context, st *store.Store, key string) (io.Closer, error) {
	type result struct {
		l   io.Closer
		err error
	}
	got := make(chan result, 1)
	go func() {
		l, _, err := st.FetchLock(key)
		got <- result{l, err}
	}()
	select {
	case r := <-got:
		return r.l, r.err
	case <-ctx.Done():
		// The process is about to end; should it not, the lock must not stay.
		go func() {
			if r := <-got; r.err == nil {
				_ = r.l.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}
