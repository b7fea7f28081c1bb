// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ref"
)

// The words of cosign's formats.
const (
	simpleType    = "cosign container image signature"
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
	inTotoPayload = "application/vnd.in-toto+json"
)

// claimed is what a signature has to be about.
type claimed struct {
	digest   image.Digest
	document []byte // whose digest that is
	name     string // host/repository
	tag      string // asked for, or ""
}

// claim is a signed message and what it says about an image, which counts only
// once the signature has been found good.
type claim struct {
	message, signature []byte
	// check compares that with what is wanted and gives the tag that it names.
	check func(want claimed) (tag string, err error)
}

// claims reads the signatures that a registry has, whoever made them. unread
// says why one was left out, for the case that nothing is left.
func claims(found wire.Signatures, want claimed) (list []claim, unread string) {
	for _, s := range found.Simple {
		sig, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.Signature))
		if err != nil {
			unread = "a signature is not base64"
			continue
		}
		list = append(list, claim{s.Payload, sig, func(want claimed) (string, error) { return checkPayload(s.Payload, want) }})
	}
	for _, text := range found.Bundles {
		c, err := readBundle(text, want)
		if err != nil {
			unread = "a bundle cannot be used: " + err.Error()
			continue
		}
		list = append(list, c...)
	}
	return list, unread
}

// checkPayload compares a payload of cosign's simple signing with what is
// wanted.
func checkPayload(text []byte, want claimed) (tag string, err error) {
	var p struct {
		Critical struct {
			Type     string `json:"type"`
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return "", errNoClaim
	}
	switch c := p.Critical; {
	case c.Type != simpleType && c.Type != signPredicate:
		return "", fmt.Errorf("a statement of type %.80q", c.Type)
	case c.Image.Digest != string(want.digest):
		return "", fmt.Errorf("an image with another digest, %.90q", c.Image.Digest)
	default:
		return checkReference(c.Identity.Reference, want)
	}
}

// checkReference compares the name in a signature: the repository, and the tag
// if both have one. It gives the tag in the signature, or "".
func checkReference(text string, want claimed) (tag string, err error) {
	r, err := ref.Parse("docker://" + text)
	if err != nil || r.Kind != ref.Docker {
		return "", fmt.Errorf("an image of a name that is none, %.120q", text)
	}
	if repository(r) != want.name {
		return "", fmt.Errorf("image %.200q, not %q", text, want.name)
	}
	name, _, _ := strings.Cut(text, "@")
	if strings.LastIndexByte(name, ':') < strings.LastIndexByte(name, '/') {
		return "", nil
	}
	if !sameTag(r.Tag, want.tag) {
		return "", fmt.Errorf("tag %q of it, not %q", r.Tag, want.tag)
	}
	return r.Tag, nil
}

// sameTag compares the tag that was signed with the one that is asked for, if
// there are both.
func sameTag(signed, asked string) bool {
	return signed == "" || asked == "" || signed == asked
}

// bundle is what we read of a sigstore bundle (media type
// application/vnd.dev.sigstore.bundle…, versions 0.1 to 0.3). Certificates, logs
// and timestamps in it are for signatures without a key of one's own.
type bundle struct {
	Envelope *struct {
		Payload     []byte `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	} `json:"dsseEnvelope"`
	Message *struct {
		Digest struct {
			Algorithm string `json:"algorithm"`
			Digest    []byte `json:"digest"`
		} `json:"messageDigest"`
		Signature []byte `json:"signature"`
	} `json:"messageSignature"`
}

// maxEnvelope is how many signatures of one envelope are looked at.
const maxEnvelope = 16

// readBundle gives the claims of a bundle: an in-toto statement in a DSSE
// envelope, or a signature of the manifest itself.
func readBundle(text []byte, want claimed) ([]claim, error) {
	var b bundle
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("it is no JSON of a bundle's form")
	}
	switch {
	case b.Envelope != nil && b.Message != nil:
		return nil, fmt.Errorf("it has two contents")
	case b.Message != nil:
		return []claim{{want.document, b.Message.Signature, func(claimed) (string, error) { return "", nil }}}, nil
	case b.Envelope == nil:
		return nil, fmt.Errorf("it has no content")
	}
	e := b.Envelope
	if e.PayloadType != inTotoPayload {
		return nil, fmt.Errorf("its payload is of type %.80q", e.PayloadType)
	}
	if len(e.Signatures) == 0 || len(e.Signatures) > maxEnvelope {
		return nil, fmt.Errorf("it has %d signatures", len(e.Signatures))
	}
	var list []claim
	for _, s := range e.Signatures {
		list = append(list, claim{preAuth(e.PayloadType, e.Payload), s.Sig, func(want claimed) (string, error) {
			return checkStatement(e.Payload, want)
		}})
	}
	return list, nil
}

// preAuth is what a DSSE signature is of (secure-systems-lab/dsse, protocol.md,
// "PAE"): type and body with their lengths, so that no two pairs give the same.
func preAuth(payloadType string, body []byte) []byte {
	b := []byte("DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(body)) + " ")
	return append(b, body...)
}

// checkStatement compares an in-toto statement with what is wanted. Only the
// predicate by which an image is signed counts: a key also signs SBOMs, test
// results and findings about images that nobody should run.
func checkStatement(text []byte, want claimed) (tag string, err error) {
	var s struct {
		Type      string `json:"_type"`
		Predicate string `json:"predicateType"`
		Subject   []struct {
			Name   string            `json:"name"`
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return "", errNoClaim
	}
	switch {
	case s.Type != "https://in-toto.io/Statement/v1" && s.Type != "https://in-toto.io/Statement/v0.1":
		return "", fmt.Errorf("a statement of type %.80q", s.Type)
	case s.Predicate != signPredicate:
		return "", fmt.Errorf("a statement about an image, %.80q, that is no signature of it", s.Predicate)
	}
	err = errNoClaim
	for _, sub := range s.Subject {
		if sub.Digest[want.digest.Algorithm()] != want.digest.Hex() {
			err = fmt.Errorf("an image with another digest")
			continue
		}
		if sub.Name == "" { // as cosign leaves it
			return "", nil
		}
		if tag, err = checkReference(sub.Name, want); err == nil {
			return tag, nil
		}
	}
	return "", err
}
