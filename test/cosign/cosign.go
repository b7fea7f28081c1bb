// SPDX-License-Identifier: Apache-2.0

// Package cosign signs images in registries in the public formats of cosign, by
// standard cryptography: the payload of simple signing at the tag
// sha256-HEX.sig, and sigstore bundles among an image's referrers. There is no
// cosign where the tests run.
package cosign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"
)

// The media types and annotations of the formats.
const (
	SimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	Bundle        = "application/vnd.dev.sigstore.bundle.v0.3+json"
	SignPredicate = "https://sigstore.dev/cosign/sign/v1"
	manifestType  = "application/vnd.oci.image.manifest.v1+json"
	indexType     = "application/vnd.oci.image.index.v1+json"
	emptyType     = "application/vnd.oci.empty.v1+json"
)

// A Key signs.
type Key struct {
	signer crypto.Signer
	hash   crypto.Hash
}

// NewKey makes a key: "P-256", "P-384", "Ed25519" or "RSA".
func NewKey(kind string) (Key, error) {
	var s crypto.Signer
	var err error
	hash := crypto.SHA256
	switch kind {
	case "P-256":
		s, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		hash = crypto.SHA384
		s, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "Ed25519":
		hash = 0
		_, s, err = ed25519.GenerateKey(rand.Reader)
	case "RSA":
		s, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("no kind of key %q", kind)
	}
	return Key{s, hash}, err
}

// Public is what cosign writes into cosign.pub.
func (k Key) Public() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), err
}

// Sealed is what cosign writes into cosign.key: the private key, by a password.
func (k Key) Sealed(password string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, err
	}
	salt, nonce := make([]byte, 32), [24]byte{}
	_, _ = rand.Read(salt)
	_, _ = rand.Read(nonce[:])
	const n, r, p = 1 << 15, 8, 1
	derived, err := scrypt.Key([]byte(password), salt, n, r, p, 32)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{
		"kdf":        map[string]any{"name": "scrypt", "params": map[string]int{"N": n, "r": r, "p": p}, "salt": salt},
		"cipher":     map[string]any{"name": "nacl/secretbox", "nonce": nonce[:]},
		"ciphertext": secretbox.Seal(nil, der, &nonce, (*[32]byte)(derived)),
	})
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: text}), err
}

// Sign signs m.
func (k Key) Sign(m []byte) ([]byte, error) {
	switch k.hash {
	case crypto.SHA256:
		sum := sha256.Sum256(m)
		m = sum[:]
	case crypto.SHA384:
		sum := sha512.Sum384(m)
		m = sum[:]
	}
	return k.signer.Sign(rand.Reader, m, k.hash)
}

// Payload is that of simple signing.
func Payload(reference, digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, reference, digest)
}

// Statement is the in-toto statement of a signature; name may be "".
func Statement(predicate, name, digest string) []byte {
	subject := fmt.Sprintf(`{"digest":{"sha256":%q}}`, strings.TrimPrefix(digest, "sha256:"))
	if name != "" {
		subject = fmt.Sprintf(`{"name":%q,%s`, name, subject[1:])
	}
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":%q,"predicate":{}}`, subject, predicate)
}

// Envelope is a bundle with a statement in a DSSE envelope.
func Envelope(k Key, statement []byte) ([]byte, error) {
	const payloadType = "application/vnd.in-toto+json"
	sig, err := k.Sign(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement))
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		Bundle, base64.StdEncoding.EncodeToString(statement), payloadType, base64.StdEncoding.EncodeToString(sig)), nil
}

// Message is a bundle with a bare signature of the artifact.
func Message(k Key, artifact []byte) ([]byte, error) {
	sig, err := k.Sign(artifact)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(artifact)
	return fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"x"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":%q},"signature":%q}}`,
		Bundle, base64.StdEncoding.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(sig)), nil
}

// Repository is one in a registry that speaks plain http.
type Repository struct {
	Host, Name string
	// Header, if set, is added to every request, for credentials.
	Header http.Header
}

// A Descriptor points to a blob or a manifest.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int               `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *Descriptor       `json:"config,omitempty"`
	Layers        []Descriptor      `json:"layers,omitempty"`
	Manifests     []Descriptor      `json:"manifests,omitempty"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

func describe(mediaType string, b []byte) Descriptor {
	sum := sha256.Sum256(b)
	return Descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(b)}
}

func (r Repository) do(method, path, contentType string, body []byte) (*http.Response, []byte, error) {
	if !strings.HasPrefix(path, "http") {
		path = "http://" + r.Host + path
	}
	req, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return resp, text, err
}

// Blob pushes a blob.
func (r Repository) Blob(mediaType string, b []byte) (Descriptor, error) {
	d := describe(mediaType, b)
	resp, _, err := r.do("POST", "/v2/"+r.Name+"/blobs/uploads/", "", nil)
	if err != nil {
		return d, err
	}
	to := resp.Header.Get("Location")
	sep := "?"
	if strings.Contains(to, "?") {
		sep = "&"
	}
	_, _, err = r.do("PUT", to+sep+"digest="+d.Digest, "application/octet-stream", b)
	return d, err
}

func (r Repository) put(reference string, m manifest) (Descriptor, error) {
	m.SchemaVersion = 2
	text, err := json.Marshal(m)
	if err != nil {
		return Descriptor{}, err
	}
	d := describe(m.MediaType, text)
	if reference == "" {
		reference = d.Digest
	}
	_, _, err = r.do("PUT", "/v2/"+r.Name+"/manifests/"+reference, m.MediaType, text)
	return d, err
}

// Manifest gets a manifest and its digest.
func (r Repository) Manifest(reference string) (digest string, text []byte, err error) {
	_, text, err = r.do("GET", "/v2/"+r.Name+"/manifests/"+reference, "", nil)
	return describe("", text).Digest, text, err
}

// Attach puts signatures of payloads at the tag of digest, in place of what is
// there.
func (r Repository) Attach(k Key, digest string, payloads ...[]byte) error {
	config, err := r.Blob("application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`))
	if err != nil {
		return err
	}
	m := manifest{MediaType: manifestType, Config: &config}
	for _, p := range payloads {
		l, err := r.Blob(SimpleSigning, p)
		if err != nil {
			return err
		}
		sig, err := k.Sign(p)
		if err != nil {
			return err
		}
		l.Annotations = map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig)}
		m.Layers = append(m.Layers, l)
	}
	_, err = r.put(strings.Replace(digest, ":", "-", 1)+".sig", m)
	return err
}

// Refer pushes bundles as referrers of the manifest with that digest, and
// returns their descriptors as lists of referrers have them.
func (r Repository) Refer(digest string, bundles ...[]byte) ([]Descriptor, error) {
	_, text, err := r.Manifest(digest)
	if err != nil {
		return nil, err
	}
	subject := describe(manifestType, text)
	config, err := r.Blob(emptyType, []byte("{}"))
	if err != nil {
		return nil, err
	}
	var list []Descriptor
	for _, b := range bundles {
		l, err := r.Blob(Bundle, b)
		if err != nil {
			return nil, err
		}
		d, err := r.put("", manifest{MediaType: manifestType, ArtifactType: Bundle, Config: &config, Layers: []Descriptor{l}, Subject: &subject})
		if err != nil {
			return nil, err
		}
		d.ArtifactType = Bundle
		list = append(list, d)
	}
	return list, nil
}

// Fallback writes the list of referrers at the tag where it is looked for if a
// registry does not list them itself.
func (r Repository) Fallback(digest string, list []Descriptor) error {
	_, err := r.put(strings.Replace(digest, ":", "-", 1), manifest{MediaType: indexType, Manifests: list})
	return err
}
