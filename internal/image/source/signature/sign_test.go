// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/test/gpg"
)

func keyPEM(t *testing.T, key any) (secret, public []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := bareKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
}

// TestSignBare: what is signed, rkt's own check accepts, and openssl too.
func TestSignBare(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]any{"Ed25519": ed}
	for name, c := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()} {
		if keys[name], err = ecdsa.GenerateKey(c, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if keys["RSA"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	message := []byte("a payload")
	for name, key := range keys {
		secret, public := keyPEM(t, key)
		sig, err := SignBare(secret, nil, message)
		if err != nil {
			t.Fatal(err)
		}
		by, usable := By([]string{string(public)}, []wire.Signed{{Message: message, Signature: sig}, {Message: []byte("another"), Signature: sig}})
		if by[0] != 0 || by[1] != -1 || usable[0] != "" {
			t.Errorf("%s: %v, %q", name, by, usable)
		}
		if _, err := exec.LookPath("openssl"); err != nil || name == "Ed25519" {
			continue
		}
		dir := t.TempDir()
		for file, text := range map[string][]byte{"pub": public, "sig": sig, "msg": message} {
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		hash := "-sha256"
		if name == "P-384" {
			hash = "-sha384"
		}
		cmd := exec.Command("openssl", "dgst", hash, "-verify", "pub", "-signature", "sig", "msg")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

// TestCosignKey: a key in the form that cosign keeps it in.
func TestCosignKey(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(n int) []byte {
		salt, nonce := bytes.Repeat([]byte{1}, 32), [24]byte{2}
		derived, err := scrypt.Key([]byte("secret"), salt, 1024, 8, 1, 32)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(map[string]any{
			"kdf":        map[string]any{"name": "scrypt", "params": map[string]int{"N": n, "r": 8, "p": 1}, "salt": salt},
			"cipher":     map[string]any{"name": "nacl/secretbox", "nonce": nonce[:]},
			"ciphertext": secretbox.Seal(nil, der, &nonce, (*[32]byte)(derived)),
		})
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: text})
	}
	sig, err := SignBare(seal(1024), []byte("secret"), []byte("m"))
	if err != nil || len(sig) == 0 {
		t.Errorf("%v", err)
	}
	for want, f := range map[string]func() error{
		"the password is wrong": func() error { _, err := SignBare(seal(1024), []byte("guess"), nil); return err },
		"unusual parameters":    func() error { _, err := SignBare(seal(1<<24), []byte("secret"), nil); return err },
		"it is no PEM":          func() error { _, err := SignBare([]byte("x"), nil, nil); return err },
		`of type "PUBLIC KEY"`: func() error {
			_, err := SignBare(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"}), nil, nil)
			return err
		},
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestSignDetached: gpg makes the key, and verifies.
func TestSignDetached(t *testing.T) {
	home := gpg.New(t)
	data := []byte("an image")
	for _, algo := range []string{"ed25519", "rsa2048"} {
		fpr := home.Key(algo+" <x@example.com>", algo, "1y")
		secret := home.Run(nil, "--armor", "--export-secret-keys", fpr)
		sig, err := SignDetached(secret, nil, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		file, asc := filepath.Join(dir, "data"), filepath.Join(dir, "data.asc")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(asc, sig, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := home.Try(nil, "--verify", asc, file); err != nil {
			t.Errorf("%s: %v", algo, err)
		}
		if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := home.Try(nil, "--verify", asc, file); err == nil {
			t.Errorf("%s: a signature of something else is good", algo)
		}
		if _, err := SignDetached(home.Export(fpr), nil, bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "no secret OpenPGP key") {
			t.Error(err)
		}
	}
	if _, err := SignDetached([]byte("x"), nil, bytes.NewReader(data)); err == nil {
		t.Error("no key is a key")
	}
}

func FuzzSignBare(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJrZGYiOnsibmFtZSI6InNjcnlwdCJ9fQ==\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"))
	f.Fuzz(func(_ *testing.T, key []byte) { _, _ = SignBare(key, []byte("p"), []byte("m")) })
}
