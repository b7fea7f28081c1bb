// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/cosign"
	"github.com/rkt/rkt/test/gpg"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// secured runs rkt with the protections on that a Host switches off otherwise.
func secured(h *rkt.Host, args ...string) rkt.Result {
	return h.Rkt(append([]string{"--insecure-options=none"}, args...)...)
}

// TestTrustedACI: with its key trusted an .aci runs without any insecure option,
// and no longer once the key is gone.
func TestTrustedACI(t *testing.T) {
	h, keys := host(t), gpg.New(t)
	from, err := images.ACI("gzip")
	if err != nil {
		t.Skip(err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, pub := filepath.Join(dir, "tiny.aci"), filepath.Join(dir, "key.asc")
	fpr := keys.Key("Tiny <tiny@example.com>", "rsa3072", "1y")
	for name, content := range map[string][]byte{path: data, path + ".asc": keys.Sign(fpr, data), pub: keys.Export(fpr)} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(says string) {
		t.Helper()
		if r := secured(h, "run", "--net=host", path); r.Status != 254 || !strings.Contains(r.Stderr, says) {
			t.Errorf("status %d\n%s\nwant %q", r.Status, r.Stderr, says)
		}
	}
	runs := func(says string) {
		t.Helper()
		if r := secured(h, "run", "--net=host", path); r.Status != 0 || !strings.HasPrefix(r.Stdout, "uid=12 gid=34") || !strings.Contains(r.Stderr, says) {
			t.Errorf("status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
		}
	}
	refused(`no key is trusted to sign image "example.com/tiny"`)
	h.Must("trust", "--prefix=example.com/tin", "--skip-fingerprint-review", pub)
	refused(`no key is trusted to sign image "example.com/tiny"`)
	h.Must("trust", "--prefix=example.com/tiny", "--skip-fingerprint-review", pub)
	runs("signature verified:\nrkt:   Tiny <tiny@example.com>\n")
	runs("") // stored
	if r := h.Must("trust", "rm", fpr); !strings.Contains(r.Stderr, "was fetched on the word of this key") {
		t.Errorf("rm said %q", r.Stderr)
	}
	refused(`no key is trusted to sign image "example.com/tiny"`)
}

// TestTrustedRegistry: with cosign's key trusted a registry's images run without
// any insecure option, and others of it do not.
func TestTrustedRegistry(t *testing.T) {
	h := host(t)
	s := serve(t, images.Tiny)
	dir := strings.TrimSuffix(strings.TrimPrefix(image(t, images.Tiny), "oci:"), ":"+images.Tiny)
	for _, name := range []string{"team/app:v1", "team/other:v1"} {
		if err := s.Push(dir, images.Tiny, name); err != nil {
			t.Fatal(err)
		}
	}
	k, err := cosign.NewKey("P-256")
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.Public()
	if err != nil {
		t.Fatal(err)
	}
	pub := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(pub, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	url := s.URL("team/app:v1")
	run := func(url string, status int, says string) {
		t.Helper()
		r := secured(h, append([]string{"run", "--net=host", url}, sh("echo ran")...)...)
		if r.Status != status || !strings.Contains(r.Stdout+r.Stderr, says) {
			t.Errorf("status %d, %q\n%s\nwant %d and %q", r.Status, r.Stdout, r.Stderr, status, says)
		}
	}
	run(url, 254, "nothing vouches for this image")
	h.Must("trust", "--prefix=docker://"+s.Addr+"/team", "--skip-fingerprint-review", pub)
	run(url, 254, "the registry has no signature of it")

	repo := cosign.Repository{Host: s.Addr, Name: "team/app"}
	digest, _, err := repo.Manifest("v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Attach(k, digest, cosign.Payload(s.Addr+"/team/app", digest)); err != nil {
		t.Fatal(err)
	}
	run(url, 0, "ran")
	run(s.URL("team/other:v1"), 254, "the registry has no signature of it")

	// The other by a bundle.
	repo.Name = "team/other"
	bundle, err := cosign.Envelope(k, cosign.Statement(cosign.SignPredicate, "", digest))
	if err == nil {
		_, err = repo.Refer(digest, bundle)
	}
	if err != nil {
		t.Fatal(err)
	}
	run(s.URL("team/other:v1"), 0, "ran")
	if out := h.Must("image", "list", "--json").Out(); !strings.Contains(out, `"trust":"signature"`) {
		t.Errorf("list says %s", out)
	}
}
