// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

func pemOf(t testing.TB, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// openssl has OpenSSL make a key and sign m, and say what it thinks of the
// signature with a byte of m changed.
func openssl(t *testing.T, m []byte, genpkey []string, sign []string) (public string, sig []byte) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl")
	}
	dir := t.TempDir()
	run := func(args ...string) error {
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("openssl %q: %v\n%s", args, err, out)
		}
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "m"), m, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		append([]string{"genpkey", "-out", "key"}, genpkey...),
		{"pkey", "-in", "key", "-pubout", "-out", "pub"},
		append([]string{"pkeyutl", "-sign", "-inkey", "key", "-rawin", "-in", "m", "-out", "sig"}, sign...),
		append([]string{"pkeyutl", "-verify", "-pubin", "-inkey", "pub", "-rawin", "-in", "m", "-sigfile", "sig"}, sign...),
	} {
		if err := run(args...); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	return string(read("pub")), read("sig")
}

// TestOpenSSL: what OpenSSL signs, we take.
func TestOpenSSL(t *testing.T) {
	m := []byte("payload")
	for name, c := range map[string]struct{ key, sign []string }{
		"P-256":           {[]string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, []string{"-digest", "sha256"}},
		"P-384":           {[]string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, []string{"-digest", "sha384"}},
		"P-384 (SHA-256)": {[]string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, []string{"-digest", "sha256"}},
		"Ed25519":         {[]string{"-algorithm", "ED25519"}, nil},
		"RSA":             {[]string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, []string{"-digest", "sha256"}},
	} {
		t.Run(name, func(t *testing.T) {
			public, sig := openssl(t, m, c.key, c.sign)
			k, err := ParsePublicKey(public)
			if err != nil {
				t.Fatal(err)
			}
			if !k.Verify(m, sig) {
				t.Error("a good signature is refused")
			}
			if k.Verify([]byte("other"), sig) || k.Verify(m, nil) || k.Verify(m, append(slices.Clone(sig), 0)) {
				t.Error("a bad signature is accepted")
			}
			for i := range sig {
				bad := slices.Clone(sig)
				bad[i] ^= 0x40
				if k.Verify(m, bad) {
					t.Fatalf("byte %d of the signature does not matter", i)
				}
			}
		})
	}
	// Of the wrong hash.
	public, sig := openssl(t, m, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, []string{"-digest", "sha1"})
	if k, err := ParsePublicKey(public); err != nil || k.Verify(m, sig) {
		t.Errorf("SHA-1 is accepted (%v)", err)
	}
}

func TestEd25519Prehashed(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(data)
	sig, err := private.Sign(nil, sum[:], crypto.SHA512)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParsePublicKey(pemOf(t, public))
	if err != nil || !k.Verify(data, sig) || k.Verify(data[1:], sig) {
		t.Errorf("prehashed: %v", err)
	}
}

func TestPublicKeysRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skipf("Go makes no weak key: %v", err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(p521)
	if err != nil {
		t.Fatal(err)
	}
	for says, text := range map[string]string{
		"RSA key of 1024 bits": pemOf(t, &small.PublicKey),
		"ECDSA key on P-521":   pemOf(t, &p521.PublicKey),
		"no public key in PEM": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"can be read":          "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
	} {
		if _, err := ParsePublicKey(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// TestBy: a key that cannot be used does not keep the others from it.
func TestBy(t *testing.T) {
	a, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	sig, err := ecdsa.SignASN1(rand.Reader, a, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	by, usable := By([]string{"no key", pemOf(t, &a.PublicKey)}, []wire.Signed{{Message: data, Signature: sig}, {Message: data[1:], Signature: sig}})
	if !slices.Equal(by, []int{1, -1}) || len(usable) != 2 || usable[0] == "" || usable[1] != "" {
		t.Errorf("%v %q", by, usable)
	}
}
