// SPDX-License-Identifier: Apache-2.0

package wire

// # fetch sign
//
// Descriptor 0 is one SignRequest, 1 one SignReply, both as JSON, and SignDataFD
// the file that an OpenPGP signature is to be about, if there is one. The keys are
// the user's own; the helper has no network.

// SignDataFD is a descriptor of fetch sign.
const SignDataFD = 3

// MaxKey bounds a file with a secret key, bytes.
const MaxKey = 1 << 20

// SignRequest asks for a signature: of SignDataFD, armored, by an OpenPGP key; or
// of Message by a key in PEM, cosign's encrypted form or PKCS #8, SEC 1, PKCS #1.
type SignRequest struct {
	OpenPGP  []byte `json:"openpgp,omitempty"`
	PEM      []byte `json:"pem,omitempty"`
	Password []byte `json:"password,omitempty"`
	Message  []byte `json:"message,omitempty"`
}

// SignReply answers a SignRequest.
type SignReply struct {
	Signature []byte `json:"signature,omitempty"`
	Err       *Error `json:"error,omitempty"`
}
