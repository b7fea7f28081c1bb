// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ref"
)

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

// ground is why an image fetched as r is believed.
func ground(r ref.Ref) image.Trust {
	if pinned(r) != "" {
		return image.TrustDigest
	}
	return image.TrustNone
}

// acceptable refuses r before anything is downloaded if nothing could vouch
// for what comes. An ACI is judged by proveACI, once it is there.
func acceptable(opt Options, r ref.Ref) error {
	if opt.InsecureImage || ground(r) != image.TrustNone {
		return nil
	}
	switch r.Kind {
	case ref.ACIFile, ref.ACIURL, ref.Name:
		return nil
	}
	return refused("fetch", r)
}

// trusted refuses a stored image that nothing vouches for.
func trusted(rec image.Record, opt Options, r ref.Ref) error {
	if opt.InsecureImage || rec.Trust != image.TrustNone {
		return nil
	}
	return refused("use", r)
}

func refused(verb string, r ref.Ref) error {
	remedy := "give --insecure-options=image"
	switch r.Kind {
	case ref.Docker:
		remedy += fmt.Sprintf(", or pin it by digest: %s@sha256:…", strings.TrimSuffix(r.String(), ":"+r.Tag))
	case ref.OCILayout, ref.OCIArchive, ref.ID:
		remedy += ", or name it by its full digest"
	}
	return hint.Wrap(fmt.Errorf("cannot %s %q: nothing vouches for this image", verb, r.String()), remedy)
}
