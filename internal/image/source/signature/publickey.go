// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// PublicKey checks bare signatures of one key, as cosign makes them.
type PublicKey struct {
	check func(message, sig []byte) bool
}

// ParsePublicKey reads a PUBLIC KEY in PEM: ECDSA on P-256 or P-384, Ed25519, or
// RSA of at least 2048 bits.
func ParsePublicKey(text string) (PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" {
		return PublicKey{}, errors.New("it is no public key in PEM")
	}
	any, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("it is no public key that can be read: %w", err)
	}
	switch key := any.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return PublicKey{func(m, sig []byte) bool {
				sum := sha256.Sum256(m)
				return ecdsa.VerifyASN1(key, sum[:], sig)
			}}, nil
		case elliptic.P384():
			// cosign hashed with SHA-256 whatever the key, before its bundles.
			return PublicKey{func(m, sig []byte) bool {
				long, short := sha512.Sum384(m), sha256.Sum256(m)
				return ecdsa.VerifyASN1(key, long[:], sig) || ecdsa.VerifyASN1(key, short[:], sig)
			}}, nil
		}
		return PublicKey{}, fmt.Errorf("it is an ECDSA key on %s, and P-256 and P-384 are accepted", key.Curve.Params().Name)
	case ed25519.PublicKey:
		return PublicKey{func(m, sig []byte) bool {
			if ed25519.Verify(key, m, sig) {
				return true
			}
			sum := sha512.Sum512(m)
			return ed25519.VerifyWithOptions(key, sum[:], sig, &ed25519.Options{Hash: crypto.SHA512}) == nil
		}}, nil
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return PublicKey{}, fmt.Errorf("it is an RSA key of %d bits, and %d are the least", bits, minRSABits)
		}
		return PublicKey{func(m, sig []byte) bool {
			sum := sha256.Sum256(m)
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) == nil
		}}, nil
	}
	return PublicKey{}, errors.New("it is of a kind that is not accepted: ECDSA, Ed25519 and RSA are")
}

// Verify tells whether the key signed message.
func (k PublicKey) Verify(message, sig []byte) bool { return k.check(message, sig) }

// By says for each of signed which of the PEM keys signed it, or -1, and for
// each key "" or why it is not used.
func By(keys []string, signed []wire.Signed) (by []int, usable []string) {
	parsed := make([]*PublicKey, len(keys))
	for i, text := range keys {
		k, err := ParsePublicKey(text)
		if err != nil {
			usable = append(usable, err.Error())
			continue
		}
		parsed[i], usable = &k, append(usable, "")
	}
	for _, s := range signed {
		who := -1
		for i, k := range parsed {
			if k != nil && k.Verify(s.Message, s.Signature) {
				who = i
				break
			}
		}
		by = append(by, who)
	}
	return by, usable
}
