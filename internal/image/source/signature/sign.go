// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"

	"github.com/rkt/rkt/internal/hint"
)

// SignDetached makes an armored OpenPGP signature of what r holds, by the first
// key in key, armored or not.
func SignDetached(key, password []byte, r io.Reader) ([]byte, error) {
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(key))
	if err != nil {
		if list, err = openpgp.ReadKeyRing(bytes.NewReader(key)); err != nil {
			return nil, fmt.Errorf("cannot read OpenPGP key: %w", err)
		}
	}
	if len(list) == 0 || list[0].PrivateKey == nil {
		return nil, hint.Wrap(errors.New("cannot sign: the file has no secret OpenPGP key"), "gpg --export-secret-keys --armor USER writes one")
	}
	e := list[0]
	if e.PrivateKey.Encrypted {
		if len(password) == 0 {
			return nil, hint.Wrap(errors.New("cannot sign: the OpenPGP key is encrypted"), "its password goes into ACBUILD_PASSWORD")
		}
		if err := e.DecryptPrivateKeys(password); err != nil {
			return nil, errors.New("cannot decrypt the OpenPGP key: the password is wrong")
		}
	}
	var out bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&out, []*openpgp.Entity{e}, r, nil); err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	return append(out.Bytes(), '\n'), nil
}

// SignBare signs message as cosign does: ECDSA and RSA (PKCS #1 v1.5) over its
// digest, Ed25519 over itself. key is PEM.
func SignBare(key, password, message []byte) ([]byte, error) {
	signer, err := bareKey(key, password)
	if err != nil {
		return nil, err
	}
	hash := crypto.SHA256
	switch k := signer.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(k, message), nil
	case *ecdsa.PrivateKey:
		switch k.Curve.Params().BitSize {
		case 384:
			hash = crypto.SHA384
		case 521:
			hash = crypto.SHA512
		}
	}
	return signer.Sign(rand.Reader, digest(hash, message), hash)
}

func digest(h crypto.Hash, message []byte) []byte {
	switch h {
	case crypto.SHA384:
		sum := sha512.Sum384(message)
		return sum[:]
	case crypto.SHA512:
		sum := sha512.Sum512(message)
		return sum[:]
	}
	sum := sha256.Sum256(message)
	return sum[:]
}

func bareKey(key, password []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("cannot read key: it is no PEM")
	}
	der := block.Bytes
	var parsed any
	var err error
	switch block.Type {
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		if der, err = openCosign(der, password); err == nil {
			parsed, err = x509.ParsePKCS8PrivateKey(der)
		}
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(der)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(der)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(der)
	default:
		return nil, hint.Wrap(fmt.Errorf("cannot read key: it is of type %.40q", block.Type), "a private key is wanted: `cosign generate-key-pair` or `openssl genpkey`")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read key: %w", err)
	}
	switch k := parsed.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("cannot use key: RSA of %d bits is too weak", k.N.BitLen())
		}
		return k, nil
	}
	return nil, fmt.Errorf("cannot use key: it is a %T", parsed)
}

// Bounds of scrypt's parameters in a key's file: what cosign writes is 32768, 8,
// 1, and more would be somebody's wish to see us run out of memory.
const (
	maxScryptN = 1 << 20
	maxScryptR = 16
	maxScryptP = 4
)

// openCosign decrypts what cosign keeps a key in: scrypt and secretbox, in JSON
// (theupdateframework's encrypted form).
func openCosign(text, password []byte) ([]byte, error) {
	var e struct {
		KDF struct {
			Name   string `json:"name"`
			Params struct{ N, R, P int }
			Salt   []byte `json:"salt"`
		} `json:"kdf"`
		Cipher struct {
			Name  string `json:"name"`
			Nonce []byte `json:"nonce"`
		} `json:"cipher"`
		Ciphertext []byte `json:"ciphertext"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, errors.New("its content is not cosign's")
	}
	p := e.KDF.Params
	if e.KDF.Name != "scrypt" || e.Cipher.Name != "nacl/secretbox" || len(e.Cipher.Nonce) != 24 || p.N > maxScryptN || p.R > maxScryptR || p.P > maxScryptP {
		return nil, fmt.Errorf("it is encrypted by %.40q and %.40q with unusual parameters", e.KDF.Name, e.Cipher.Name)
	}
	derived, err := scrypt.Key(password, e.KDF.Salt, p.N, p.R, p.P, 32)
	if err != nil {
		return nil, err
	}
	plain, ok := secretbox.Open(nil, e.Ciphertext, (*[24]byte)(e.Cipher.Nonce), (*[32]byte)(derived))
	if !ok {
		return nil, hint.Wrap(errors.New("the password is wrong"), "it is taken from COSIGN_PASSWORD")
	}
	return plain, nil
}
