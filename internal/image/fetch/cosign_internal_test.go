// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

const hexa = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

var wanting = claimed{digest: image.Digest("sha256:" + hexa), document: []byte("{}"), name: "quay.io/coreos/etcd", tag: "v1"}

func TestReferencesInSignatures(t *testing.T) {
	for text, ok := range map[string]bool{
		"quay.io/coreos/etcd":                      true,
		"quay.io/coreos/etcd:v1":                   true,
		"quay.io/coreos/etcd@sha256:" + hexa:       true,
		"QUAY.io/coreos/etcd":                      true, // hosts have no case
		"quay.io/coreos/etcd:v2":                   false,
		"quay.io/coreos/etcd:latest":               false,
		"quay.io/coreos/etc":                       false,
		"quay.io/coreos/etcd/x":                    false,
		"quay.io/coreos/etcdx":                     false,
		"quay.io:443/coreos/etcd":                  false,
		"coreos/etcd":                              false,
		"docker://quay.io/coreos/etcd":             false,
		"":                                         false,
		" quay.io/coreos/etcd":                     false,
		"quay.io/coreos/etcd\x00":                  false,
		"quay.io/coreos/etcd@sha256:" + hexa[1:]:   false,
		"//quay.io/coreos/etcd":                    false,
		"quay.io/coreos/etcd:v1@sha256:" + hexa:    true,
		"quay.io/coreos/etcd:v2@sha256:" + hexa:    false,
		"registry-1.docker.io/quay.io/coreos/etcd": false,
	} {
		tag, err := checkReference(text, wanting)
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if want := strings.Contains(text, ":v1"); ok && (tag == "v1") != want || !ok && tag != "" {
			t.Errorf("%q names tag %q", text, tag)
		}
	}
	untagged := wanting
	untagged.tag = ""
	if tag, err := checkReference("quay.io/coreos/etcd:v9", untagged); err != nil || tag != "v9" {
		t.Errorf("tag %q, %v", tag, err)
	}
}

// The specification's own example (secure-systems-lab/dsse, protocol.md).
func TestPreAuth(t *testing.T) {
	got := string(preAuth("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzClaims: whatever a registry has, what passes names the image in every
// part; the two forms that carry their claim are told apart by what is signed.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"critical":{"identity":{"docker-reference":"quay.io/coreos/etcd"},"image":{"docker-manifest-digest":"sha256:`+hexa+`"},"type":"cosign container image signature"},"optional":null}`), "AAAA")
	f.Add([]byte(`{"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}}`), "")
	f.Add([]byte(`{"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AAAA"},"signature":"AAAA"}}`), "=")
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"`+hexa+`"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`), "!")
	f.Fuzz(func(t *testing.T, text []byte, sig string) {
		list, _ := claims(wire.Signatures{
			Simple:  []wire.SimpleSignature{{Payload: text, Signature: sig}},
			Bundles: [][]byte{text},
		}, wanting)
		for _, c := range list {
			if _, err := c.check(wanting); err != nil {
				continue
			}
			if string(c.message) == string(wanting.document) {
				continue // the manifest's own bytes
			}
			if !strings.Contains(string(c.message), hexa) && !strings.Contains(string(c.message), `\u`) {
				t.Errorf("%q vouches for an image it does not name", c.message)
			}
		}
		for _, check := range []func([]byte, claimed) (string, error){checkPayload, checkStatement} {
			if _, err := check(text, wanting); err == nil {
				other := wanting
				other.digest = image.Digest("sha256:" + strings.Repeat("f", 64))
				if _, err := check(text, other); err == nil && !strings.Contains(string(text), "f") {
					t.Errorf("%q vouches for everything", text)
				}
			}
		}
	})
}
