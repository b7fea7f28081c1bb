// SPDX-License-Identifier: Apache-2.0

package wire

// Bounds of a push.
const (
	MaxPushed = 600     // blobs: an image's layers, and signatures and the like
	MaxInline = 1 << 20 // bytes of a blob's Data
)

// PushRequest asks for blobs and then manifests to be put into one repository.
// Request names it, and how it is spoken to; its Reference is not used.
type PushRequest struct {
	Request

	Blobs     []PushBlob     `json:"blobs"`
	Manifests []PushManifest `json:"manifests"` // in this order, once all blobs are there
}

// PushBlob is a blob: Data, or a descriptor of its file.
type PushBlob struct {
	Descriptor

	Data []byte `json:"data,omitempty"`
}

// PushManifest is a manifest; Tag may be a digest.
type PushManifest struct {
	Tag       string `json:"tag"`
	MediaType string `json:"mediaType"`
	Data      []byte `json:"data"`
}

// PushReply answers a PushRequest.
type PushReply struct {
	Sent int    `json:"sent"` // bytes of blobs that the registry lacked
	Err  *Error `json:"error,omitempty"`
}
