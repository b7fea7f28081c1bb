// SPDX-License-Identifier: Apache-2.0

package wire

// # fetch verify
//
// Descriptor 0 is one VerifyRequest, 1 one VerifyReply, both as JSON, and
// VerifyDataFD the file that an OpenPGP signature is about, if there is one.
// The helper looks at keys and signatures; whom to trust for what is rkt's to
// know, which passes only keys that count.

// VerifyDataFD is a descriptor of fetch verify.
const VerifyDataFD = 3

// Bounds of what is about signatures, bytes and pieces.
const (
	MaxPayload = 64 << 10 // what a cosign signature is about
	MaxBundle  = 1 << 20  // a sigstore bundle
	MaxFound   = 64       // signatures of one manifest that are looked at
	MaxVerify  = 64 << 20 // a VerifyRequest
)

// VerifyRequest asks for one or more of three things.
type VerifyRequest struct {
	// Keys are OpenPGP keys to be described, one reply for each.
	Keys []OpenPGPKey `json:"keys,omitempty"`
	// Detached is an OpenPGP signature, armored or not, of VerifyDataFD by one
	// of Keys.
	Detached []byte `json:"detached,omitempty"`
	// Signed are bytes signed by one of PublicKeys (PEM, as cosign has them).
	PublicKeys []string `json:"publicKeys,omitempty"`
	Signed     []Signed `json:"signed,omitempty"`
}

// OpenPGPKey is a file with a key.
type OpenPGPKey struct {
	Data []byte `json:"data"`
	// Fingerprint is what the key must have; "" is any.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Signed is a message and its bare signature.
type Signed struct {
	Message   []byte `json:"message"`
	Signature []byte `json:"signature"`
}

// VerifyReply answers a VerifyRequest.
type VerifyReply struct {
	Keys []OpenPGPInfo `json:"keys,omitempty"`
	// Good and Bad are about the signatures in Detached.
	Good []GoodSignature `json:"good,omitempty"`
	Bad  []BadSignature  `json:"bad,omitempty"`
	// By has, for each of Signed, the number of the public key that signed it,
	// or -1. Usable has, for each public key, "" or why it is not used.
	By     []int    `json:"by,omitempty"`
	Usable []string `json:"usable,omitempty"`
	Err    *Error   `json:"error,omitempty"`
}

// OpenPGPInfo describes an OpenPGP key. Fingerprints are lower-case hexadecimal.
type OpenPGPInfo struct {
	Fingerprint string   `json:"fingerprint,omitempty"`
	Subkeys     []string `json:"subkeys,omitempty"`
	Identities  []string `json:"identities,omitempty"`
	Algorithm   string   `json:"algorithm,omitempty"`
	Created     int64    `json:"created,omitempty"` // seconds since the epoch
	Expires     int64    `json:"expires,omitempty"` // 0 is never
	// State is "valid", "expired", "revoked", "weak", "invalid" (no self-signature
	// holds), or "damaged", if Data is no key, or not the one it should be.
	State string `json:"state"`
	// Reason says what is wrong with it, or "".
	Reason string `json:"reason,omitempty"`
}

// States of OpenPGPInfo.
const (
	KeyValid   = "valid"
	KeyExpired = "expired"
	KeyRevoked = "revoked"
	KeyWeak    = "weak"
	KeyInvalid = "invalid"
	KeyDamaged = "damaged"
)

// GoodSignature was made by a key that was passed.
type GoodSignature struct {
	Fingerprint string   `json:"fingerprint"` // the primary key's
	Identities  []string `json:"identities"`
	Made        int64    `json:"made"`
}

// BadSignature is one that proves nothing.
type BadSignature struct {
	// Issuer is the fingerprint or key ID the signature names, maybe a subkey's.
	Issuer string `json:"issuer,omitempty"`
	// Unknown: none of the keys passed made it.
	Unknown bool   `json:"unknown,omitempty"`
	Reason  string `json:"reason"`
}

// Signatures is what a registry has about one manifest: the answer to a Want
// with Signatures, as JSON.
type Signatures struct {
	Simple  []SimpleSignature `json:"simple,omitempty"`
	Bundles [][]byte          `json:"bundles,omitempty"`
	// More: there were more than MaxFound.
	More bool `json:"more,omitempty"`
}

// SimpleSignature is cosign's first form: a payload, and its signature in base64
// from the layer's annotation.
type SimpleSignature struct {
	Payload   []byte `json:"payload"`
	Signature string `json:"signature"`
}
