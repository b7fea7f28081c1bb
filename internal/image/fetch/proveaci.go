// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/trust"
)

// proveACI decides whether an ACI that has arrived may be stored, and on what
// ground it is trusted. name is the one in its manifest, blob the file as it
// came, compressed or not; sig is its signature, nil if there is none. Nothing
// of the image is committed yet.
//
// The keys that count are those of the keystore for name. Only they are shown
// to the helper that checks; who signed is taken from its answer.
func (f *fetching) proveACI(ctx context.Context, name string, blob *os.File, sig []byte) (image.Trust, error) {
	f.signers = nil
	if f.opt.InsecureImage {
		return image.TrustNone, nil
	}
	if sig == nil {
		remedy := "put its signature beside it as " + f.ref.String() + ".asc, or name that with --signature=FILE; --insecure-options=image does without"
		if f.ref.Kind != ref.ACIFile {
			remedy = "name its signature with --signature=FILE; --insecure-options=image does without"
		}
		return image.TrustNone, hint.Wrap(fmt.Errorf("image %q has no signature", name), remedy)
	}
	keystore := trust.Keys(f.opt.Dirs)
	keys, err := keystore.For(name)
	if err == nil && f.ref.Kind == ref.Name && !slices.ContainsFunc(keys, func(k trust.Key) bool { return k.Prefix != "" }) {
		if err = f.discoverKeys(ctx, name); err == nil {
			keys, err = keystore.For(name)
		}
	}
	if err != nil {
		return image.TrustNone, err
	}
	if len(keys) == 0 {
		return image.TrustNone, hint.Wrap(fmt.Errorf("no key is trusted to sign image %q", name),
			"trust one with `rkt trust --prefix="+name+"`, or give --insecure-options=image")
	}
	req := wire.VerifyRequest{Detached: sig}
	for _, k := range keys {
		req.Keys = append(req.Keys, wire.OpenPGPKey{Data: k.Data, Fingerprint: k.Fingerprint})
	}
	reply, err := checkSignatures(ctx, f.opt, req, blob)
	if err != nil {
		if ctx.Err() == nil {
			err = hint.Wrap(err, "get the image's signature anew; --insecure-options=image does without")
		}
		return image.TrustNone, err
	}
	for i, k := range reply.Keys {
		if k.State == wire.KeyDamaged {
			return image.TrustNone, fmt.Errorf("cannot read key %q: %s", keys[i].Path, wire.Printable(k.Reason))
		}
	}
	for _, good := range reply.Good {
		// A helper that names a key it was not shown must not be followed.
		if !slices.ContainsFunc(keys, func(k trust.Key) bool { return k.Fingerprint == good.Fingerprint }) {
			return image.TrustNone, errNonsense
		}
		f.signers = append(f.signers, image.Signer{Kind: image.OpenPGP, Key: good.Fingerprint, Name: name})
	}
	if len(reply.Good) == 0 {
		return image.TrustNone, notSigned(keystore, name, reply.Bad)
	}
	f.opt.say("signature verified:")
	for _, good := range reply.Good {
		for _, id := range good.Identities {
			f.opt.say("  %s", wire.Printable(id))
		}
	}
	return image.TrustSignature, nil
}

// notSigned explains why none of the signatures counts.
func notSigned(keystore trust.Keystore, name string, bad []wire.BadSignature) error {
	var causes []string
	remedy := "trust its key if it should be, with `rkt trust --prefix=" + name + "`, or give --insecure-options=image"
	for _, b := range bad {
		who := "somebody"
		if b.Issuer != "" {
			who = "key " + wire.Printable(b.Issuer)
		}
		switch {
		case !b.Unknown:
			causes = append(causes, fmt.Sprintf("the signature by %s does not count: %s", who, wire.Printable(b.Reason)))
			remedy = "get the image anew, with a signature by a good key; --insecure-options=image does without"
		default:
			causes = append(causes, fmt.Sprintf("it is signed by %s, which is not trusted for it%s", who, elsewhere(keystore, b.Issuer)))
		}
	}
	if len(causes) == 0 {
		causes = []string{"there is no signature that counts"}
	}
	return hint.Wrap(fmt.Errorf("cannot verify image %q: %s", name, strings.Join(causes, "; ")), remedy)
}

// elsewhere names the prefixes for which a key is trusted, as a help.
func elsewhere(keystore trust.Keystore, issuer string) string {
	all, err := keystore.All()
	if err != nil || issuer == "" {
		return ""
	}
	var prefixes []string
	for _, k := range all {
		if strings.HasSuffix(k.Fingerprint, issuer) && !k.Masks && !k.Masked && k.Prefix != "" {
			prefixes = append(prefixes, fmt.Sprintf("%q", k.Prefix))
		}
	}
	if len(prefixes) == 0 {
		return ""
	}
	return ", but for " + strings.Join(prefixes, ", ")
}

// errDeclined: the user looked at a key and said no.
var errDeclined = errors.New("the key was not accepted")

// Review shows a key to the user and tells whether it is to be trusted for
// prefix ("": for every image). location is where it comes from.
type Review func(ctx context.Context, prefix, location string, key OpenPGPInfo) (bool, error)

// discoverKeys looks for keys for name by discovery and trusts those that the
// user accepts, for name itself.
func (f *fetching) discoverKeys(ctx context.Context, name string) error {
	locations, err := DiscoverKeys(ctx, f.opt, name)
	if err != nil {
		return hint.Wrap(fmt.Errorf("no key is trusted to sign image %q, and none was found: %w", name, err),
			"trust one with `rkt trust --prefix="+name+" PUBKEY`, or give --insecure-options=image")
	}
	added, err := AddKeys(ctx, f.opt, name, locations)
	for _, path := range added {
		f.opt.say("Added key for prefix %q at %q", name, path)
	}
	return err
}

// AddKeys trusts the OpenPGP keys at locations (paths or URLs) for prefix, "" for
// every image, after opt.Review of each, and gives the files they are kept in.
// Keys that come over https are accepted without a review if opt.TrustHTTPS, and
// no option keeps https from meaning something. The
// first key that cannot be had or is declined ends it; those before stay.
func AddKeys(ctx context.Context, opt Options, prefix string, locations []string) (added []string, err error) {
	for _, at := range locations {
		path, err := addKey(ctx, opt, prefix, at)
		if err != nil {
			return added, fmt.Errorf("cannot trust key %q: %w", at, err)
		}
		added = append(added, path)
	}
	return added, nil
}

func addKey(ctx context.Context, opt Options, prefix, at string) (path string, err error) {
	data, err := ReadKey(ctx, opt, at)
	if err != nil {
		return "", err
	}
	infos, err := DescribeKeys(ctx, opt, [][]byte{data})
	if err != nil {
		return "", err
	}
	key := infos[0]
	if key.State != wire.KeyValid {
		return "", hint.Wrap(errors.New(key.Reason), "a file with one key that holds is what `gpg --armor --export ID` writes")
	}
	if !trust.IsFingerprint(key.Fingerprint) {
		return "", errNonsense
	}
	// Where certificates are not looked at, and plain http is as good, that a key
	// came over https, and from where, means nothing.
	sure := !opt.InsecureTLS && !opt.InsecurePubkey
	if opt.TrustHTTPS && sure && strings.HasPrefix(at, "https://") {
		opt.say("key %s of %q came over https and is accepted (--trust-keys-from-https)", key.Fingerprint, at)
	} else {
		if opt.Review == nil {
			return "", hint.Wrap(errors.New("nobody can be asked about it"), "trust it beforehand with `rkt trust`")
		}
		ok, err := opt.Review(ctx, prefix, at, key)
		if err != nil {
			return "", err
		}
		if !ok {
			return "", errDeclined
		}
	}
	return trust.Keys(opt.Dirs).Add(prefix, key.Fingerprint, data)
}
