// SPDX-License-Identifier: Apache-2.0

package output

import (
	"context"
	"encoding/base64"
	"encoding/json"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

// How cosign keeps signatures: an image of its own, at a tag made of the digest
// that was signed, whose layers are payloads.
const (
	simpleSigning   = "application/vnd.dev.cosign.simplesigning.v1+json"
	simpleSignature = "dev.cosignproject.cosign/signature"
)

// signature is the image that says who vouches for the manifest d, called name.
func signature(ctx context.Context, d image.Digest, name string, opt Options) (export.OCI, error) {
	var p struct {
		Critical struct {
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
			Image struct {
				Digest image.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
		Optional map[string]any `json:"optional"`
	}
	p.Critical.Identity.Reference, p.Critical.Image.Digest, p.Critical.Type = name, d, "cosign container image signature"
	payload, err := json.Marshal(p)
	if err != nil {
		return export.OCI{}, err
	}
	sig, err := opt.Sign(ctx, payload)
	if err != nil {
		return export.OCI{}, err
	}
	blob := export.Bytes(payload)
	// A payload is no layer to those who count them.
	config := []byte(`{"architecture":"","config":{},"os":"","rootfs":{"diff_ids":[],"type":"layers"}}`)
	o := export.OCI{MediaType: ociconfig.OCIManifest, Config: export.Bytes(config), Layers: []export.Blob{blob}}
	text, err := json.Marshal(struct {
		SchemaVersion int                    `json:"schemaVersion"`
		MediaType     string                 `json:"mediaType"`
		Config        ociconfig.Descriptor   `json:"config"`
		Layers        []ociconfig.Descriptor `json:"layers"`
	}{2, ociconfig.OCIManifest, ociconfig.Descriptor{MediaType: ociconfig.OCIConfig, Digest: o.Config.Digest, Size: o.Config.Size},
		[]ociconfig.Descriptor{{MediaType: simpleSigning, Digest: blob.Digest, Size: blob.Size,
			Annotations: map[string]string{simpleSignature: base64.StdEncoding.EncodeToString(sig)}}}})
	if err != nil {
		return export.OCI{}, err
	}
	o.Manifest = export.Bytes(text)
	return o, nil
}

// signLayout puts the signature beside the image.
func signLayout(ctx context.Context, o export.OCI, t Target, opt Options) error {
	s, err := signature(ctx, o.Manifest.Digest, t.Name, opt)
	if err != nil {
		return err
	}
	return s.Layout(ctx, t.Path, fetch.SignatureTag(o.Manifest.Digest), true)
}
