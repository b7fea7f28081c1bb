// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rkt/rkt/internal/config"

	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
)

const appURL = "https://img.example.com/dir/app.aci"

func TestURLCache(t *testing.T) {
	st, _ := open(t)
	s := sites(t)
	one := aci(t, manifest("example.com/app", "v1", ""), file{"f", "one"})
	two := aci(t, manifest("example.com/app", "v2", ""), file{"f", "two"})
	serve, control := one, ""
	var mu sync.Mutex
	var statuses []string
	s.Handle(appURL, func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("ETag", fmt.Sprintf(`"%s"`, aciID(serve).Short()))
		w.Header().Set("Cache-Control", control)
		statuses = append(statuses, q.Header.Get("If-None-Match"))
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(serve))
	})
	asked := func() int {
		mu.Lock()
		defer mu.Unlock()
		n := len(statuses)
		statuses = nil
		return n
	}
	set := func(b []byte, c string) { mu.Lock(); serve, control = b, c; mu.Unlock() }
	want := func(what string, b []byte, times int) {
		t.Helper()
		rec := get(t, st, options(t), appURL)
		if n := asked(); rec.ID != aciID(b) || n != times {
			t.Errorf("%s: got %s, want %s; asked %d times, want %d", what, rec.ID.Short(), aciID(b).Short(), n, times)
		}
	}
	want("first", one, 1)
	want("again", one, 1)
	if u := lookup(t, st, appURL); u.ID != aciID(one) || u.MaxAge != 0 {
		t.Errorf("known: %+v", u)
	}
	set(one, "public, max-age=3600")
	want("now with an age", one, 1)
	set(two, "no-cache, max-age=3600")
	want("within the age", one, 0)
	// Old by now.
	u := lookup(t, st, appURL)
	u.Asked = u.Asked.Add(-2 * time.Hour)
	if err := st.PutURL(u); err != nil {
		t.Fatal(err)
	}
	want("after the age", two, 1)
	set(two, "max-age=3600,no-store")
	want("no-cache", two, 1)
	want("no-store", two, 1)
	// An image that was removed is not what the server's 304 can mean.
	if _, err := st.Remove(aciID(two), nil); err != nil {
		t.Fatal(err)
	}
	want("removed", two, 1)

	opt := options(t)
	opt.Policy, opt.Helper = fetch.New, "/nowhere"
	get(t, st, opt, appURL)
}

// TestUncertainURL: what somebody on the way may have sent, when certificates were
// not looked at, is not taken for the server's own later: neither the whole, for
// its age or its ETag, nor the beginning of a download.
func TestUncertainURL(t *testing.T) {
	for name, risk := range map[string]func(*fetch.Options){
		"tls":  func(o *fetch.Options) { o.InsecureTLS = true },
		"http": func(o *fetch.Options) { o.InsecureHTTP = true },
	} {
		t.Run(name, func(t *testing.T) {
			st, dir := open(t)
			s := sites(t)
			f := &flaky{data: noisy(t, 7), tag: `"a"`, ranges: true, cuts: []int{4 << 20, 0, 0, 0, 0, 0, 0, 0}}
			s.Handle(appURL, func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Cache-Control", "max-age=3600")
				f.ServeHTTP(w, q)
			})
			risky := options(t)
			risk(&risky)
			fails(t, st, risky, appURL, "broke off after 4194304 bytes")
			if left, _ := filepath.Glob(filepath.Join(dir, "images/rkt/cut/*")); len(left) != 0 {
				t.Errorf("left %q", left)
			}
			f.cuts = nil
			get(t, st, risky, appURL)
			f.data = noisy(t, 8) // as it really is
			if rec := get(t, st, options(t), appURL); rec.ID != aciID(f.data) {
				t.Errorf("got %s, want %s", rec.ID.Short(), aciID(f.data).Short())
			}
		})
	}
}

// noisy is an ACI of some megabytes that cannot be guessed.
func noisy(t *testing.T, seed int64) []byte {
	t.Helper()
	b := make([]byte, 6<<20)
	rand.New(rand.NewSource(seed)).Read(b)
	return aci(t, manifest("example.com/app", "v1", ""), file{"noise", string(b)})
}

// flaky serves an ACI and breaks off after each of cuts bytes.
type flaky struct {
	mu     sync.Mutex
	data   []byte
	tag    string
	when   time.Time
	ranges bool
	cuts   []int
	asked  []string // what Range said
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, q.Header.Get("Range"))
	if f.tag != "" {
		w.Header().Set("ETag", f.tag)
	}
	if !f.ranges {
		q.Header.Del("Range")
	}
	var body http.ResponseWriter = w
	if len(f.cuts) > 0 {
		body = &cutter{w, f.cuts[0]}
		f.cuts = f.cuts[1:]
	}
	http.ServeContent(body, q, "", f.when, bytes.NewReader(f.data))
}

func (f *flaky) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.asked
	f.asked = nil
	return l
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// A transfer that breaks goes on where it ended, by ETag or by date, and in
// whole where the server knows of no ranges.
func TestResume(t *testing.T) {
	data := noisy(t, 1)
	date := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, f := range map[string]*flaky{
		"etag":      {data: data, tag: `"a"`, ranges: true, cuts: []int{1 << 20, 3 << 20}},
		"date":      {data: data, when: date, ranges: true, cuts: []int{1 << 20, 3 << 20}},
		"no ranges": {data: data, tag: `"a"`, cuts: []int{1 << 20, 3 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			st, _ := open(t)
			s := sites(t)
			s.Handle(appURL, f.ServeHTTP)
			if rec := get(t, st, options(t), appURL); rec.ID != aciID(data) {
				t.Errorf("got %s", rec.ID)
			}
			l := f.log()
			if len(l) != 3 || l[0] != "" || !strings.HasPrefix(l[1], "bytes=") || !strings.HasPrefix(l[2], "bytes=") || l[1] == l[2] {
				t.Errorf("ranges %q", l)
			}
		})
	}
	// Nothing tells whether it is still the same file.
	st, dir := open(t)
	s := sites(t)
	before := files(t, dir)
	s.Handle(appURL, (&flaky{data: data, ranges: true, cuts: []int{1 << 20}}).ServeHTTP)
	fails(t, st, options(t), appURL, "broke off after")
	s.Handle(appURL, (&flaky{data: data, tag: `W/"weak"`, ranges: true, cuts: []int{1 << 20}}).ServeHTTP)
	fails(t, st, options(t), appURL, "broke off after")
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the store changed: %q", after)
	}
}

// What one process could not finish a later one does.
func TestResumeLater(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*flaky)
		same   bool
	}{
		{"same", func(*flaky) {}, true},
		{"other", func(f *flaky) { f.data, f.tag = noisy(t, 3), `"b"` }, false},
		{"shorter", func(f *flaky) {
			f.data, f.tag = f.data[:0:0], `"c"`
			f.data = aci(t, manifest("example.com/app", "v1", ""))
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st, dir := open(t)
			s := sites(t)
			f := &flaky{data: noisy(t, 2), tag: `"a"`, ranges: true, cuts: []int{4 << 20, 0, 0, 0, 0, 0, 0, 0}}
			s.Handle(appURL, f.ServeHTTP)
			before := files(t, dir)
			fails(t, st, options(t), appURL, "broke off after 4194304 bytes")
			var kept []string
			for _, p := range files(t, dir) {
				if !slices.Contains(before, p) {
					kept = append(kept, p)
				}
			}
			if len(kept) != 2 || !strings.Contains(kept[0], "/rkt/tmp/part-") {
				t.Fatalf("kept %q", kept)
			}
			f.log()
			f.cuts = nil
			tc.change(f)
			if rec := get(t, st, options(t), appURL); rec.ID != aciID(f.data) {
				t.Errorf("got %s", rec.ID)
			}
			if l := f.log(); len(l) != 1 || !strings.HasPrefix(l[0], "bytes=") {
				t.Errorf("ranges %q, want one", l)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "images/rkt/tmp/part-*")); len(left) != 0 {
				t.Errorf("left %q", left)
			}
			if tc.same {
				if got := content(t, st, get(t, st, options(t), appURL), "noise"); len(got) != 6<<20 {
					t.Errorf("%d bytes", len(got))
				}
			}
		})
	}
}

// A server that answers with a range of another file, whatever If-Range said, is
// asked for the whole.
func TestResumeIgnoresIfRange(t *testing.T) {
	for name, opt := range map[string]bool{"tag": true, "date": false} {
		t.Run(name, func(t *testing.T) {
			st, _ := open(t)
			s := sites(t)
			// A plain tar: nothing in it tells two halves apart.
			f := &flaky{data: noisy(t, 5), ranges: true, cuts: []int{4 << 20, 0, 0, 0, 0, 0, 0, 0}}
			date := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
			if opt {
				f.tag = `"a"`
			} else {
				f.when = date
			}
			s.Handle(appURL, func(w http.ResponseWriter, q *http.Request) {
				q.Header.Del("If-Range")
				f.ServeHTTP(w, q)
			})
			fails(t, st, options(t), appURL, "broke off after 4194304 bytes")
			f.log()
			f.cuts, f.data = nil, noisy(t, 6)
			if opt {
				f.tag = `"b"`
			} else {
				f.when = date.Add(time.Hour)
			}
			if rec := get(t, st, options(t), appURL); rec.ID != aciID(f.data) {
				t.Errorf("got %s, want %s", rec.ID.Short(), aciID(f.data).Short())
			}
			if l := f.log(); len(l) != 2 || l[0] == "" || l[1] != "" {
				t.Errorf("ranges %q", l)
			}
		})
	}
}

// The bytes of an earlier process are proven like others.
func TestResumeDamaged(t *testing.T) {
	st, dir := open(t)
	s := sites(t)
	f := &flaky{data: noisy(t, 4), tag: `"a"`, ranges: true, cuts: []int{4 << 20, 0, 0, 0, 0, 0, 0, 0}}
	s.Handle(appURL, f.ServeHTTP)
	fails(t, st, options(t), appURL, "broke off after 4194304 bytes")
	kept, err := filepath.Glob(filepath.Join(dir, "images/rkt/tmp/part-*"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("%q, %v", kept, err)
	}
	slices.SortFunc(kept, func(a, b string) int { return len(a) - len(b) })
	if err := os.WriteFile(kept[0], make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	f.cuts = nil
	if err := must(fetch.Image(t.Context(), st, options(t), parse(t, appURL))); err == nil {
		t.Error("took an image whose beginning is zeros")
	}
	if rec := get(t, st, options(t), appURL); rec.ID != aciID(f.data) {
		t.Errorf("got %s", rec.ID)
	}
}

// An interrupted fetch keeps what it has.
func TestInterrupted(t *testing.T) {
	st, dir := open(t)
	s := sites(t)
	data := noisy(t, 5)
	ctx, cancel := context.WithCancel(t.Context())
	s.Handle(appURL, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:5<<20])
		_ = http.NewResponseController(w).Flush()
		// Until rkt has some of it.
		for {
			if m, _ := filepath.Glob(filepath.Join(dir, "images/rkt/tmp/*")); len(m) > 0 {
				if fi, err := os.Stat(m[0]); err == nil && fi.Size() >= store.MinPartial {
					break
				}
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-q.Context().Done()
	})
	if err := must(fetch.Image(ctx, st, options(t), parse(t, appURL))); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
	if kept, _ := filepath.Glob(filepath.Join(dir, "images/rkt/tmp/part-*")); len(kept) != 2 {
		t.Errorf("kept %q", kept)
	}
}

func withAuth(t *testing.T, a map[string]config.Auth) fetch.Options {
	opt := options(t)
	opt.Config = func() (*config.Config, error) { return &config.Config{Auth: a}, nil }
	return opt
}

// Credentials go to the host they are for, and do not follow redirects away
// from it.
func TestCredentials(t *testing.T) {
	s := sites(t)
	img := aci(t, manifest("example.com/app", "v1", ""))
	type seen struct{ where, auth string }
	var mu sync.Mutex
	var log []seen
	note := func(q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		scheme := "http"
		if q.TLS != nil {
			scheme = "https"
		}
		log = append(log, seen{scheme + "://" + q.Host, q.Header.Get("Authorization")})
	}
	targets := []string{"https://img.example.com/real.aci", "https://other.example.com/real.aci", "https://img.example.com:8443/real.aci", "http://img.example.com/real.aci"}
	for _, target := range targets {
		s.Handle(target, func(w http.ResponseWriter, q *http.Request) { note(q); _, _ = w.Write(img) })
	}
	for _, tc := range []struct {
		auth config.Auth
		want string
	}{
		{config.Auth{Type: "basic", Basic: config.BasicAuth{User: "me", Password: "secret"}}, "Basic bWU6c2VjcmV0"},
		{config.Auth{Type: "oauth", OAuth: config.OAuth{Token: "tok"}}, "Bearer tok"},
	} {
		for _, target := range targets {
			st, _ := open(t)
			log = nil
			s.Handle(appURL, func(w http.ResponseWriter, q *http.Request) { note(q); http.Redirect(w, q, target, http.StatusFound) })
			opt := withAuth(t, map[string]config.Auth{"img.example.com": tc.auth})
			opt.InsecureHTTP = true
			get(t, st, opt, appURL)
			follow := ""
			if target == targets[0] {
				follow = tc.want
			}
			host := target[:strings.LastIndexByte(target, '/')]
			if !slices.Equal(log, []seen{{"https://img.example.com", tc.want}, {host, follow}}) {
				t.Errorf("%s: %v", target, log)
			}
		}
	}
	// Nor over plain http, nor to a host that only begins alike.
	st, _ := open(t)
	log = nil
	opt := withAuth(t, map[string]config.Auth{"img.example.com": {Type: "oauth", OAuth: config.OAuth{Token: "tok"}}})
	opt.InsecureHTTP = true
	get(t, st, opt, targets[3])
	get(t, st, opt, targets[1])
	get(t, st, opt, targets[2])
	for _, l := range log {
		if l.auth != "" {
			t.Errorf("%s got %q", l.where, l.auth)
		}
	}
	// A redirect does not make rkt use what it has for the other host either.
	log = nil
	opt = withAuth(t, map[string]config.Auth{"other.example.com": {Type: "oauth", OAuth: config.OAuth{Token: "tok"}}})
	s.Handle(appURL, func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, targets[1], http.StatusFound) })
	get(t, st, opt, appURL)
	if len(log) != 1 || log[0].auth != "" {
		t.Errorf("redirected: %v", log)
	}
	fails(t, st, options(t), "https://me:secret@img.example.com/real.aci", "has a password in it")
}

// Ten redirects are followed, and not one more.
func TestRedirects(t *testing.T) {
	st, _ := open(t)
	s := sites(t)
	img := aci(t, manifest("example.com/app", "v1", ""))
	hop := func(i int) string { return fmt.Sprintf("https://m%d.example.com/app.aci", i) }
	for i := range 11 {
		s.Handle(hop(i), func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, hop(i+1), http.StatusTemporaryRedirect)
		})
	}
	s.File(hop(11), img)
	get(t, st, options(t), hop(1))
	fails(t, st, options(t), hop(0), "m0.example.com redirects more than 10 times")
}

func TestRefusedURLs(t *testing.T) {
	st, dir := open(t)
	s := sites(t)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	before := files(t, dir)
	for _, tc := range []struct {
		h    http.HandlerFunc
		says string
	}{
		{status(401), "without valid credentials (401)"},
		{status(403), "denies access to https://img.example.com/dir/app.aci (403)"},
		{status(404), "does not have https://img.example.com/dir/app.aci (404)"},
		{status(429), "limits how often we may ask (429)"},
		{status(500), "internal problem (500)"},
		{status(418), "answered with status 418"},
		{status(202), "will have https://img.example.com/dir/app.aci later (202)"},
		{func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, q.URL.Path, 302) }, "redirects more than 10 times"},
		{func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, "file:///etc/passwd", 302) }, "neither https nor http"},
		{func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://img.example.com/app.aci", 302)
		}, "refused a redirect from img.example.com to plain http"},
		{func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }, "redirects to nowhere"},
		{func(w http.ResponseWriter, q *http.Request) { panic(http.ErrAbortHandler) }, "lost the connection"},
		{func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(206)
		}, "asked for bytes from 0 on"},
	} {
		s.Handle(appURL, tc.h)
		fails(t, st, options(t), appURL, tc.says)
	}
	fails(t, st, options(t), "https://untrusted.example.net/app.aci", "cannot trust server untrusted.example.net")
	fails(t, st, options(t), "https://img.example.com/"+strings.Repeat("a", 5000)+".aci", "too long")
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the store changed: %q", after)
	}
}

// A signature lies beside the image; one that is not there yet is asked for
// once more after the image.
func TestSignatureRequests(t *testing.T) {
	st, _ := open(t)
	s := sites(t)
	s.File("https://img.example.com/dir/app.aci", aci(t, manifest("example.com/app", "v1", "")))
	opt := options(t)
	opt.InsecureImage = false
	ask := func() (order []string) {
		_ = must(fetch.Image(t.Context(), st, opt, parse(t, appURL+"?x=1")))
		for _, l := range s.Asked() {
			l, _ = strings.CutPrefix(l, "https://img.example.com/dir/app.aci")
			order = append(order, l)
		}
		return order
	}
	if got := ask(); !slices.Equal(got, []string{".asc?x=1", "?x=1"}) {
		t.Errorf("no signature: asked %q", got)
	}
	s.Handle("https://img.example.com/dir/app.aci.asc", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) })
	if got := ask(); !slices.Equal(got, []string{".asc?x=1", "?x=1", ".asc?x=1"}) {
		t.Errorf("a deferred signature: asked %q", got)
	}
	s.Handle("https://img.example.com/dir/app.aci.asc", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	fails(t, st, opt, appURL, "its signature: server img.example.com has an internal problem (500)")
	opt.Signature = filepath.Join(t.TempDir(), "none.asc")
	fails(t, st, opt, appURL, "cannot read signature")
	s.Asked()
	opt.Signature, opt.InsecureImage = "", true
	if got := ask(); !slices.Equal(got, []string{"?x=1"}) {
		t.Errorf("insecure: asked %q", got)
	}
}

// Requests to S3 are signed, those that resume with their Range, and others
// get nothing of the key.
func TestAWSCredentials(t *testing.T) {
	st, _ := open(t)
	s := sites(t)
	const url = "https://bucket.s3.eu-central-1.amazonaws.com/app.aci"
	f := &flaky{data: noisy(t, 6), tag: `"a"`, ranges: true, cuts: []int{1 << 20}}
	var mu sync.Mutex
	var got []http.Header
	s.Handle(url, func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		got = append(got, q.Header.Clone())
		mu.Unlock()
		f.ServeHTTP(w, q)
	})
	opt := withAuth(t, map[string]config.Auth{"bucket.s3.eu-central-1.amazonaws.com": {Type: "aws", AWS: config.AWS{AccessKeyID: "ID", SecretAccessKey: "secret"}}})
	get(t, st, opt, url)
	if len(got) != 2 {
		t.Fatalf("%d requests", len(got))
	}
	for i, signed := range []string{"host;x-amz-content-sha256;x-amz-date", "host;range;x-amz-content-sha256;x-amz-date"} {
		a := got[i].Get("Authorization")
		if !strings.HasPrefix(a, "AWS4-HMAC-SHA256 Credential=ID/") || !strings.Contains(a, "/eu-central-1/s3/aws4_request, SignedHeaders="+signed+", Signature=") {
			t.Errorf("request %d: %q", i, a)
		}
		if strings.Contains(fmt.Sprint(got[i]), "secret") {
			t.Errorf("request %d sends the secret", i)
		}
	}
}
