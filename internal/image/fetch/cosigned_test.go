// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/trust"
	"github.com/rkt/rkt/test/cosign"
)

// policy writes a file of rules into the local directory of opt.
func policy(t testing.TB, opt fetch.Options, name, rules string) {
	t.Helper()
	dir := filepath.Join(opt.Dirs.Local, "trust.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".json"), []byte(`{"rktKind":"trust","rktVersion":"v1",`+rules+`}`))
}

// signedBy is the policy that images below prefix are signed by one of keys.
func signedBy(t testing.TB, opt fetch.Options, prefix string, keys ...cosign.Key) (ids []string) {
	t.Helper()
	var texts []string
	for _, k := range keys {
		text, err := k.Public()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := trust.ParsePublicKeys([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		texts, ids = append(texts, text), append(ids, parsed[0].ID)
	}
	list, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	policy(t, opt, "signed", fmt.Sprintf(`"prefixes":[%q],"type":"signedBy","keys":%s`, prefix, list))
	return ids
}

func newKey(t testing.TB, kind string) cosign.Key {
	t.Helper()
	k, err := cosign.NewKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sure[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		check(t, err)
		return v
	}
}

// TestCosign: all kinds of keys, both forms and all places of signatures.
func TestCosign(t *testing.T) {
	for _, api := range []bool{true, false} {
		r := serve(t, ggcr.WithReferrersSupport(api))
		for i, kind := range []string{"P-256", "P-384", "Ed25519", "RSA"} {
			im := build(t, "amd64", layer(t, int64(i)))
			digest := string(id(t, im).Digest())
			k, other := newKey(t, kind), newKey(t, "P-256")
			for form, sign := range map[string]func(repo cosign.Repository, name string, text []byte){
				"tag": func(repo cosign.Repository, name string, _ []byte) {
					check(t, repo.Attach(k, digest, cosign.Payload(name, digest)))
				},
				"tag, the second of two": func(repo cosign.Repository, name string, _ []byte) {
					check(t, repo.Attach(k, digest, cosign.Payload(name, "sha256:"+strings.Repeat("0", 64)), cosign.Payload(name+":v1", digest)))
				},
				"envelope": func(repo cosign.Repository, _ string, _ []byte) {
					b := sure[[]byte](t)(cosign.Envelope(k, cosign.Statement(cosign.SignPredicate, "", digest)))
					list := sure[[]cosign.Descriptor](t)(repo.Refer(digest, b))
					if !api {
						check(t, repo.Fallback(digest, list))
					}
				},
				"message": func(repo cosign.Repository, _ string, text []byte) {
					list := sure[[]cosign.Descriptor](t)(repo.Refer(digest, []byte("{}"), sure[[]byte](t)(cosign.Message(k, text))))
					if !api {
						check(t, repo.Fallback(digest, list))
					}
				},
			} {
				t.Run(fmt.Sprintf("referrers=%v/%s/%s", api, kind, form), func(t *testing.T) {
					st, _ := open(t)
					name := fmt.Sprintf("%d/%x", i, form)
					r.push(t, name+":v1", im)
					repo := cosign.Repository{Host: r.host, Name: name}
					_, text, err := repo.Manifest("v1")
					check(t, err)
					url := "docker://" + r.host + "/" + name + ":v1"
					opt := secure(t)
					ids := signedBy(t, opt, r.host+"/"+fmt.Sprint(i), other, k)
					fails(t, st, opt, url, "no signature of it")
					sign(repo, r.host+"/"+name, text)
					rec := get(t, st, opt, url)
					want := []image.Signer{{Kind: image.Cosign, Key: ids[1], Name: r.host + "/" + name}}
					if form == "tag, the second of two" {
						want[0].Tag = "v1" // as that payload has it
					}
					if rec.Trust != image.TrustSignature || !slices.Equal(rec.SignedBy, want) {
						t.Errorf("trust %q by %v, want %v", rec.Trust, rec.SignedBy, want)
					}
					// By others' keys it proves nothing.
					opt = secure(t)
					signedBy(t, opt, r.host, other)
					fails(t, st, opt, url, "by them")
				})
			}
		}
	}
}

// TestCosignRefused: what a good signature by the right key does not prove.
func TestCosignRefused(t *testing.T) {
	r := serve(t, ggcr.WithReferrersSupport(true))
	im := build(t, "amd64", layer(t, 1))
	digest := string(id(t, im).Digest())
	k := newKey(t, "P-256")
	zero := "sha256:" + strings.Repeat("0", 64)
	st, dir := open(t)
	n := 0
	for name, c := range map[string]struct {
		sign func(repo cosign.Repository, name string)
		says string
	}{
		"another repository": {func(repo cosign.Repository, name string) {
			check(t, repo.Attach(k, digest, cosign.Payload(name+"x", digest)))
		}, "x\", not \""},
		"another host": {func(repo cosign.Repository, name string) {
			check(t, repo.Attach(k, digest, cosign.Payload("quay.io/"+repo.Name, digest)))
		}, `what they signed is something else: image "quay.io/`},
		"another tag": {func(repo cosign.Repository, name string) {
			check(t, repo.Attach(k, digest, cosign.Payload(name+":v0", digest)))
		}, `tag "v0" of it, not "v1"`},
		"no name": {func(repo cosign.Repository, name string) {
			check(t, repo.Attach(k, digest, cosign.Payload("", digest)))
		}, "a name that is none"},
		"another digest": {func(repo cosign.Repository, name string) {
			check(t, repo.Attach(k, digest, cosign.Payload(name, zero)))
		}, "an image with another digest"},
		"another type": {func(repo cosign.Repository, name string) {
			p := strings.Replace(string(cosign.Payload(name, digest)), "cosign container image signature", "atomic container signature", 1)
			check(t, repo.Attach(k, digest, []byte(p)))
		}, "a statement of type"},
		"no JSON": {func(repo cosign.Repository, name string) {
			check(t, repo.Attach(k, digest, []byte("signed in good faith")))
		}, "no claim about an image"},
		"an SBOM of it": {func(repo cosign.Repository, name string) {
			_, err := repo.Refer(digest, sure[[]byte](t)(cosign.Envelope(k, cosign.Statement("https://spdx.dev/Document", "", digest))))
			check(t, err)
		}, "that is no signature of it"},
		"a statement on another": {func(repo cosign.Repository, name string) {
			_, err := repo.Refer(digest, sure[[]byte](t)(cosign.Envelope(k, cosign.Statement(cosign.SignPredicate, "", zero))))
			check(t, err)
		}, "an image with another digest"},
		"a statement with another name": {func(repo cosign.Repository, name string) {
			_, err := repo.Refer(digest, sure[[]byte](t)(cosign.Envelope(k, cosign.Statement(cosign.SignPredicate, "quay.io/x/y", digest))))
			check(t, err)
		}, `image "quay.io/x/y", not`},
		"a message of another": {func(repo cosign.Repository, name string) {
			_, err := repo.Refer(digest, sure[[]byte](t)(cosign.Message(k, []byte("else"))))
			check(t, err)
		}, "is not by them"},
		"the signature taken for the body": {func(repo cosign.Repository, name string) {
			b := sure[[]byte](t)(cosign.Envelope(k, cosign.Statement(cosign.SignPredicate, "", zero)))
			good := sure[[]byte](t)(cosign.Envelope(newKey(t, "P-256"), cosign.Statement(cosign.SignPredicate, "", digest)))
			var a, g map[string]any
			check(t, json.Unmarshal(b, &a))
			check(t, json.Unmarshal(good, &g))
			a["dsseEnvelope"].(map[string]any)["payload"] = g["dsseEnvelope"].(map[string]any)["payload"]
			_, err := repo.Refer(digest, sure[[]byte](t)(json.Marshal(a)))
			check(t, err)
		}, "is not by them"},
		"a bundle of nothing": {func(repo cosign.Repository, name string) {
			_, err := repo.Refer(digest, []byte(`{"mediaType":"x"}`))
			check(t, err)
		}, "a bundle cannot be used: it has no content"},
	} {
		t.Run(name, func(t *testing.T) {
			n++
			repo := cosign.Repository{Host: r.host, Name: fmt.Sprintf("no/%d", n)}
			r.push(t, repo.Name+":v1", im)
			c.sign(repo, r.host+"/"+repo.Name)
			opt := secure(t)
			signedBy(t, opt, r.host, k)
			before := files(t, dir)
			url := "docker://" + r.host + "/" + repo.Name + ":v1"
			if err := fails(t, st, opt, url, c.says); hint.Of(err) == "" {
				t.Errorf("no remedy for %v", err)
			}
			// The digest vouches for what it is, not for who made it. Without a
			// tag there is none to compare.
			if name == "another tag" {
				return
			}
			fails(t, st, opt, "docker://"+r.host+"/"+repo.Name+"@"+digest, "cannot verify image")
			if after := files(t, dir); !slices.Equal(before, after) {
				t.Error("the store changed")
			}
		})
	}
}

// TestCosignTag: a signature of one tag does not vouch for another one by which
// the same bytes were fetched later without being asked about, whichever
// signature form has the tag.
func TestCosignTag(t *testing.T) {
	r := serve(t, ggcr.WithReferrersSupport(true))
	k := newKey(t, "P-256")
	im := build(t, "amd64", layer(t, 1))
	digest := string(id(t, im).Digest())
	for form, sign := range map[string]func(repo cosign.Repository, name string){
		"payload": func(repo cosign.Repository, name string) {
			check(t, repo.Attach(k, digest, cosign.Payload(name+":v1", digest)))
		},
		"statement": func(repo cosign.Repository, name string) {
			b := sure[[]byte](t)(cosign.Envelope(k, cosign.Statement(cosign.SignPredicate, name+":v1", digest)))
			sure[[]cosign.Descriptor](t)(repo.Refer(digest, b))
		},
	} {
		st, _ := open(t)
		repo := cosign.Repository{Host: r.host, Name: "tagged/" + form}
		r.push(t, repo.Name+":v1", im)
		r.push(t, repo.Name+":v2", im)
		sign(repo, r.host+"/"+repo.Name)
		url := "docker://" + r.host + "/" + repo.Name
		opt := secure(t)
		signedBy(t, opt, r.host, k)
		if rec := get(t, st, opt, url+":v1"); rec.Trust != image.TrustSignature || rec.SignedBy[0].Tag != "v1" {
			t.Errorf("%s: trust %q by %+v", form, rec.Trust, rec.SignedBy)
		}
		easy := opt
		easy.InsecureImage = true
		get(t, st, easy, url+":v2")
		fails(t, st, opt, url+":v2", `tag "v1" of it, not "v2"`)
		never := opt
		never.Policy = fetch.Never
		fails(t, st, never, url+":v2", "no key that is trusted has signed it")
		get(t, st, never, url+":v1")
		get(t, st, never, url+"@"+digest)
		// And once that is signed, too, both are.
		check(t, repo.Attach(k, digest, cosign.Payload(r.host+"/"+repo.Name+":v2", digest)))
		get(t, st, opt, url+":v2")
		get(t, st, never, url+":v1")
	}
}

// TestCosignIndex: a signature of the index counts for the manifest it leads
// to, and one of the manifest does.
func TestCosignIndex(t *testing.T) {
	r := serve(t, ggcr.WithReferrersSupport(true))
	k := newKey(t, "Ed25519")
	im, there := build(t, "amd64", layer(t, 1)), build(t, "s390x", layer(t, 2))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: there, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: im, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	top := sure[v1.Hash](t)(index.Digest()).String()
	for i, digest := range []string{top, string(id(t, im).Digest())} {
		st, _ := open(t)
		repo := cosign.Repository{Host: r.host, Name: fmt.Sprintf("index/%d", i)}
		r.push(t, repo.Name+":v1", index)
		opt := secure(t)
		signedBy(t, opt, r.host, k)
		url := "docker://" + r.host + "/" + repo.Name + ":v1"
		// That of the other machine's manifest is of no use.
		check(t, repo.Attach(k, string(id(t, there).Digest()), cosign.Payload(r.host+"/"+repo.Name, string(id(t, there).Digest()))))
		fails(t, st, opt, url, "no signature of it")
		check(t, repo.Attach(k, digest, cosign.Payload(r.host+"/"+repo.Name, digest)))
		if rec := get(t, st, opt, url); rec.ID != id(t, im) || rec.Trust != image.TrustSignature {
			t.Errorf("%s %q", rec.ID, rec.Trust)
		}
	}
}

// TestPolicyOfRegistries: reject, accept, and what becomes of stored images when
// the policy changes.
func TestPolicyOfRegistries(t *testing.T) {
	r := serve(t, ggcr.WithReferrersSupport(true))
	st, _ := open(t)
	im := build(t, "amd64", layer(t, 1))
	digest := string(id(t, im).Digest())
	r.push(t, "a/app:v1", im)
	tag, pin := "docker://"+r.host+"/a/app:v1", "docker://"+r.host+"/a/app@"+digest
	opt := secure(t)
	opt.Policy = fetch.New
	insecure := opt
	insecure.InsecureImage = true
	admit := func(opt fetch.Options, s string) (image.Trust, error) {
		t.Helper()
		rec, err := fetch.Find(st, parse(t, s))
		check(t, err)
		rec, err = fetch.Admit(opt, rec, parse(t, s))
		return rec.Trust, err
	}

	fails(t, st, opt, tag, "nothing vouches")
	policy(t, opt, "signed", fmt.Sprintf(`"prefixes":[%q],"type":"reject"`, r.host+"/a"))
	for _, o := range []fetch.Options{opt, insecure} {
		for _, s := range []string{tag, pin} {
			fails(t, st, o, s, "the policy rejects images of")
		}
	}
	r.mu.Lock()
	if len(r.asked) > 0 {
		t.Errorf("a rejected image was asked for: %q", r.asked)
	}
	r.mu.Unlock()

	policy(t, opt, "signed", fmt.Sprintf(`"prefixes":[%q],"type":"insecureAcceptAnything"`, r.host+"/a"))
	rec := get(t, st, opt, tag)
	if rec.Trust != image.TrustPolicy {
		t.Errorf("trust %q", rec.Trust)
	}
	if stored, err := st.ByID(string(rec.ID)); err != nil || stored.Trust != image.TrustNone {
		t.Errorf("stored as %q (%v)", stored.Trust, err)
	}
	if ground, err := admit(opt, tag); err != nil || ground != image.TrustPolicy {
		t.Errorf("%q %v", ground, err)
	}

	// The rule goes: so does what it was good for.
	check(t, os.Remove(filepath.Join(opt.Dirs.Local, "trust.d/signed.json")))
	if _, err := admit(opt, tag); err == nil || errors.Is(err, fetch.ErrUnproven) {
		t.Errorf("without a rule: %v", err)
	}
	fails(t, st, opt, tag, "nothing vouches")

	// A key comes: what is stored has to be proven, by digest as well.
	k := newKey(t, "P-256")
	signedBy(t, opt, r.host, k)
	for _, s := range []string{tag, pin} {
		if _, err := admit(opt, s); !errors.Is(err, fetch.ErrUnproven) {
			t.Errorf("%s: %v", s, err)
		}
		fails(t, st, opt, s, "no signature of it")
	}
	repo := cosign.Repository{Host: r.host, Name: "a/app"}
	check(t, repo.Attach(k, digest, cosign.Payload(r.host+"/a/app", digest)))
	r.blobs()
	for _, s := range []string{pin, tag} {
		if rec := get(t, st, opt, s); rec.Trust != image.TrustSignature {
			t.Errorf("%s: trust %q", s, rec.Trust)
		}
	}
	if n := r.blobs(); n != 1 { // the payload; layers and configuration are there
		t.Errorf("%d blobs were fetched", n)
	}
	if ground, err := admit(opt, tag); err != nil || ground != image.TrustSignature {
		t.Errorf("%q %v", ground, err)
	}

	// By another name, which no rule is about, the signature says nothing; by
	// its ID it does.
	r.push(t, "b/app:v1", im)
	other := "docker://" + r.host + "/b/app:v1"
	only := opt
	only.Dirs.User = filepath.Join(t.TempDir(), "user")
	check(t, os.MkdirAll(filepath.Join(only.Dirs.User, "trust.d"), 0o755))
	write(t, filepath.Join(only.Dirs.User, "trust.d/b.json"), fmt.Appendf(nil, `{"rktKind":"trust","rktVersion":"v1","prefixes":[%q],"type":"insecureAcceptAnything"}`, r.host+"/b"))
	get(t, st, only, other)
	if _, err := admit(opt, other); !errors.Is(err, fetch.ErrUnproven) { // the rule is for all of the host
		t.Errorf("by another name: %v", err)
	}
	check(t, os.Rename(filepath.Join(opt.Dirs.Local, "trust.d/signed.json"), filepath.Join(opt.Dirs.Local, "signed.json")))
	if _, err := admit(opt, other); err == nil || !strings.Contains(err.Error(), "nothing vouches") {
		t.Errorf("by another name, without a rule: %v", err)
	}
	if _, err := admit(opt, string(rec.ID)[:20]); err == nil || !strings.Contains(err.Error(), "no longer trusted") {
		t.Errorf("by its short ID, without a rule: %v", err)
	}
	check(t, os.Rename(filepath.Join(opt.Dirs.Local, "signed.json"), filepath.Join(opt.Dirs.Local, "trust.d/signed.json")))
	if ground, err := admit(opt, string(rec.ID)[:20]); err != nil || ground != image.TrustSignature {
		t.Errorf("by its short ID: %q %v", ground, err)
	}

	// The key is another one: the old signature does not count.
	signedBy(t, opt, r.host, newKey(t, "P-256"))
	if _, err := admit(opt, tag); !errors.Is(err, fetch.ErrUnproven) {
		t.Errorf("after the key changed: %v", err)
	}
	if ground, err := admit(insecure, tag); err != nil {
		t.Errorf("%q %v", ground, err)
	}

	// A policy that cannot be read stops everything, even the insecure.
	policy(t, opt, "broken", `"prefixes":["quay.io"],"type":"acept"`)
	for _, o := range []fetch.Options{opt, insecure} {
		fails(t, st, o, tag, `type "acept" is not known`)
	}
}

// TestSignedPrefix: a mirror's images may be signed as what they are copies of.
func TestSignedPrefix(t *testing.T) {
	r := serve(t)
	st, _ := open(t)
	im := build(t, "amd64", layer(t, 1))
	digest := string(id(t, im).Digest())
	r.push(t, "hub/busybox:v1", im)
	k := newKey(t, "P-256")
	opt := secure(t)
	text := sure[string](t)(k.Public())
	policy(t, opt, "signed", fmt.Sprintf(`"prefixes":[%q],"type":"signedBy","signedPrefix":"docker.io/library","keys":[%q]`, r.host+"/hub", text))
	repo := cosign.Repository{Host: r.host, Name: "hub/busybox"}
	url := "docker://" + r.host + "/hub/busybox:v1"
	check(t, repo.Attach(k, digest, cosign.Payload(r.host+"/hub/busybox", digest)))
	fails(t, st, opt, url, `not "registry-1.docker.io/library/busybox"`)
	check(t, repo.Attach(k, digest, cosign.Payload("index.docker.io/library/busybox", digest)))
	get(t, st, opt, url)
}

// TestSignaturesCannotBeHad: a registry that fails when asked for signatures,
// or hides them, is not believed.
func TestSignaturesCannotBeHad(t *testing.T) {
	r := serve(t, ggcr.WithReferrersSupport(true))
	st, dir := open(t)
	im := build(t, "amd64", layer(t, 1))
	digest := string(id(t, im).Digest())
	r.push(t, "app:v1", im)
	k := newKey(t, "P-256")
	opt := secure(t)
	signedBy(t, opt, r.host, k)
	url := "docker://" + r.host + "/app:v1"
	repo := cosign.Repository{Host: r.host, Name: "app"}
	check(t, repo.Attach(k, digest, cosign.Payload(r.host+"/app", digest)))
	before := files(t, dir)
	for status, says := range map[int]string{
		500: "cannot look for signatures: registry", 401: "credentials", 403: "denies access", 404: "no signature of it",
	} {
		r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
			if strings.HasSuffix(q.URL.Path, ".sig") {
				w.WriteHeader(status)
				return true
			}
			return false
		})
		fails(t, st, opt, url, says)
	}
	junk := func(path, body string) {
		r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
			if strings.Contains(q.URL.Path, path) {
				_, _ = w.Write([]byte(body))
				return true
			}
			return false
		})
	}
	junk(".sig", "junk")
	fails(t, st, opt, url, "cannot understand what the registry has")
	junk("/referrers/", "junk")
	fails(t, st, opt, url, "cannot understand the list of what refers to")
	junk("/referrers/", `{"manifests":[{"mediaType":"x","digest":"../../x"}]}`)
	fails(t, st, opt, url, "the registry refers to")
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Error("the store changed")
	}

	// The list of referrers has pages.
	r.setFault(nil)
	b := sure[[]byte](t)(cosign.Envelope(k, cosign.Statement(cosign.SignPredicate, "", digest)))
	list := sure[[]cosign.Descriptor](t)(repo.Refer(digest, b))
	check(t, repo.Attach(newKey(t, "P-256"), digest, cosign.Payload(r.host+"/app", digest)))
	r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
		switch {
		case !strings.Contains(q.URL.Path, "/referrers/"):
			return false
		case q.URL.RawQuery == "last=1":
			text, _ := json.Marshal(map[string]any{"manifests": list})
			_, _ = w.Write(text)
		default:
			w.Header().Set("Link", fmt.Sprintf("<%s?last=1>; rel=\"next\"", q.URL.Path))
			_, _ = w.Write([]byte(`{"manifests":[]}`))
		}
		return true
	})
	get(t, st, opt, url)
}

// TestMirrorWithoutSignatures: a mirror that has the image and no signatures
// hides none.
func TestMirrorWithoutSignatures(t *testing.T) {
	r, mirror := serve(t, ggcr.WithReferrersSupport(true)), serve(t, ggcr.WithReferrersSupport(true))
	im := build(t, "amd64", layer(t, 1))
	digest := string(id(t, im).Digest())
	k := newKey(t, "P-256")
	for name, sign := range map[string]func(repo cosign.Repository){
		"tag": func(repo cosign.Repository) {
			check(t, repo.Attach(k, digest, cosign.Payload(repo.Host+"/"+repo.Name, digest)))
		},
		"bundle": func(repo cosign.Repository) {
			_, err := repo.Refer(digest, sure[[]byte](t)(cosign.Envelope(k, cosign.Statement(cosign.SignPredicate, "", digest))))
			check(t, err)
		},
	} {
		st, _ := open(t)
		r.push(t, name+":v1", im)
		mirror.push(t, name+":v1", im)
		opt := secure(t)
		signedBy(t, opt, r.host, k)
		opt.Config = func() (*config.Config, error) {
			return &config.Config{Registries: map[string]config.RegistryRules{r.host: {Mirrors: []string{"http://" + mirror.host}}}}, nil
		}
		url := "docker://" + r.host + "/" + name + ":v1"
		fails(t, st, opt, url, "no signature of it")
		sign(cosign.Repository{Host: r.host, Name: name})
		mirror.blobs()
		get(t, st, opt, url)
		if mirror.blobs() == 0 {
			t.Errorf("%s: the mirror was not used", name)
		}
	}
}
