// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/trust"
)

// proveOCI does what the policy wants of the image whose documents are in
// f.chain, and returns the ground on which it is then believed; TrustNone
// leaves that to the reference. A signature may be of the manifest or of any
// index that led to it: each document is proven by the one before.
//
// The helper with the network brings signatures; another one without it says
// which bytes were signed by which key; what those bytes claim is read here.
func (f *fetching) proveOCI(ctx context.Context, h *helper) (image.Trust, error) {
	rule, err := f.opt.rule("fetch", f.ref)
	if err != nil || f.opt.InsecureImage || rule.Type != config.SignedBy {
		return image.TrustNone, err
	}
	var causes []string
	for _, doc := range f.chain {
		digest := digestOf(doc)
		found, err := f.signatures(ctx, h, digest)
		if err != nil {
			return image.TrustNone, fmt.Errorf("cannot look for signatures: %w", err)
		}
		signer, cause, err := f.signer(ctx, rule, claimed{digest: digest, document: doc, name: rule.SignedAs, tag: f.ref.Tag}, found)
		if err != nil {
			return image.TrustNone, err
		}
		if signer.Key != "" {
			f.signers = append(f.signers, signer)
			f.opt.say("signature verified:")
			f.opt.say("  cosign key %s", signer.Key)
			return image.TrustSignature, nil
		}
		if cause != "" {
			causes = append(causes, cause)
		}
	}
	if len(causes) == 0 {
		causes = []string{"the registry has no signature of it"}
	}
	return image.TrustNone, hint.Wrap(fmt.Errorf("cannot verify image: the policy for %q wants a signature by one of its keys: %s", rule.Prefix, strings.Join(causes, "; ")),
		"the policy is in trust.d of the configuration directories; --insecure-options=image does without")
}

// signatures asks the helper for what the registry has.
func (f *fetching) signatures(ctx context.Context, h *helper, digest image.Digest) (wire.Signatures, error) {
	r, done, err := h.want(ctx, wire.Want{Signatures: true, Blob: wire.Descriptor{Digest: string(digest)}})
	if err != nil {
		return wire.Signatures{}, err
	}
	text, err := io.ReadAll(io.LimitReader(r, wire.MaxManifest+1))
	if err != nil {
		return wire.Signatures{}, err
	}
	var found wire.Signatures
	if len(text) > wire.MaxManifest || json.Unmarshal(text, &found) != nil || len(found.Simple)+len(found.Bundles) > wire.MaxFound {
		return wire.Signatures{}, errNonsense
	}
	done()
	return found, nil
}

// signer gives a key of the rule that vouches for want, with the tag that it
// signed, or why none does; "" if there is nothing to say.
func (f *fetching) signer(ctx context.Context, rule trust.Rule, want claimed, found wire.Signatures) (by image.Signer, cause string, err error) {
	var none image.Signer
	list, unread := claims(found, want)
	if len(list) == 0 {
		return none, unread, nil
	}
	var req wire.VerifyRequest
	for _, k := range rule.Keys {
		req.PublicKeys = append(req.PublicKeys, string(k.PEM))
	}
	for _, c := range list {
		req.Signed = append(req.Signed, wire.Signed{Message: c.message, Signature: c.signature})
	}
	reply, err := checkSignatures(ctx, f.opt, req, nil)
	if err != nil {
		return none, "", err
	}
	for i, reason := range reply.Usable {
		if reason != "" {
			return none, "", fmt.Errorf("cannot use key %s of the policy for %q: %s", rule.Keys[i].ID, rule.Prefix, wire.Printable(reason))
		}
	}
	var causes []string
	for i, by := range reply.By {
		switch {
		case by < 0:
			continue
		case by >= len(rule.Keys):
			return none, "", errNonsense
		}
		tag, err := list[i].check(want)
		if err == nil {
			return image.Signer{Kind: image.Cosign, Key: rule.Keys[by].ID, Name: rule.SignedAs, Tag: tag}, "", nil
		}
		if text := err.Error(); !slices.Contains(causes, text) {
			causes = append(causes, text)
		}
	}
	if len(causes) > 0 {
		return none, "what they signed is something else: " + strings.Join(causes, ", "), nil
	}
	cause = fmt.Sprintf("%s has %d signatures, and none is by them", short(string(want.digest)), len(list))
	if len(list) == 1 {
		cause = fmt.Sprintf("the signature of %s is not by them", short(string(want.digest)))
	}
	if found.More {
		cause += fmt.Sprintf(" (more than %d were not looked at)", wire.MaxFound)
	}
	return none, cause, nil
}

var errNoClaim = errors.New("no claim about an image")
