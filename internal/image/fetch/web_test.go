// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rkt/rkt/internal/image"
	aci_ "github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/test/web"
)

func sites(t *testing.T) *web.Sites {
	t.Helper()
	s, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for name, value := range s.Env() {
		t.Setenv(name, value)
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	return s
}

func arch() string {
	return map[string]string{"amd64": "amd64", "arm64": "aarch64"}[runtime.GOARCH]
}

// manifest makes an ACI's, with more fields after the labels.
func manifest(name, version, more string) string {
	return fmt.Sprintf(`{"acKind":"ImageManifest","acVersion":"0.8.11","name":%q,"labels":[{"name":"version","value":%q},{"name":"os","value":"linux"},{"name":"arch","value":%q}]%s}`,
		name, version, arch(), more)
}

func aciID(b []byte) image.ID {
	sum := sha512.Sum512(b)
	return image.ID("sha512-" + hex.EncodeToString(sum[:]))
}

const page = `<html><head><meta name="ac-discovery" content="example.com https://img.example.com/{name}-{version}-{os}-{arch}.{ext}"></head></html>`

func place(name, version string) string {
	return "https://img.example.com/" + name + "-" + version + "-linux-" + arch() + ".aci"
}

func TestDiscovery(t *testing.T) {
	st, dir := open(t)
	s := sites(t)
	s.Text("https://example.com/", page)
	v1 := aci(t, manifest("example.com/team/app", "v1", ""), file{"f", "one"})
	v2 := aci(t, manifest("example.com/team/app", "v2", ""), file{"f", "two"})
	s.File(place("example.com/team/app", "v1"), v1)
	s.File(place("example.com/team/app", "latest"), v2)

	rec := get(t, st, options(t), "example.com/team/app:v1")
	if rec.ID != aciID(v1) || rec.Name != "example.com/team/app" || content(t, st, rec, "f") != "one" {
		t.Errorf("record = %+v", rec)
	}
	if d := s.Asked(); len(d) < 4 || d[0] != "https://example.com/team/app?ac-discovery=1" || d[1] != "https://example.com/team?ac-discovery=1" || d[2] != "https://example.com?ac-discovery=1" && d[2] != "https://example.com/?ac-discovery=1" {
		t.Errorf("asked %q", d)
	}
	if rec := get(t, st, options(t), "example.com/team/app"); rec.ID != aciID(v2) {
		t.Errorf("without a version: %s, want %s", rec.ID, aciID(v2))
	}
	// What was fetched without a version is the latest, whatever came after it.
	v0 := aci(t, manifest("example.com/team/app", "v0", ""))
	s.File(place("example.com/team/app", "v0"), v0)
	get(t, st, options(t), "example.com/team/app:v0")
	s.Asked()
	// The store first: with nobody to ask.
	opt := options(t)
	opt.Policy, opt.Helper = fetch.New, "/nowhere"
	for in, want := range map[string]image.ID{
		"example.com/team/app:v1":                  aciID(v1),
		"example.com/team/app,version=v1":          aciID(v1),
		"example.com/team/app:v2,os=linux":         aciID(v2),
		"example.com/team/app":                     aciID(v2),
		"example.com/team/app,arch=" + arch():      aciID(v2),
		"example.com/team/app:v1,arch=" + arch():   aciID(v1),
		"example.com/team/app,os=linux,version=v2": aciID(v2),
	} {
		if rec := get(t, st, opt, in); rec.ID != want {
			t.Errorf("%s: %s, want %s", in, rec.ID, want)
		}
	}
	opt.Policy = fetch.Never
	fails(t, st, opt, "example.com/team/app:v3", "pull policy is never")
	fails(t, st, opt, "example.com/team/app:v1,channel=beta", "pull policy is never")
	fails(t, st, opt, "example.com/team", "pull policy is never")

	before := files(t, dir)
	s.File(place("example.com/team/liar", "v1"), v1)
	s.File(place("example.com/team/app", "v9"), v1)
	s.File("https://img.example.com/example.com/team/app-v1-linux-"+arch()+"-beta.aci", v1)
	fails(t, st, options(t), "example.com/team/liar:v1", `its name is "example.com/team/app", not "example.com/team/liar"`)
	fails(t, st, options(t), "example.com/team/app:v9", `its label "version" is "v1", not "v9"`)
	fails(t, st, options(t), "example.com/team/app:v8", "does not have https://img.example.com/")
	fails(t, st, options(t), "example.com/team/app:v1,channel=beta", `it has no label "channel"`)
	fails(t, st, options(t), "busybox", "begins with no host's name")
	fails(t, st, options(t), "untrusted.example.net/app:v1", "cannot trust")
	if after := files(t, dir); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("the store changed:\n%q\n%q", before, after)
	}
}

// Each place is tried until one gives the right image.
func TestEveryEndpoint(t *testing.T) {
	st, _ := open(t)
	s := sites(t)
	image := aci(t, manifest("example.com/app", "v1", ""))
	var metas strings.Builder
	bad := []func(http.ResponseWriter, *http.Request){
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("not an image")) },
		func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(aci(t, manifest("example.com/other", "v1", "")))
		},
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(image[:len(image)/2]) },
		func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://img.example.com/app.aci", http.StatusFound)
		},
		func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, q.URL.Path, http.StatusFound) },
	}
	for i, h := range append(bad, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(image) }) {
		fmt.Fprintf(&metas, `<meta content="example.com https://m%d.example.com/{name}.{ext}" name=ac-discovery>`, i)
		s.Handle(fmt.Sprintf("https://m%d.example.com/example.com/app.aci", i), h)
	}
	s.Text("https://example.com/app", metas.String())
	if rec := get(t, st, options(t), "example.com/app"); rec.ID != aciID(image) {
		t.Errorf("got %s", rec.ID)
	}
	s.Gone(fmt.Sprintf("https://m%d.example.com/example.com/app.aci", len(bad)))
	if err := must(fetch.Image(t.Context(), st, options(t), parse(t, "example.com/app"))); err == nil || !strings.Contains(err.Error(), "none of its 11 places gave it: server m0.example.com does not have") {
		t.Errorf("all places fail: %v", err)
	}
}

func must(_ image.Record, err error) error { return err }

// Plain http is spoken only where it is allowed, even if a page says so.
func TestPlainHTTP(t *testing.T) {
	st, _ := open(t)
	s := sites(t)
	image := aci(t, manifest("example.com/app", "v1", ""))
	s.File("http://img.example.com/app.aci", image)
	s.Text("https://example.com/app", `<meta name="ac-discovery" content="example.com/app http://img.example.com/app.{ext}">`)
	fails(t, st, options(t), "http://img.example.com/app.aci", "refused plain http to img.example.com")
	fails(t, st, options(t), "example.com/app:v1", "with plain http, img.example.com")
	for _, l := range s.Asked() {
		if strings.HasPrefix(l, "http://") {
			t.Errorf("asked %s", l)
		}
	}
	opt := options(t)
	opt.InsecureHTTP = true
	get(t, st, opt, "http://img.example.com/app.aci")
	get(t, st, opt, "example.com/app:v1")
}

// A name without discovery is looked for in its host's registry.
func TestFallback(t *testing.T) {
	st, _ := open(t)
	sites(t)
	t.Setenv("NO_PROXY", "*") // the registry is on loopback by its address
	r := serve(t)
	im := build(t, "amd64", layer(t, 1, file{"f", "f"}))
	r.push(t, "team/app:v1", im)
	if rec := get(t, st, options(t), r.host+"/team/app:v1"); rec.ID != id(t, im) {
		t.Errorf("got %s", rec.ID)
	}
	opt := options(t)
	opt.Policy, opt.Helper = fetch.New, "/nowhere"
	get(t, st, opt, r.host+"/team/app:v1")
	err := must(fetch.Image(t.Context(), st, options(t), parse(t, r.host+"/team/none:v1")))
	if err == nil || !strings.Contains(err.Error(), "(404)") || !strings.Contains(err.Error(), "; as an ACI: ") {
		t.Errorf("nowhere: %v", err)
	}
}

func TestDiscoverAndDownload(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := sites(t)
	s.Text("https://example.com/", `<!DOCTYPE html><title><meta name=ac-discovery content="example.com https://evil.example.com/x.{ext}"></title>
<META NAME='ac-discovery' CONTENT='example.com https://a.example.com/{name}/{version}.{ext}'>
<!-- <meta name="ac-discovery" content="example.com https://evil.example.com/{version}.{ext}"> -->
<script>"<meta name='ac-discovery' content='example.com https://evil.example.com/{version}.{ext}'>"</script>
<meta name=ac-discovery content="example.co https://evil.example.com/{version}.{ext}">
<meta name=ac-discovery content="example.com https://a.example.com/{name}.{ext}">
<meta name=ac-discovery content="example.com https://a.example.com/{channel}/{version}.{ext}">
<meta name="ac-discovery-pubkeys" content="example.com https://a.example.com/keys?a=1&amp;b=2">
</head><body><meta name="ac-discovery" content="example.com https://evil.example.com/{version}.{ext}">`)
	name := func(s string) aci_.Name {
		n, err := aci_.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for in, want := range map[string]string{
		"example.com/app:v 1":                    "https://a.example.com/example.com/app/v%201.aci https://a.example.com/example.com/app/v%201.aci.asc",
		"example.com/app":                        "https://a.example.com/example.com/app.aci https://a.example.com/example.com/app.aci.asc",
		"example.com/app:v1,channel=../x?y#z":    "https://a.example.com/../x%3Fy%23z/v1.aci https://a.example.com/../x%3Fy%23z/v1.aci.asc",
		"example.com/app/of/many/components:1.0": "https://a.example.com/example.com/app/of/many/components/1.0.aci https://a.example.com/example.com/app/of/many/components/1.0.aci.asc",
	} {
		d, err := fetch.Discover(t.Context(), options(t), name(in))
		if err != nil || len(d.Endpoints) != 1 || d.Endpoints[0].ACI+" "+d.Endpoints[0].ASC != want {
			t.Errorf("%s: %+v, %v; want %s", in, d, err, want)
		}
		if len(d.PublicKeys) != 1 || d.PublicKeys[0] != "https://a.example.com/keys?a=1&b=2" {
			t.Errorf("%s: keys %q", in, d.PublicKeys)
		}
	}
	s.Text("https://a.example.com/keys", "0123456789")
	if b, err := fetch.Download(t.Context(), options(t), "https://a.example.com/keys?a=1&b=2", 10); err != nil || string(b) != "0123456789" {
		t.Errorf("download: %q, %v", b, err)
	}
	if _, err := fetch.Download(t.Context(), options(t), "https://a.example.com/keys", 9); err == nil || !strings.Contains(err.Error(), "longer than 9 bytes") {
		t.Errorf("download of too much: %v", err)
	}
	s.Handle("https://a.example.com/endless", func(w http.ResponseWriter, _ *http.Request) {
		for range 1000 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	if _, err := fetch.Download(t.Context(), options(t), "https://a.example.com/endless", 1<<20); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("download without end: %v", err)
	}
	if _, err := fetch.Discover(t.Context(), options(t), name("example.org/app")); err == nil || !strings.Contains(err.Error(), "(404)") {
		t.Errorf("no discovery: %v", err)
	}
}

// lookup is what a store knows of a URL.
func lookup(t *testing.T, st *store.Store, url string) store.URLState {
	t.Helper()
	u, ok := st.URL(url)
	if !ok {
		t.Fatalf("nothing is known of %s", url)
	}
	return u
}

// A page that cannot be had, or says nothing of the name, sends the question up;
// one on another host is followed.
func TestDiscoveryWalk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name, err := aci_.ParseName("example.com/a/b:v1")
	if err != nil {
		t.Fatal(err)
	}
	for what, h := range map[string]http.HandlerFunc{
		"401":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"403":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
		"404":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		"429":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"500":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"silent": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>hello")) },
		"others'": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`<meta name=ac-discovery content="example.com/ab https://x.example.com/{name}.{ext}">`))
		},
		"loop": func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, q.RequestURI, 302) },
		"http": func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, "http://example.com/page", 302) },
	} {
		s := sites(t)
		s.Handle("https://example.com/a/b", h)
		s.Text("http://example.com/page", `<meta name=ac-discovery content="example.com https://evil.example.com/{name}.{ext}">`)
		s.Handle("https://example.com/a", func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, "https://www.example.com/page", 301) })
		s.Text("https://www.example.com/page", page)
		d, err := fetch.Discover(t.Context(), options(t), name)
		if err != nil || len(d.Endpoints) != 1 || d.Endpoints[0].ACI != place("example.com/a/b", "v1") {
			t.Errorf("%s: %+v, %v", what, d, err)
		}
		s.Gone("https://example.com/a")
		if d, err := fetch.Discover(t.Context(), options(t), name); err == nil {
			t.Errorf("%s: with nothing above it: %+v", what, d)
		}
	}
}

// TestDiscoveryIsBounded: neither a name with a page for each of hundreds of
// components nor a page that never ends makes anybody wait for ever.
func TestDiscoveryIsBounded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := sites(t)
	s.Text("https://example.com/", page)
	long := "example.com" + strings.Repeat("/a", wire.MaxComponents-1)
	for in, ok := range map[string]bool{long: true, long + "/a": false, "example.com" + strings.Repeat("/a", 300): false} {
		name, err := aci_.ParseName(in)
		if err != nil {
			t.Fatal(err)
		}
		s.Asked()
		_, err = fetch.Discover(t.Context(), options(t), name)
		if asked := len(s.Asked()); ok != (err == nil) || ok != (asked > 0) {
			t.Errorf("%d components: %v, and %d pages asked for", 1+strings.Count(in, "/"), err, asked)
		}
	}
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	s.Handle("https://slow.example.com/app", func(w http.ResponseWriter, r *http.Request) {
		for {
			_, err := w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			select {
			case <-ended:
				return
			case <-r.Context().Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
			if err != nil {
				return
			}
		}
	})
	opt := options(t)
	opt.StallMillis = 50
	name, err := aci_.ParseName("slow.example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fetch.Discover(t.Context(), opt, name); err == nil || !strings.Contains(err.Error(), "for a page") {
		t.Errorf("a page that never ends: %v", err)
	}
}
