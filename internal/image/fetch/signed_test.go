// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/trust"
	"github.com/rkt/rkt/test/gpg"
)

// secure are options that believe nothing without a reason, with configuration
// directories of their own.
func secure(t testing.TB) fetch.Options {
	t.Helper()
	opt := options(t)
	opt.InsecureImage = false
	base := t.TempDir()
	opt.Dirs = config.Dirs{System: filepath.Join(base, "system"), Local: filepath.Join(base, "local")}
	return opt
}

// trustKey puts a key into the keystore.
func trustKey(t testing.TB, opt fetch.Options, prefix, fpr string, data []byte) {
	t.Helper()
	if _, err := trust.Keys(opt.Dirs).Add(prefix, fpr, data); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSignedACI: whose signature counts for an .aci file, and what is said if
// none does; a refusal leaves the store as it is.
func TestSignedACI(t *testing.T) {
	h := gpg.New(t)
	st, dir := open(t)
	fpr := h.Key("App <app@example.com>", "ed25519", "never")
	key := h.Export(fpr)
	data := aci(t, manifest("example.com/app", "v1", ""), file{"a", "x"})
	sig := h.Sign(fpr, data)
	path := filepath.Join(t.TempDir(), "app.aci")
	write(t, path, data)

	for name, c := range map[string]struct {
		prefix string // that the key is trusted for; "-": it is not
		sig    []byte
		says   string // "": it is fetched
	}{
		"its prefix":             {"example.com/app", sig, ""},
		"a parent":               {"example.com", sig, ""},
		"root":                   {"", sig, ""},
		"binary":                 {"example.com", h.Run(sig, "--dearmor"), ""},
		"a name that begins so":  {"example.com/ap", sig, `not trusted for it, but for "example.com/ap"`},
		"something below":        {"example.com/app/x", sig, `not trusted for it, but for "example.com/app/x"`},
		"nobody":                 {"-", sig, "no key is trusted to sign image \"example.com/app\""},
		"no signature":           {"example.com", nil, "has no signature"},
		"no signature, but junk": {"example.com", []byte("junk"), "cannot read signature"},
		"of something else":      {"example.com", h.Sign(fpr, []byte("else")), "the signature is of other data"},
	} {
		t.Run(name, func(t *testing.T) {
			opt := secure(t)
			// Somebody else is trusted too, so that there is a key to be found.
			other := h.Key(name+" <other@example.com>", "ed25519", "never")
			if c.prefix != "-" {
				trustKey(t, opt, "example.com/app", other, h.Export(other))
				trustKey(t, opt, c.prefix, fpr, key)
			}
			_ = os.Remove(path + ".asc")
			if c.sig != nil {
				write(t, path+".asc", c.sig)
			}
			before := files(t, dir)
			if c.says != "" {
				err := fails(t, st, opt, path, c.says)
				if hint.Of(err) == "" {
					t.Errorf("no remedy for %v", err)
				}
				if after := files(t, dir); !slices.Equal(before, after) {
					t.Error("the store changed")
				}
				return
			}
			rec := get(t, st, opt, path)
			want := image.Signer{Kind: image.OpenPGP, Key: fpr, Name: "example.com/app"}
			if rec.Trust != image.TrustSignature || !slices.Equal(rec.SignedBy, []image.Signer{want}) {
				t.Errorf("trust %q by %v", rec.Trust, rec.SignedBy)
			}
			if _, err := st.Remove(rec.ID, nil); err != nil {
				t.Fatal(err)
			}
		})
	}

	// A signature that is named wins over the one beside.
	opt := secure(t)
	trustKey(t, opt, "example.com", fpr, key)
	opt.Signature = filepath.Join(t.TempDir(), "named.asc")
	write(t, opt.Signature, sig)
	write(t, path+".asc", []byte("junk"))
	get(t, st, opt, path)
	fails(t, st, opt, "docker://127.0.0.1:1/x", "a signature in a file is for ACIs")

	// Tampered: one byte is another.
	write(t, path, aci(t, manifest("example.com/app", "v1", ""), file{"a", "y"}))
	fails(t, st, opt, path, "the signature is of other data")

	// A damaged keystore is told of by name.
	write(t, filepath.Join(opt.Dirs.Local, "trustedkeys/prefix.d/example.com", strings.Repeat("0", 40)), key)
	fails(t, st, opt, path, "another fingerprint than its own")
}

// TestKeyRemoved: an image is used as long as a key that signed it is trusted
// for its name, or when it is named by its ID; one that was accepted without a
// signature is fetched anew to look for one.
func TestKeyRemoved(t *testing.T) {
	h := gpg.New(t)
	st, _ := open(t)
	fpr := h.Key("App <app@example.com>", "ed25519", "never")
	data := aci(t, manifest("example.com/app", "v1", ""), file{"a", "x"})
	path := filepath.Join(t.TempDir(), "app.aci")
	write(t, path, data)
	opt := secure(t)
	opt.Policy = fetch.New

	insecure := opt
	insecure.InsecureImage = true
	if rec := get(t, st, insecure, path); rec.Trust != image.TrustNone {
		t.Errorf("trust %q of an unsigned image", rec.Trust)
	}
	fails(t, st, opt, path, "has no signature")
	trustKey(t, opt, "example.com", fpr, h.Export(fpr))
	write(t, path+".asc", h.Sign(fpr, data))
	rec := get(t, st, opt, path)
	if rec.Trust != image.TrustSignature {
		t.Errorf("trust %q of an image that was signed later", rec.Trust)
	}
	keystore := trust.Keys(opt.Dirs)
	if _, err := keystore.Remove("example.com", fpr); err != nil {
		t.Fatal(err)
	}
	stored := func(opt fetch.Options, s string) error {
		t.Helper()
		found, err := fetch.Find(st, parse(t, s))
		if err != nil {
			t.Fatal(err)
		}
		_, err = fetch.Admit(opt, found, parse(t, s))
		return err
	}
	if err := stored(opt, path); !errors.Is(err, fetch.ErrUnproven) {
		t.Errorf("after its key is gone: %v", err)
	}
	err := fails(t, st, opt, path, "no key is trusted")
	if !strings.Contains(err.Error(), "; it is stored, but no key that is trusted has signed it") {
		t.Errorf("%v: it does not tell of the stored image", err)
	}
	if err := stored(opt, string(rec.ID)[:30]); err == nil || !strings.Contains(err.Error(), "no longer trusted") {
		t.Errorf("by its short ID: %v", err)
	}
	for _, s := range []string{path, string(rec.ID)} {
		if err := stored(insecure, s); err != nil {
			t.Error(err)
		}
	}
	if err := stored(opt, string(rec.ID)); err != nil {
		t.Errorf("by its ID: %v", err)
	}
	trustKey(t, opt, "", fpr, h.Export(fpr)) // as a root key it counts again
	if err := stored(opt, path); err != nil {
		t.Error(err)
	}
}

// TestKeyOfDependencyRemoved: an image runs with what it depends on, so it is
// used no longer than keys of those are trusted, however deep they lie.
func TestKeyOfDependencyRemoved(t *testing.T) {
	h := gpg.New(t)
	st, _ := open(t)
	s, sell := shop(t)
	ours, theirs := h.Key("Ours <a@example.com>", "ed25519", "never"), h.Key("Theirs <b@example.com>", "ed25519", "never")
	put := func(fpr, name, more string) {
		s.File(place(name, "1")+".asc", h.Sign(fpr, sell(name, "1", more, file{name[12:], "x"})))
	}
	put(theirs, "example.com/base", "")
	put(ours, "example.com/mid", needs("example.com/base:1"))
	put(ours, "example.com/app", needs("example.com/mid:1"))
	put(ours, "example.com/top", needs("example.com/mid:1"))
	opt := secure(t)
	opt.Policy = fetch.New
	trustKey(t, opt, "example.com/base", theirs, h.Export(theirs))
	for _, name := range []string{"app", "mid", "top"} {
		trustKey(t, opt, "example.com/"+name, ours, h.Export(ours))
	}
	admit := func(name string) error {
		found, err := fetch.Find(st, parse(t, name))
		check(t, err)
		_, err = fetch.Admit(opt, found, parse(t, name))
		return err
	}
	all := []string{"example.com/app:1", "example.com/mid:1", "example.com/top:1", "example.com/base:1"}
	for _, name := range all { // top is put on a stored mid
		get(t, st, opt, name)
	}
	keystore := trust.Keys(opt.Dirs)
	_, err := keystore.Remove("example.com/base", theirs)
	check(t, err)
	for _, name := range all {
		if err := admit(name); !errors.Is(err, fetch.ErrUnproven) {
			t.Errorf("%s: %v", name, err)
		}
		fails(t, st, opt, name, "no key is trusted to sign image \"example.com/base\"")
	}
	trustKey(t, opt, "example.com/base", theirs, h.Export(theirs))
	for _, name := range all {
		if err := admit(name); err != nil {
			t.Error(err)
		}
	}
}

// TestKeyDiscovery: keys are looked for only if there is none for any parent of
// the name, and trusted for that name once the user says so.
func TestKeyDiscovery(t *testing.T) {
	h := gpg.New(t)
	fpr := h.Key("App <app@example.com>", "ed25519", "never")
	data := aci(t, manifest("example.com/app", "v1", ""), file{"a", "x"})
	s := sites(t)
	s.Text("https://example.com/app", `<meta name="ac-discovery" content="example.com https://img.example.com/{name}-{version}.{ext}">
		<meta name="ac-discovery-pubkeys" content="example.com https://example.com/pubkeys.gpg">`)
	s.File("https://img.example.com/example.com/app-v1.aci", data)
	s.File("https://img.example.com/example.com/app-v1.aci.asc", h.Sign(fpr, data))
	const keys = "https://example.com/pubkeys.gpg"
	s.File(keys, h.Export(fpr))
	asked := func() bool { return slices.Contains(s.Asked(), keys) }

	st, dir := open(t)
	opt := secure(t)
	before := files(t, dir)
	fails(t, st, opt, "example.com/app:v1", "nobody can be asked")
	var shown []string
	answer := false
	opt.Review = func(_ context.Context, prefix, location string, key fetch.OpenPGPInfo) (bool, error) {
		shown = append(shown, prefix+" "+location+" "+key.Fingerprint+" "+strings.Join(key.Identities, ","))
		return answer, nil
	}
	fails(t, st, opt, "example.com/app:v1", "the key was not accepted")
	if want := []string{"example.com/app " + keys + " " + fpr + " App <app@example.com>"}; !slices.Equal(shown, want) {
		t.Errorf("shown %q", shown)
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Error("the store changed")
	}
	if all, err := trust.Keys(opt.Dirs).All(); err != nil || len(all) > 0 {
		t.Errorf("%v is trusted (%v)", all, err)
	}
	answer = true
	if rec := get(t, st, opt, "example.com/app:v1"); rec.Trust != image.TrustSignature {
		t.Errorf("trust %q", rec.Trust)
	}
	if ok, err := trust.Keys(opt.Dirs).Has("example.com/app", fpr); !ok || err != nil {
		t.Errorf("the key is not trusted: %v", err)
	}
	if ok, _ := trust.Keys(opt.Dirs).Has("example.com/other", fpr); ok {
		t.Error("the key is trusted for more than the name")
	}

	// Only for names: who has a file knows more about it than where it came from.
	path := filepath.Join(t.TempDir(), "app.aci")
	write(t, path, data)
	write(t, path+".asc", h.Sign(fpr, data))
	byPath := secure(t)
	byPath.Review = opt.Review
	s.Asked()
	fails(t, st, byPath, path, "no key is trusted to sign image")
	if asked() {
		t.Error("keys were looked for though the image is a file")
	}

	// With --trust-keys-from-https nobody is asked.
	auto := secure(t)
	auto.TrustHTTPS = true
	st2, _ := open(t)
	for _, risk := range []func(*fetch.Options){
		func(o *fetch.Options) { o.InsecureTLS = true },
		func(o *fetch.Options) { o.InsecurePubkey = true },
	} {
		anybody := auto
		risk(&anybody)
		fails(t, st2, anybody, "example.com/app:v1", "nobody can be asked")
	}
	get(t, st2, auto, "example.com/app:v1")

	// There is a key for a parent: no other is looked for.
	mine := h.Key("Mine <mine@example.com>", "ed25519", "never")
	own := secure(t)
	own.TrustHTTPS = true
	trustKey(t, own, "example.com", mine, h.Export(mine))
	s.Asked()
	st3, _ := open(t)
	fails(t, st3, own, "example.com/app:v1", "which is not trusted for it")
	if asked() {
		t.Error("keys were looked for though there is one")
	}

	// A key over plain http is not taken, even if https announces it.
	s.Text("https://example.com/app", `<meta name="ac-discovery" content="example.com https://img.example.com/{name}-{version}.{ext}">
		<meta name="ac-discovery-pubkeys" content="example.com http://example.com/pubkeys.gpg">`)
	s.File("http://example.com/pubkeys.gpg", h.Export(fpr))
	plain := secure(t)
	plain.TrustHTTPS = true
	fails(t, st3, plain, "example.com/app:v1", "announces no keys that may be fetched")
	plain.InsecurePubkey = true // --trust-keys-from-https is about https only
	fails(t, st3, plain, "example.com/app:v1", "nobody can be asked")
	plain.Review = opt.Review
	get(t, st3, plain, "example.com/app:v1")
}
