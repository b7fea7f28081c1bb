// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/trust"
)

// Why an image is believed, in the order in which it is asked:
//
//   - a policy's rule for its repository decides about an image of a registry,
//     whatever else speaks for it;
//   - a reference by full digest vouches for itself;
//   - otherwise it takes a signature.
//
// The keys that signed are kept in the record; whether they are still trusted
// is looked up each time the image is used, and so is the policy.

// ErrUnproven is in the error of an image that is stored but not signed by
// anybody who counts now; fetching it again may bring the proof.
var ErrUnproven = errors.New("no key that is trusted has signed it")

// pinned is the digest that r itself asks for, or "": what it names is what
// the user meant, wherever it comes from.
func pinned(r ref.Ref) image.Digest {
	text := r.Digest
	switch r.Kind {
	case ref.ID:
		text = string(image.ID(r.ID).Digest())
	case ref.OCILayout, ref.OCIArchive:
		text = r.Inner
	}
	d, err := image.ParseDigest(text)
	if err != nil {
		return ""
	}
	return d
}

// ground is why an image fetched as r is believed, if nothing else speaks for
// it.
func ground(r ref.Ref) image.Trust {
	if pinned(r) != "" {
		return image.TrustDigest
	}
	return image.TrustNone
}

// signable tells the references whose images carry OpenPGP signatures.
func signable(r ref.Ref) bool {
	return r.Kind == ref.ACIFile || r.Kind == ref.ACIURL || r.Kind == ref.Name
}

// repository is what policies and signatures call r.
func repository(r ref.Ref) string { return r.Registry + "/" + r.Repository }

// rule is the policy's for r. One that rejects r is an error, which no option
// overrides.
func (o Options) rule(verb string, r ref.Ref) (trust.Rule, error) {
	if r.Kind != ref.Docker {
		return trust.Rule{}, nil
	}
	rule, err := trust.RuleFor(o.Dirs, repository(r))
	if err != nil {
		return trust.Rule{}, fmt.Errorf("cannot %s %q: %w", verb, r.String(), err)
	}
	if rule.Type == config.Reject {
		return trust.Rule{}, hint.Wrap(fmt.Errorf("cannot %s %q: the policy rejects images of %q", verb, r.String(), rule.Prefix),
			"the policy is in trust.d of the configuration directories; `rkt config` prints it")
	}
	return rule, nil
}

// acceptable refuses r before anything is downloaded if nothing could vouch
// for what comes. An ACI is judged by proveACI, once it is there.
func acceptable(opt Options, r ref.Ref) error {
	rule, err := opt.rule("fetch", r)
	switch {
	case err != nil:
		return err
	case opt.InsecureImage, rule.Type != "", ground(r) != image.TrustNone, signable(r):
		return nil
	}
	switch r.Kind {
	case ref.ACIFile, ref.ACIURL, ref.Name:
		return nil
	}
	return refused("fetch", r)
}

// Admit decides whether a stored image may be used as what r names, and gives
// its record with the ground that holds now. An image whose signers are no
// longer trusted is refused as one that was never signed. The error is
// ErrUnproven if fetching it again may help.
func Admit(opt Options, rec image.Record, r ref.Ref) (image.Record, error) {
	if d, ok := r.InRegistry(); ok && rec.Format == image.OCI {
		r = d // a bare name that its host's registry had
	}
	rule, err := opt.rule("use", r)
	if err != nil || opt.InsecureImage {
		return rec, err
	}
	if rec.Trust == image.TrustNone {
		rec.Trust = ground(r)
	}
	if r.Kind == ref.ID && pinned(r) != "" {
		return rec, nil
	}
	switch rule.Type {
	case config.SignedBy:
		if rec.Trust == image.TrustSignature && slices.ContainsFunc(rec.SignedBy, func(s image.Signer) bool {
			// The tag, too: the same bytes may have been fetched by another one since,
			// without a signature.
			return s.Kind == image.Cosign && s.Name == rule.SignedAs && rule.Key(s.Key) && sameTag(s.Tag, r.Tag)
		}) {
			return rec, nil
		}
		return rec, unproven(r)
	case config.AcceptAnything:
		if rec.Trust == image.TrustNone {
			rec.Trust = image.TrustPolicy
		}
		return rec, nil
	}
	switch {
	case ground(r) != image.TrustNone, rec.Trust == image.TrustDigest:
		return rec, nil
	case rec.Trust == image.TrustSignature && r.Kind != ref.Docker:
		// Of a registry's image it takes a rule for its name: a signature of the
		// same bytes by another name says nothing of this one.
		alive, err := opt.signed(rec)
		if err != nil {
			return rec, fmt.Errorf("cannot use %q: %w", r.String(), err)
		}
		if alive {
			return rec, nil
		}
		if !signable(r) {
			return rec, hint.Wrap(fmt.Errorf("cannot use %q: the keys that signed it are no longer trusted", r.String()),
				"trust a key again with `rkt trust`, or give --insecure-options=image")
		}
	}
	if signable(r) {
		return rec, unproven(r)
	}
	return rec, refused("use", r)
}

// vouched tells whether something still speaks for an ACI that is stored, beside
// what it is called.
func (o Options) vouched(rec image.Record) (bool, error) {
	switch {
	case o.InsecureImage, rec.Trust == image.TrustDigest:
		return true, nil
	case rec.Trust == image.TrustSignature:
		return o.signed(rec)
	}
	return false, nil
}

// signed tells whether a key that signed rec is still trusted for the name it
// signed, and one for each image that rec depends on: those run with it.
func (o Options) signed(rec image.Record) (bool, error) {
	ok, err := o.alive(rec.SignedBy)
	for _, n := range rec.Needs {
		if ok && err == nil {
			ok, err = o.alive(n.SignedBy)
		}
	}
	return ok, err
}

// alive tells whether one of the signers is still trusted.
func (o Options) alive(signers []image.Signer) (bool, error) {
	for _, s := range signers {
		switch s.Kind {
		case image.OpenPGP:
			if ok, err := trust.Keys(o.Dirs).Has(s.Name, s.Key); ok || err != nil {
				return ok, err
			}
		case image.Cosign:
			rule, err := trust.RuleFor(o.Dirs, s.Name)
			if err != nil || rule.Type == config.SignedBy && rule.Key(s.Key) {
				return err == nil, err
			}
		}
	}
	return false, nil
}

func unproven(r ref.Ref) error {
	return hint.Wrap(fmt.Errorf("cannot use %q: %w", r.String(), ErrUnproven),
		"fetch it again to look for a signature, or give --insecure-options=image")
}

func refused(verb string, r ref.Ref) error {
	remedy := "give --insecure-options=image"
	switch r.Kind {
	case ref.Docker:
		remedy += fmt.Sprintf(", pin it by digest: %s@sha256:…, or trust a key for it: rkt trust --prefix=docker://%s KEY.pub",
			strings.TrimSuffix(r.String(), ":"+r.Tag), repository(r))
	case ref.OCILayout, ref.OCIArchive, ref.ID:
		remedy += ", or name it by its full digest"
	}
	return hint.Wrap(fmt.Errorf("cannot %s %q: nothing vouches for this image", verb, r.String()), remedy)
}
