// SPDX-License-Identifier: Apache-2.0

// Package gpg makes OpenPGP keys and signatures with GnuPG, for tests: what rkt
// reads of them shares no code with what wrote them.
package gpg

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Home is a directory with keys of its own.
type Home struct {
	dir string
	t   testing.TB
}

// New makes one, without keys; the test is skipped where there is no gpg.
func New(t testing.TB) *Home {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("needs gpg")
	}
	dir, err := os.MkdirTemp("", "gpg-") // the agent's socket has a short name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The agent that gpg started for this directory, and no other.
		_ = exec.Command("gpgconf", "--homedir", dir, "--kill", "all").Run()
		_ = os.RemoveAll(dir)
	})
	return &Home{dir, t}
}

// Run runs gpg and returns what it prints.
func (h *Home) Run(input []byte, args ...string) []byte {
	h.t.Helper()
	out, err := h.Try(input, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// Try is Run for what may fail.
func (h *Home) Try(input []byte, args ...string) ([]byte, error) {
	args = append([]string{"--homedir", h.dir, "--batch", "--yes", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)
	cmd := exec.Command("gpg", args...)
	cmd.Stdin = bytes.NewReader(input)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = errors.Join(fmt.Errorf("gpg %q: %w", args[8:], err), errors.New(said.String()))
	}
	return out, err
}

// Key makes a key for signing and returns its fingerprint. algo is gpg's, such
// as "ed25519" or "rsa2048"; expire is "never" or such as "1y"; more are further
// options, such as a faked time.
func (h *Home) Key(id, algo, expire string, more ...string) string {
	h.t.Helper()
	h.Run(nil, append(more, "--quick-generate-key", id, algo, "sign,cert", expire)...)
	return h.Fingerprints(id)[0]
}

// Subkey adds a signing subkey and returns its fingerprint.
func (h *Home) Subkey(fpr, algo, expire string, more ...string) string {
	h.t.Helper()
	h.Run(nil, append(more, "--quick-add-key", fpr, algo, "sign", expire)...)
	all := h.Fingerprints(fpr)
	return all[len(all)-1]
}

// Fingerprints lists a key's own and its subkeys', in lower case.
func (h *Home) Fingerprints(id string) []string {
	h.t.Helper()
	var list []string
	for line := range strings.SplitSeq(string(h.Run(nil, "--with-colons", "--list-keys", id)), "\n") {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			list = append(list, strings.ToLower(f[9]))
		}
	}
	return list
}

// Export gives the public key, armored.
func (h *Home) Export(fpr string, more ...string) []byte {
	h.t.Helper()
	return h.Run(nil, append(more, "--armor", "--export", fpr)...)
}

// Sign makes an armored detached signature of data; fpr may be a subkey's.
func (h *Home) Sign(fpr string, data []byte, more ...string) []byte {
	h.t.Helper()
	return h.Run(data, append(more, "--local-user", fpr+"!", "--armor", "--detach-sign")...)
}

// Revoke revokes the key by the certificate that gpg made with it.
func (h *Home) Revoke(fpr string) {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, "openpgp-revocs.d", strings.ToUpper(fpr)+".rev"))
	if err != nil {
		h.t.Fatal(err)
	}
	// A colon before the armor keeps it from being used by accident.
	h.Run(bytes.Replace(text, []byte(":-----BEGIN"), []byte("-----BEGIN"), 1), "--import")
}
