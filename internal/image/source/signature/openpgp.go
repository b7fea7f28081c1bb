// SPDX-License-Identifier: Apache-2.0

// Package signature checks OpenPGP and bare signatures. It runs in the helper
// without network, on keys that rkt has chosen; it says who signed, not whether
// that is enough.
//
// For OpenPGP everything must hold at the moment of the check, not only when the
// signature was made: the date in a signature is whatever its maker wrote, so a
// key that expired or was revoked since could otherwise be made to have signed
// in better times.
package signature

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// Bounds of what a stranger may make us do.
const (
	maxSignatures = 16 // packets in a detached signature
	maxTries      = 4  // of them that name a key we were given, each costs reading the data
	minRSABits    = 2048
)

const day = "2006-01-02"

// strict are the rules for keys and signatures: no DSA, no ElGamal, no RSA below
// 2048 bits, and SHA-1 and older nowhere, not in self-signatures either.
func strict(now time.Time) *packet.Config {
	broken := map[crypto.Hash]bool{crypto.SHA1: true, crypto.MD5: true, crypto.RIPEMD160: true}
	return &packet.Config{
		Time:                        func() time.Time { return now },
		MinRSABits:                  minRSABits,
		RejectHashAlgorithms:        broken,
		RejectMessageHashAlgorithms: broken,
	}
}

// readKey reads a file with one OpenPGP public key, armored or not.
func readKey(k wire.OpenPGPKey) (*openpgp.Entity, error) {
	data := k.Data
	if armored(data) {
		if bytes.Count(data, []byte("-----BEGIN ")) > 1 {
			return nil, errors.New("it holds several armored blocks, and a file has one key")
		}
		block, err := armor.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("its armor is damaged: %w", cause(err))
		}
		if block.Type == openpgp.PrivateKeyType {
			return nil, errors.New("it is a private key")
		}
		if block.Type != openpgp.PublicKeyType {
			return nil, fmt.Errorf("it is a %q, not a public key", block.Type)
		}
		if data, err = io.ReadAll(block.Body); err != nil {
			return nil, fmt.Errorf("its armor is damaged: %w", cause(err))
		}
	}
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	packets := packet.NewReader(bytes.NewReader(data))
	e, err := openpgp.ReadEntity(packets)
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it is no OpenPGP key")
	case err != nil:
		return nil, fmt.Errorf("it is no OpenPGP key that can be read: %w", cause(err))
	case e.PrivateKey != nil:
		return nil, errors.New("it is a private key")
	case e.PrimaryKey.Version != 4:
		return nil, fmt.Errorf("it is of version %d; version 4 is what the keystore knows", e.PrimaryKey.Version)
	}
	if p, err := packets.Next(); err == nil {
		if _, ok := p.(*packet.PublicKey); ok {
			return nil, errors.New("it holds several keys, and a file has one")
		}
		return nil, errors.New("something follows the key")
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("what follows the key is damaged: %w", cause(err))
	}
	if fpr := hex.EncodeToString(e.PrimaryKey.Fingerprint); k.Fingerprint != "" && fpr != k.Fingerprint {
		return nil, fmt.Errorf("it is called by another fingerprint than its own, %s", fpr)
	}
	return e, nil
}

func armored(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("-----BEGIN"))
}

// cause takes the library's name off its messages.
func cause(err error) error {
	text := err.Error()
	for _, p := range []string{"openpgp: ", "invalid data: ", "invalid argument: ", "invalid signature: ", "unsupported feature: "} {
		text = strings.TrimPrefix(text, p)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		text = "it ends too early"
	}
	return errors.New(text)
}

// Describe tells what is in a key's file.
func Describe(k wire.OpenPGPKey, now time.Time) wire.OpenPGPInfo {
	e, err := readKey(k)
	if err != nil {
		return wire.OpenPGPInfo{State: wire.KeyDamaged, Reason: err.Error()}
	}
	info := wire.OpenPGPInfo{
		Fingerprint: hex.EncodeToString(e.PrimaryKey.Fingerprint),
		Identities:  identities(e, now),
		Algorithm:   algorithm(e.PrimaryKey),
		Created:     e.PrimaryKey.CreationTime.Unix(),
	}
	for _, s := range e.Subkeys {
		info.Subkeys = append(info.Subkeys, hex.EncodeToString(s.PublicKey.Fingerprint))
	}
	if self, err := e.PrimarySelfSignature(now, strict(now)); err == nil {
		if end, ok := expiry(e.PrimaryKey, self); ok {
			info.Expires = end.Unix()
		}
	}
	info.State, info.Reason = judge(k, now)
	return info
}

// identities are those that the key itself certifies; if none is, all that it
// claims.
func identities(e *openpgp.Entity, now time.Time) []string {
	var names []string
	for name, id := range e.Identities {
		if _, err := id.Verify(now, strict(now)); err == nil {
			names = append(names, name)
		}
	}
	if names == nil {
		names = slices.Collect(maps.Keys(e.Identities))
	}
	slices.Sort(names)
	return names
}

func algorithm(pk *packet.PublicKey) string {
	name := map[packet.PublicKeyAlgorithm]string{
		packet.PubKeyAlgoRSA: "RSA", packet.PubKeyAlgoRSASignOnly: "RSA", packet.PubKeyAlgoRSAEncryptOnly: "RSA",
		packet.PubKeyAlgoElGamal: "ElGamal", packet.PubKeyAlgoDSA: "DSA",
		packet.PubKeyAlgoECDSA: "ECDSA", packet.PubKeyAlgoEdDSA: "EdDSA",
		packet.PubKeyAlgoEd25519: "Ed25519", packet.PubKeyAlgoEd448: "Ed448",
	}[pk.PubKeyAlgo]
	if name == "" {
		return fmt.Sprintf("algorithm %d", pk.PubKeyAlgo)
	}
	switch pk.PubKeyAlgo {
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA:
		if curve, err := pk.Curve(); err == nil {
			return name + " " + string(curve)
		}
	case packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
		return name
	}
	if bits, err := pk.BitLength(); err == nil {
		return fmt.Sprintf("%s %d", name, bits)
	}
	return name
}

// expiry is when the self-signature lets the key end.
func expiry(pk *packet.PublicKey, self *packet.Signature) (time.Time, bool) {
	if self.KeyLifetimeSecs == nil || *self.KeyLifetimeSecs == 0 {
		return time.Time{}, false
	}
	return pk.CreationTime.Add(time.Duration(*self.KeyLifetimeSecs) * time.Second), true
}

// judge says whether a key that can be read may be believed now, and if not,
// why. The library remembers what it found about a self-signature under the
// first rules it was asked with, so each question gets its own copy.
func judge(k wire.OpenPGPKey, now time.Time) (state, reason string) {
	e, err := readKey(k)
	if err != nil {
		return wire.KeyDamaged, err.Error()
	}
	if reason := weakness(e.PrimaryKey); reason != "" {
		return wire.KeyWeak, reason
	}
	if e.Revoked(now) {
		return wire.KeyRevoked, "it was revoked" + revocation(e.Revocations)
	}
	if e.PrimaryKey.CreationTime.After(now) {
		return wire.KeyInvalid, fmt.Sprintf("it was made on %s, which is to come: check this machine's clock", e.PrimaryKey.CreationTime.UTC().Format(day))
	}
	cfg := strict(now)
	self, err := e.PrimarySelfSignature(now, cfg)
	if err != nil {
		if again, err := readKey(k); err == nil {
			lax := &packet.Config{Time: cfg.Time, RejectHashAlgorithms: map[crypto.Hash]bool{}}
			if sig, err := again.PrimarySelfSignature(now, lax); err == nil && cfg.RejectHashAlgorithm(sig.Hash) {
				return wire.KeyWeak, fmt.Sprintf("it certifies itself with %v", sig.Hash)
			}
		}
		return wire.KeyInvalid, "no identity of it has a self-signature that holds"
	}
	if _, err := e.VerifyPrimaryKey(now, cfg); err != nil {
		if end, ok := expiry(e.PrimaryKey, self); ok && end.Before(now) {
			return wire.KeyExpired, "it expired on " + end.UTC().Format(day)
		}
		return wire.KeyExpired, "it expired"
	}
	return wire.KeyValid, ""
}

// weakness names what is too weak about a key's own numbers, or "".
func weakness(pk *packet.PublicKey) string {
	cfg := strict(time.Time{})
	switch pk.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoRSAEncryptOnly:
		if bits, err := pk.BitLength(); err != nil || bits < minRSABits {
			return fmt.Sprintf("it is an RSA key of %d bits, and %d are the least", bits, minRSABits)
		}
	case packet.PubKeyAlgoDSA, packet.PubKeyAlgoElGamal:
		return fmt.Sprintf("it is a %s key, which is not accepted", strings.Fields(algorithm(pk))[0])
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA:
		if curve, err := pk.Curve(); err != nil || cfg.RejectCurve(curve) {
			return fmt.Sprintf("it is on curve %q, which is not accepted", curve)
		}
	}
	return ""
}

// revocation is the reason that the first revocation gives, with a space before.
func revocation(list []*packet.VerifiableSignature) string {
	for _, r := range list {
		if r.Valid != nil && *r.Valid {
			on := " on " + r.Packet.CreationTime.UTC().Format(day)
			if r.Packet.RevocationReasonText != "" {
				on += fmt.Sprintf(" (%s)", r.Packet.RevocationReasonText)
			}
			return on
		}
	}
	return ""
}

// Detached checks the OpenPGP signatures in sig, armored or not, over the whole
// of data against keys. An error is that sig or a key cannot be understood, or
// data not be read.
func Detached(keys []wire.OpenPGPKey, sig []byte, data io.ReadSeeker, now time.Time) (good []wire.GoodSignature, bad []wire.BadSignature, err error) {
	for _, k := range keys {
		if _, err := readKey(k); err != nil {
			return nil, nil, fmt.Errorf("cannot use key %s: %w", k.Fingerprint, err)
		}
	}
	list, err := signatures(sig)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read signature: %w", err)
	}
	tries := 0
	for _, s := range list {
		k, e := issuer(s, keys)
		if e == nil {
			bad = append(bad, wire.BadSignature{Issuer: issuerName(s), Unknown: true, Reason: "the key is not known"})
			continue
		}
		refuse := func(reason string) {
			bad = append(bad, wire.BadSignature{Issuer: hex.EncodeToString(e.PrimaryKey.Fingerprint), Reason: reason})
		}
		key, reason := signingKey(k, s, now)
		if reason == "" {
			reason = unacceptable(s, key, now)
		}
		if reason != "" {
			refuse(reason)
			continue
		}
		if tries++; tries > maxTries {
			return nil, nil, fmt.Errorf("cannot check signature: more than %d of it are by one of the keys", maxTries)
		}
		if _, err := data.Seek(0, io.SeekStart); err != nil {
			return nil, nil, fmt.Errorf("cannot read what was signed: %w", err)
		}
		h, err := s.PrepareVerify()
		if err != nil {
			refuse(cause(err).Error())
			continue
		}
		if _, err := io.Copy(h, data); err != nil {
			return nil, nil, fmt.Errorf("cannot read what was signed: %w", err)
		}
		if err := key.VerifySignature(h, s); err != nil {
			refuse("the signature is of other data: the image was altered, or belongs to another signature")
			continue
		}
		good = append(good, wire.GoodSignature{
			Fingerprint: hex.EncodeToString(e.PrimaryKey.Fingerprint), Identities: identities(e, now), Made: s.CreationTime.Unix(),
		})
	}
	return good, bad, nil
}

// signatures reads the packets of a detached signature.
func signatures(sig []byte) ([]*packet.Signature, error) {
	if armored(sig) {
		if bytes.Count(sig, []byte("-----BEGIN ")) > 1 {
			return nil, errors.New("it holds several armored blocks")
		}
		block, err := armor.Decode(bytes.NewReader(sig))
		if err != nil {
			return nil, fmt.Errorf("its armor is damaged: %w", cause(err))
		}
		if block.Type != openpgp.SignatureType {
			return nil, fmt.Errorf("it is a %q, not a detached signature", block.Type)
		}
		if sig, err = io.ReadAll(io.LimitReader(block.Body, wire.MaxSignature)); err != nil {
			return nil, fmt.Errorf("its armor is damaged: %w", cause(err))
		}
	}
	var list []*packet.Signature
	for packets := packet.NewReader(bytes.NewReader(sig)); ; {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is no OpenPGP signature: %w", cause(err))
		}
		s, ok := p.(*packet.Signature)
		if !ok {
			return nil, errors.New("it is no detached signature: there is something else in it")
		}
		if list = append(list, s); len(list) > maxSignatures {
			return nil, fmt.Errorf("it holds more than %d signatures", maxSignatures)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("there is no OpenPGP signature in it")
	}
	return list, nil
}

// issuer finds the key that s says it is by, by fingerprint if it has that.
func issuer(s *packet.Signature, keys []wire.OpenPGPKey) (wire.OpenPGPKey, *openpgp.Entity) {
	for _, k := range keys {
		e, err := readKey(k)
		if err != nil {
			continue
		}
		if is(s, e.PrimaryKey) || slices.ContainsFunc(e.Subkeys, func(sub openpgp.Subkey) bool { return is(s, sub.PublicKey) }) {
			return k, e
		}
	}
	return wire.OpenPGPKey{}, nil
}

func is(s *packet.Signature, pk *packet.PublicKey) bool {
	if len(s.IssuerFingerprint) > 0 {
		return bytes.Equal(s.IssuerFingerprint, pk.Fingerprint)
	}
	return s.IssuerKeyId != nil && *s.IssuerKeyId == pk.KeyId
}

func issuerName(s *packet.Signature) string {
	switch {
	case len(s.IssuerFingerprint) > 0:
		return hex.EncodeToString(s.IssuerFingerprint)
	case s.IssuerKeyId != nil:
		return fmt.Sprintf("%016x", *s.IssuerKeyId)
	}
	return ""
}

// signingKey gives the part of k that made s, if it may sign now, or why not.
func signingKey(k wire.OpenPGPKey, s *packet.Signature, now time.Time) (*packet.PublicKey, string) {
	if state, reason := judge(k, now); state != wire.KeyValid {
		return nil, reason
	}
	e, err := readKey(k)
	if err != nil {
		return nil, err.Error()
	}
	if is(s, e.PrimaryKey) {
		self, err := e.VerifyPrimaryKey(now, strict(now))
		if err != nil {
			return nil, cause(err).Error()
		}
		if !self.FlagsValid || !self.FlagSign {
			return nil, "its primary key is not for signing"
		}
		return e.PrimaryKey, ""
	}
	for i := range e.Subkeys {
		if sub := &e.Subkeys[i]; is(s, sub.PublicKey) {
			if reason := judgeSubkey(sub, now); reason != "" {
				return nil, fmt.Sprintf("its subkey %s %s", hex.EncodeToString(sub.PublicKey.Fingerprint), reason)
			}
			return sub.PublicKey, ""
		}
	}
	return nil, "it has no such subkey"
}

// judgeSubkey says why a subkey may not sign now, or "".
func judgeSubkey(sub *openpgp.Subkey, now time.Time) string {
	if reason := weakness(sub.PublicKey); reason != "" {
		return "is too weak: " + reason
	}
	if !sub.PublicKey.PubKeyAlgo.CanSign() {
		return "is not for signing"
	}
	cfg := strict(now)
	binding, err := sub.LatestValidBindingSignature(now, cfg)
	if err != nil {
		for _, b := range sub.Bindings {
			cross := b.Packet.EmbeddedSignature
			switch {
			case cfg.RejectHashAlgorithm(b.Packet.Hash):
				return fmt.Sprintf("is bound to it with %v only", b.Packet.Hash)
			case b.Packet.FlagSign && cross == nil:
				return "has not signed that it belongs to it (no cross-certification)"
			case b.Packet.SigExpired(now):
				return "is no longer bound to it"
			}
		}
		return "is not bound to it by a signature that holds"
	}
	cross := binding.EmbeddedSignature
	switch {
	case !binding.FlagsValid || !binding.FlagSign:
		return "is not for signing"
	case cross == nil:
		return "has not signed that it belongs to it (no cross-certification)"
	case cfg.RejectHashAlgorithm(cross.Hash):
		return fmt.Sprintf("has signed that it belongs to it with %v only", cross.Hash)
	case sub.Revoked(binding, now):
		return "was revoked" + revocation(sub.Revocations)
	case sub.Expired(binding, now):
		if end, ok := expiry(sub.PublicKey, binding); ok {
			return "expired on " + end.UTC().Format(day)
		}
		return "expired"
	}
	return ""
}

// unacceptable says what about s, by key, keeps it from counting, whatever was
// signed; or "".
func unacceptable(s *packet.Signature, key *packet.PublicKey, now time.Time) string {
	cfg := strict(now)
	switch {
	case s.Version != 4:
		return fmt.Sprintf("the signature is of version %d, which version 4 keys do not make", s.Version)
	case s.SigType != packet.SigTypeBinary:
		return "the signature is not one of a file as it is (it may be of a text, whose line ends do not count)"
	case cfg.RejectMessageHashAlgorithm(s.Hash):
		return fmt.Sprintf("the signature was made with %v, which is broken", s.Hash)
	case s.CreationTime.After(now):
		return fmt.Sprintf("the signature was made on %s, which is to come: check this machine's clock", s.CreationTime.UTC().Format(day))
	case s.SigExpired(now):
		return "the signature itself expired"
	case s.CreationTime.Before(key.CreationTime):
		return "the signature is older than its key"
	}
	for _, n := range s.Notations {
		if n.IsCritical {
			return fmt.Sprintf("the signature has a critical notation %q, which nobody here understands", n.Name)
		}
	}
	return ""
}
