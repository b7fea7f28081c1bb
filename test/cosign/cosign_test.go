// SPDX-License-Identifier: Apache-2.0

package cosign

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOpenSSL: what these keys sign is what cosign.pub and openssl verify, as
// cosign's own documentation does it.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl")
	}
	m := Payload("quay.io/coreos/etcd", "sha256:00")
	for kind, digest := range map[string]string{"P-256": "-sha256", "P-384": "-sha384", "RSA": "-sha256", "Ed25519": ""} {
		k, err := NewKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		public, err := k.Public()
		if err != nil {
			t.Fatal(err)
		}
		sig, err := k.Sign(m)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for name, text := range map[string][]byte{"pub": []byte(public), "sig": sig, "m": m, "other": m[1:]} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for of, want := range map[string]bool{"m": true, "other": false} {
			args := []string{"dgst", digest, "-verify", "pub", "-signature", "sig", of}
			if digest == "" {
				args = []string{"pkeyutl", "-verify", "-pubin", "-inkey", "pub", "-rawin", "-sigfile", "sig", "-in", of}
			}
			cmd := exec.Command("openssl", args...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); (err == nil) != want {
				t.Errorf("%s of %s: %v\n%s", kind, of, err, out)
			}
		}
	}
}
