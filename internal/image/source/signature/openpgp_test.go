// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"bytes"
	"crypto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/test/gpg"
)

var data = []byte("an image\r\nof two lines\n")

// past is a gpg option: then it is 2015.
const past = "--faked-system-time=20150101T000000!"

// dearmor has gpg write the binary form.
func dearmor(h *gpg.Home, armored []byte) []byte { return h.Run(armored, "--dearmor") }

// check runs Detached now and gives the fingerprints that signed and the reasons
// why others do not count.
func check(t *testing.T, key, sig, data []byte) (good, reasons []string) {
	t.Helper()
	g, b, err := Detached([]wire.OpenPGPKey{{Data: key}}, sig, bytes.NewReader(data), time.Now())
	if err != nil {
		return nil, []string{err.Error()}
	}
	for _, x := range g {
		good = append(good, x.Fingerprint)
	}
	for _, x := range b {
		reasons = append(reasons, x.Reason)
	}
	return good, reasons
}

// gpgv is the oracle: does GnuPG take the signature?
func gpgv(t *testing.T, h *gpg.Home, key, sig, data []byte) bool {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{"key": dearmor(h, key), "sig": sig, "data": data} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("gpgv", "--homedir", dir, "--keyring", filepath.Join(dir, "key"), filepath.Join(dir, "sig"), filepath.Join(dir, "data"))
	out, err := cmd.CombinedOutput()
	t.Logf("gpgv: %v\n%s", err, out)
	return err == nil
}

func TestGoodSignatures(t *testing.T) {
	h := gpg.New(t)
	for _, algo := range []string{"ed25519", "rsa2048", "nistp256", "nistp384"} {
		t.Run(algo, func(t *testing.T) {
			id := algo + " <" + algo + "@example.com>"
			fpr := h.Key(id, algo, "never")
			sub := h.Subkey(fpr, "ed25519", "1y")
			key := h.Export(fpr)
			for name, by := range map[string]string{"primary": fpr, "subkey": sub} {
				sig := h.Sign(by, data)
				if !gpgv(t, h, key, sig, data) {
					t.Fatalf("%s: gpgv does not take it", name)
				}
				for form, pair := range map[string][2][]byte{
					"armored": {key, sig}, "binary": {dearmor(h, key), dearmor(h, sig)}, "mixed": {key, dearmor(h, sig)},
				} {
					if good, bad := check(t, pair[0], pair[1], data); !slices.Equal(good, []string{fpr}) || bad != nil {
						t.Errorf("%s, %s: %q %q", name, form, good, bad)
					}
				}
				// Tampered, in the data or in the signature.
				other := bytes.Replace(data, []byte("two"), []byte("six"), 1)
				if good, bad := check(t, key, sig, other); good != nil || !strings.Contains(bad[0], "other data") {
					t.Errorf("%s, tampered: %q %q", name, good, bad)
				}
				if gpgv(t, h, key, sig, other) {
					t.Errorf("gpgv takes anything")
				}
			}
			info := Describe(wire.OpenPGPKey{Data: key, Fingerprint: fpr}, time.Now())
			if info.State != wire.KeyValid || info.Fingerprint != fpr || !slices.Equal(info.Subkeys, []string{sub}) ||
				!slices.Equal(info.Identities, []string{id}) || info.Expires != 0 || time.Since(time.Unix(info.Created, 0)) > time.Hour {
				t.Errorf("description %+v", info)
			}
		})
	}
}

func TestEveryFlippedByteIsSeen(t *testing.T) {
	h := gpg.New(t)
	fpr := h.Key("flip <flip@example.com>", "ed25519", "never")
	key, sig := dearmor(h, h.Export(fpr)), dearmor(h, h.Sign(fpr, data))
	// The last bytes are the number S of the signature itself.
	for i := len(sig) - 30; i < len(sig); i++ {
		bad := slices.Clone(sig)
		bad[i] ^= 1
		if good, _ := check(t, key, bad, data); good != nil {
			t.Errorf("byte %d of the signature does not matter", i)
		}
	}
}

func TestBadKeysAndSignatures(t *testing.T) {
	h := gpg.New(t)
	type made struct{ key, sig []byte }
	simple := func(algo string, sign ...string) made {
		fpr := h.Key(t.Name()+algo+strings.Join(sign, " ")+" <x@example.com>", algo, "never")
		return made{h.Export(fpr), h.Sign(fpr, data, sign...)}
	}
	for name, c := range map[string]struct {
		make  func() made
		state string // of the key
		says  string
	}{
		"expired": {func() made {
			fpr := h.Key("expired <x@example.com>", "ed25519", "1y", past)
			return made{h.Export(fpr), h.Sign(fpr, data, past)}
		}, wire.KeyExpired, "it expired on 2016-01-01"},
		"signed after it expired": {func() made {
			fpr := h.Key("late <x@example.com>", "ed25519", "1y", past)
			// gpg itself refuses, unless it believes it is still in time.
			return made{h.Export(fpr), h.Sign(fpr, data, "--faked-system-time=20151230T000000!")}
		}, wire.KeyExpired, "it expired on 2016-01-01"},
		"revoked": {func() made {
			fpr := h.Key("revoked <x@example.com>", "ed25519", "never")
			sig := h.Sign(fpr, data)
			h.Revoke(fpr)
			return made{h.Export(fpr), sig}
		}, wire.KeyRevoked, "it was revoked on 20"},
		"revoked subkey": {func() made {
			fpr := h.Key("revsub <x@example.com>", "ed25519", "never")
			sub := h.Subkey(fpr, "ed25519", "never")
			sig := h.Sign(sub, data)
			h.Run([]byte("key 1\nrevkey\ny\n1\nstolen\n\ny\nsave\n"), "--command-fd", "0", "--edit-key", fpr)
			return made{h.Export(fpr), sig}
		}, wire.KeyValid, "was revoked on 20"},
		"expired subkey": {func() made {
			fpr := h.Key("expsub <x@example.com>", "ed25519", "never", past)
			sub := h.Subkey(fpr, "ed25519", "1y", past)
			return made{h.Export(fpr), h.Sign(sub, data, past)}
		}, wire.KeyValid, "expired on 2016-01-01"},
		"RSA of 1024 bits": {func() made { return simple("rsa1024") }, wire.KeyWeak, "RSA key of 1024 bits"},
		"DSA":              {func() made { return simple("dsa2048") }, wire.KeyWeak, "it is a DSA key"},
		"SHA-1 of the data": {func() made { return simple("rsa2048", "--digest-algo=SHA1") }, wire.KeyValid,
			"the signature was made with SHA-1, which is broken"},
		"SHA-1 of the key": {func() made {
			fpr := h.Key("old <x@example.com>", "rsa2048", "never", "--cert-digest-algo=SHA1")
			return made{h.Export(fpr), h.Sign(fpr, data)}
		}, wire.KeyWeak, "it certifies itself with SHA-1"},
		"weak subkey": {func() made {
			fpr := h.Key("weaksub <x@example.com>", "ed25519", "never")
			sub := h.Subkey(fpr, "rsa1024", "never")
			return made{h.Export(fpr), h.Sign(sub, data)}
		}, wire.KeyValid, "is too weak: it is an RSA key of 1024 bits"},
		"text": {func() made { return simple("ed25519", "--textmode") }, wire.KeyValid, "it may be of a text"},
		"expired signature": {func() made {
			fpr := h.Key("sigexp <x@example.com>", "ed25519", "never", past)
			return made{h.Export(fpr), h.Sign(fpr, data, past, "--default-sig-expire=1d")}
		}, wire.KeyValid, "the signature itself expired"},
		"signature of tomorrow": {func() made {
			fpr := h.Key("future <x@example.com>", "ed25519", "never")
			return made{h.Export(fpr), h.Sign(fpr, data, "--faked-system-time=20900101T000000!")}
		}, wire.KeyValid, "which is to come"},
		"critical notation": {func() made { return simple("ed25519", "--sig-notation=!only-on-sundays@example.com=1") }, wire.KeyValid, "critical notation"},
		"somebody else's": {func() made {
			a, b := simple("ed25519"), simple("rsa2048")
			return made{a.key, b.sig}
		}, wire.KeyValid, "the key is not known"},
		"a key as signature": {func() made { m := simple("ed25519", "--no-emit-version"); return made{m.key, m.key} }, wire.KeyValid, "not a detached signature"},
		"a signed message": {func() made {
			fpr := h.Key("inline <x@example.com>", "ed25519", "never")
			return made{h.Export(fpr), h.Run(data, "--local-user", fpr, "--sign")}
		}, wire.KeyValid, "it is no detached signature"},
		"private key": {func() made {
			fpr := h.Key("private <x@example.com>", "ed25519", "never")
			return made{h.Run(nil, "--armor", "--export-secret-keys", fpr), h.Sign(fpr, data)}
		}, wire.KeyDamaged, "it is a private key"},
		"two keys": {func() made {
			a, b := h.Key("one <1@example.com>", "ed25519", "never"), h.Key("two <2@example.com>", "ed25519", "never")
			return made{h.Run(nil, "--export", a, b), h.Sign(a, data)}
		}, wire.KeyDamaged, "several keys"},
		"two armored keys": {func() made {
			a, b := simple("ed25519"), simple("nistp256")
			return made{append(a.key, b.key...), a.sig}
		}, wire.KeyDamaged, "several armored blocks"},
		"garbage": {func() made { return made{simple("nistp384").key, []byte("garbage")} }, wire.KeyValid, "cannot read signature"},
		"nothing": {func() made { return made{simple("nistp521").key, nil} }, wire.KeyValid, "no OpenPGP signature in it"},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.make()
			info := Describe(wire.OpenPGPKey{Data: m.key}, time.Now())
			if info.State != c.state || c.state != wire.KeyValid && !strings.Contains(info.Reason, c.says) {
				t.Errorf("the key is %q: %s; want %q", info.State, info.Reason, c.state)
			}
			good, bad := check(t, m.key, m.sig, data)
			if good != nil || len(bad) != 1 || !strings.Contains(bad[0], c.says) {
				t.Errorf("%q %q, want %q", good, bad, c.says)
			}
		})
	}
}

// TestOneGoodOfSeveral: a signature file may hold several; the good one counts
// and the others are told of.
func TestOneGoodOfSeveral(t *testing.T) {
	h := gpg.New(t)
	a, b := h.Key("a <a@example.com>", "ed25519", "never"), h.Key("b <b@example.com>", "ed25519", "never")
	sig := slices.Concat(dearmor(h, h.Sign(b, data)), dearmor(h, h.Sign(a, data)))
	good, bad := check(t, h.Export(a), sig, data)
	if !slices.Equal(good, []string{a}) || len(bad) != 1 {
		t.Errorf("%q %q", good, bad)
	}
	if _, bad := check(t, h.Export(a), bytes.Repeat(dearmor(h, h.Sign(b, data)), maxSignatures+1), data); !strings.Contains(bad[0], "more than 16") {
		t.Errorf("%q", bad)
	}
	wrong := dearmor(h, h.Sign(a, []byte("something else")))
	if good, bad := check(t, h.Export(a), bytes.Repeat(wrong, maxTries+1), data); good != nil || !strings.Contains(bad[0], "more than 4") {
		t.Errorf("%q %q", good, bad)
	}
}

func TestFingerprintMustMatch(t *testing.T) {
	h := gpg.New(t)
	fpr := h.Key("m <m@example.com>", "ed25519", "never")
	other := strings.Repeat("0", 40)
	_, _, err := Detached([]wire.OpenPGPKey{{Data: h.Export(fpr), Fingerprint: other}}, h.Sign(fpr, data), bytes.NewReader(data), time.Now())
	if err == nil || !strings.Contains(err.Error(), "another fingerprint than its own, "+fpr) {
		t.Error(err)
	}
}

// TestCrossCertification: a subkey that was bound to a key without its own
// consent could belong to somebody else, who signed something innocent.
func TestCrossCertification(t *testing.T) {
	cfg := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA256}
	e, err := openpgp.NewEntity("cross", "", "x@example.com", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.AddSigningSubkey(cfg); err != nil {
		t.Fatal(err)
	}
	write := func() []byte {
		var b bytes.Buffer
		if err := e.Serialize(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	sub := &e.Subkeys[len(e.Subkeys)-1]
	var sig bytes.Buffer
	if err := openpgp.DetachSign(&sig, []*openpgp.Entity{e}, bytes.NewReader(data), cfg); err != nil {
		t.Fatal(err)
	}
	if good, bad := check(t, write(), sig.Bytes(), data); len(good) != 1 {
		t.Fatalf("whole: %q %q", good, bad)
	}
	binding := sub.Bindings[0].Packet
	binding.EmbeddedSignature = nil
	if err := binding.SignKey(sub.PublicKey, e.PrivateKey, cfg); err != nil {
		t.Fatal(err)
	}
	if good, bad := check(t, write(), sig.Bytes(), data); good != nil || !strings.Contains(bad[0], "no cross-certification") {
		t.Errorf("%q %q", good, bad)
	}
}

// TestExtendedKey: its owner may let a key live on; signatures from before then
// still count, as the key is good now.
func TestExtendedKey(t *testing.T) {
	h := gpg.New(t)
	fpr := h.Key("long <x@example.com>", "ed25519", "1y", past)
	sig := h.Sign(fpr, data, past)
	h.Run(nil, "--faked-system-time=20151201T000000!", "--quick-set-expire", fpr, "20y")
	key := h.Export(fpr, "--export-options=export-minimal")
	if good, bad := check(t, key, sig, data); !slices.Equal(good, []string{fpr}) {
		t.Errorf("%q %q", good, bad)
	}
}

func FuzzDetached(f *testing.F) {
	h := gpg.New(f)
	fpr := h.Key("fuzz <fuzz@example.com>", "ed25519", "never")
	key, sig := h.Export(fpr), h.Sign(fpr, data)
	f.Add(key, sig)
	f.Add(dearmor(h, key), dearmor(h, sig))
	f.Add(key, []byte("-----BEGIN PGP SIGNATURE-----\n\n=\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte{0x99, 0, 1, 4}, []byte{0x88, 0})
	f.Fuzz(func(t *testing.T, k, s []byte) {
		info := Describe(wire.OpenPGPKey{Data: k}, time.Now())
		good, _, err := Detached([]wire.OpenPGPKey{{Data: k}}, s, bytes.NewReader([]byte("never signed")), time.Now())
		if len(good) > 0 {
			t.Errorf("%v signed what was never signed", good)
		}
		if info.State == wire.KeyDamaged && err == nil {
			t.Error("a damaged key was used")
		}
	})
}
