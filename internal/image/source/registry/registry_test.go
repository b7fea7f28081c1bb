// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// served is a registry with one image, app:v1, behind a handler that tests
// replace.
type served struct {
	*httptest.Server
	host  string
	image v1.Image
	layer wire.Descriptor
	data  []byte // of layer, as served

	mu       sync.Mutex
	requests []string
}

func (s *served) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

// serve starts a registry, pushes an image into it, and then puts wrap in
// front of it.
func serve(t *testing.T, start func(http.Handler) *httptest.Server, wrap func(http.Handler) http.Handler) *served {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", os.Getenv("HOME")+"/.docker") // docker/cli remembers the first HOME
	for _, v := range []string{"REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"} {
		t.Setenv(v, "")
	}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := &served{}
	handler := inner
	var armed atomic.Bool
	s.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if armed.Load() {
			s.mu.Lock()
			s.requests = append(s.requests, r.Method+" "+r.URL.Path)
			s.mu.Unlock()
			handler.ServeHTTP(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.host = u.Host
	if s.image, err = random.Image(300<<10, 2, random.WithSource(rand.NewSource(1))); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(s.host + "/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, s.image, remote.WithTransport(s.Client().Transport)); err != nil {
		t.Fatal(err)
	}
	layers, err := s.image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := layers[0].Digest()
	rc, _ := layers[0].Compressed()
	s.data, _ = io.ReadAll(rc)
	s.layer = wire.Descriptor{Digest: d.String(), Size: int64(len(s.data))}
	if wrap != nil {
		handler = wrap(inner)
	}
	armed.Store(true)
	return s
}

func (s *served) request() wire.Request {
	return wire.Request{Kind: wire.Docker, Registry: s.host, Repository: "app", Reference: "v1",
		StallMillis: 5000, RetryMillis: 1}
}

func open(t *testing.T, req wire.Request) *Image {
	t.Helper()
	im, err := New(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(im.Close)
	return im
}

func read(im *Image, d wire.Descriptor) ([]byte, error) {
	r, err := im.Open(context.Background(), wire.Want{Blob: d})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestPlainHTTPOnLoopback(t *testing.T) {
	s := serve(t, httptest.NewServer, nil)
	im := open(t, s.request())
	root, err := im.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := s.image.RawManifest()
	if !bytes.Equal(root.Data, want) || root.MediaType != "application/vnd.docker.distribution.manifest.v2+json" {
		t.Errorf("Root = %s %s", root.MediaType, root.Data)
	}
	if got, err := read(im, s.layer); err != nil || !bytes.Equal(got, s.data) {
		t.Errorf("layer: %d bytes of %d, %v", len(got), len(s.data), err)
	}
}

func TestTLS(t *testing.T) {
	s := serve(t, httptest.NewTLSServer, nil)
	req := s.request()
	_, err := open(t, req).Root(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot trust registry") || !strings.Contains(hint.Of(err), "insecure-options=tls") {
		t.Errorf("Root with an unknown authority = %v (hint %q)", err, hint.Of(err))
	}
	req.SkipTLSVerify = true
	if _, err := open(t, req).Root(t.Context()); err != nil {
		t.Errorf("Root with SkipTLSVerify = %v", err)
	}
}

// Only loopback, configuration and --insecure-options=http allow plain http.
func TestPlainHTTPElsewhere(t *testing.T) {
	for _, tc := range []struct {
		host    string
		plain   bool
		allow   bool
		schemes string
		secrets bool
	}{
		{"localhost:5000", false, false, "https http", true},
		{"127.0.0.2", false, false, "https http", true},
		{"[::1]:5000", false, false, "https http", true},
		{"10.0.0.1:5000", false, false, "https", false},
		{"192.168.1.1", false, false, "https", false},
		{"registry.localhost.example", false, false, "https", false},
		{"127.0.0.1.example.com", false, false, "https", false},
		{"example.com", true, false, "http", true},
		{"example.com", false, true, "https http", false},
	} {
		im := open(t, wire.Request{Registry: tc.host, Repository: "a", AllowHTTP: tc.allow,
			Registries: []wire.Registry{{Name: tc.host, PlainHTTP: tc.plain}}})
		e := im.endpoints[0]
		if got := strings.Join(e.schemes, " "); got != tc.schemes || e.sendSecrets != tc.secrets {
			t.Errorf("%s (plain %v, allow %v): schemes %q, secrets %v", tc.host, tc.plain, tc.allow, got, e.sendSecrets)
		}
	}
}

func onBlobs(f func(http.ResponseWriter, *http.Request, http.Handler)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				f(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// A transfer that breaks is taken up where it ended.
func TestResume(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		var s *served
		var asked []string
		s = serve(t, httptest.NewServer, onBlobs(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			asked = append(asked, r.Header.Get("Range"))
			off := 0
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off); err == nil && ranges {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, len(s.data)-1, len(s.data)))
				w.Header().Set("Content-Length", strconv.Itoa(len(s.data)-off))
				w.WriteHeader(http.StatusPartialContent)
			} else {
				off = 0
				w.Header().Set("Content-Length", strconv.Itoa(len(s.data)))
			}
			if len(asked) < 3 {
				_, _ = w.Write(s.data[off : len(s.data)*len(asked)/3])
				panic(http.ErrAbortHandler) // cuts the connection
			}
			_, _ = w.Write(s.data[off:])
		}))
		got, err := read(open(t, s.request()), s.layer)
		if err != nil || !bytes.Equal(got, s.data) {
			t.Errorf("ranges %v: %d bytes of %d, %v", ranges, len(got), len(s.data), err)
		}
		if want := fmt.Sprintf("bytes=%d-%d", len(s.data)/3, len(s.data)-1); len(asked) != 3 || asked[1] != want {
			t.Errorf("ranges %v: asked for %q, want second %q", ranges, asked, want)
		}
	}
}

func TestFaults(t *testing.T) {
	status := func(code int, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	var s *served
	for _, tc := range []struct {
		name  string
		serve func(http.ResponseWriter, *http.Request, http.Handler)
		stall int
		says  string
		asks  int
	}{
		{"401", status(401, `{"errors":[{"code":"UNAUTHORIZED","message":"go away"}]}`), 0, "without valid credentials (401): go away", 1},
		{"403", status(403, ""), 0, "denies access", 1},
		{"404", status(404, ""), 0, "does not have blob", 1},
		{"429", status(429, ""), 0, "limits how often we may ask (429)", transfer.MaxStreak},
		{"500", status(500, ""), 0, "internal problem (500)", transfer.MaxStreak},
		{"418", status(418, ""), 0, "answered with status 418", 1},
		{"truncated", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			if r.Header.Get("Range") != "" {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(s.data[:1000])
			w.(http.Flusher).Flush() // so that there is no length
		}, 0, "lost the connection", 0},
		{"truncated quietly", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 1000-1999/%d", len(s.data)))
				w.WriteHeader(http.StatusPartialContent)
				return
			}
			_, _ = w.Write(s.data[:1000])
			w.(http.Flusher).Flush()
		}, 0, "ended after 1000 of", transfer.MaxStreak},
		{"wrong length", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write(s.data[:10])
		}, 0, "is 10 bytes long, the manifest says", 1},
		{"too long", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = w.Write(s.data)
			_, _ = w.Write(s.data)
		}, 0, "is longer than the manifest says", 1},
		{"another size", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 1000-1999/2000")
				w.WriteHeader(http.StatusPartialContent)
				return
			}
			_, _ = w.Write(s.data[:1000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, 0, "is 2000 bytes long, the manifest says", 2},
		{"stalled body", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Length", strconv.Itoa(len(s.data)))
			_, _ = w.Write(s.data[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, 50, "stalled: no byte for 50ms", 0},
		{"stalled head", func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
			<-r.Context().Done()
		}, 50, "stalled: no byte for 50ms", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s = serve(t, httptest.NewServer, onBlobs(tc.serve))
			req := s.request()
			if tc.stall != 0 {
				req.StallMillis = tc.stall
			}
			_, err := read(open(t, req), s.layer)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("read = %v, want %q", err, tc.says)
			}
			if n := s.count("GET /v2/app/blobs/"); tc.asks != 0 && n != tc.asks {
				t.Errorf("asked %d times, want %d", n, tc.asks)
			}
		})
	}
}

func TestManifestFaults(t *testing.T) {
	for _, tc := range []struct {
		name, says string
		serve      http.HandlerFunc
	}{
		{"huge", "is larger than 4 MiB", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, wire.MaxManifest+1))
		}},
		{"another one", "is corrupt", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			_, _ = io.WriteString(w, "{}")
		}},
		{"missing", "does not have", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such tag"}]}`)
		}},
	} {
		s := serve(t, httptest.NewServer, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/manifests/") {
					tc.serve(w, r)
					return
				}
				next.ServeHTTP(w, r)
			})
		})
		if _, err := open(t, s.request()).Root(t.Context()); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: Root = %v, want %q", tc.name, err, tc.says)
		}
	}
}

// guarded asks for user:secret, by basic authentication or for a token.
func guarded(t *testing.T, token bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, pass, _ := r.BasicAuth()
			known := user == "user" && pass == "secret"
			switch {
			case r.URL.Path == "/token" && known:
				if !strings.Contains(r.URL.RawQuery, url.QueryEscape("repository:app:pull")) {
					t.Errorf("token asked with %s", r.URL.RawQuery)
				}
				_, _ = io.WriteString(w, `{"token":"ticket"}`)
				return
			case r.URL.Path == "/token":
				w.WriteHeader(http.StatusUnauthorized)
				return
			case token && r.Header.Get("Authorization") == "Bearer ticket", !token && known:
				next.ServeHTTP(w, r)
				return
			case token:
				w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="s"`, r.Host))
			default:
				w.Header().Set("Www-Authenticate", `Basic realm="r"`)
			}
			w.WriteHeader(http.StatusUnauthorized)
		})
	}
}

func TestCredentials(t *testing.T) {
	for _, token := range []bool{false, true} {
		s := serve(t, httptest.NewServer, guarded(t, token))
		_, err := open(t, s.request()).Root(t.Context())
		if err == nil || !strings.Contains(err.Error(), "(401)") || !strings.Contains(hint.Of(err), "auth.d") {
			t.Errorf("token %v, no credentials: %v (hint %q)", token, err, hint.Of(err))
		}

		req := s.request()
		req.Credentials = []wire.Credential{{Registry: s.host, User: "user", Password: "secret"}}
		if _, err := open(t, req).Root(t.Context()); err != nil {
			t.Errorf("token %v, rkt's credentials: %v", token, err)
		}

		dir := filepath.Join(os.Getenv("HOME"), ".docker")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		auth := base64.StdEncoding.EncodeToString([]byte("user:secret"))
		if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, s.host, auth), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, withCredentials(t, s.request())).Root(t.Context()); err != nil {
			t.Errorf("token %v, docker's credentials: %v", token, err)
		}
	}
}

func TestCredentialHelper(t *testing.T) {
	s := serve(t, httptest.NewServer, guarded(t, true))
	bin := t.TempDir()
	script := "#!/bin/sh\nread host\necho '{\"Username\":\"user\",\"Secret\":\"secret\"}'\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	dir := filepath.Join(os.Getenv("HOME"), ".docker")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"credHelpers":{%q:"test"}}`, s.host), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, withCredentials(t, s.request())).Root(t.Context()); err != nil {
		t.Errorf("Root = %v", err)
	}
}

// withCredentials does to a request what rkt does.
func withCredentials(t *testing.T, req wire.Request) wire.Request {
	t.Helper()
	list, err := Credentials(t.Context(), []string{req.Registry})
	if err != nil {
		t.Fatal(err)
	}
	req.Credentials = append(req.Credentials, list...)
	return req
}

// Credentials stay with the registry when it sends us elsewhere, even to
// another port of the same machine.
func TestRedirect(t *testing.T) {
	var leaked atomic.Pointer[string]
	var s *served
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			leaked.Store(&a)
		}
		_, _ = w.Write(s.data)
	}))
	defer elsewhere.Close()
	for _, token := range []bool{false, true} {
		s = serve(t, httptest.NewServer, func(next http.Handler) http.Handler {
			return guarded(t, token)(onBlobs(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				http.Redirect(w, r, elsewhere.URL+"/cdn", http.StatusTemporaryRedirect)
			})(next))
		})
		req := s.request()
		req.Credentials = []wire.Credential{{Registry: s.host, User: "user", Password: "secret"}}
		got, err := read(open(t, req), s.layer)
		if err != nil || !bytes.Equal(got, s.data) {
			t.Errorf("token %v: %d bytes, %v", token, len(got), err)
		}
		if l := leaked.Load(); l != nil {
			t.Errorf("token %v: the other host got %q", token, *l)
		}
	}
}

func TestRedirectToPlainHTTP(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	s := serve(t, httptest.NewTLSServer, onBlobs(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, plain.URL, http.StatusFound)
	}))
	req := s.request()
	req.SkipTLSVerify = true
	if _, err := read(open(t, req), s.layer); err == nil || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("read = %v, want a refusal", err)
	}
}

func TestMirrors(t *testing.T) {
	s := serve(t, httptest.NewServer, nil)
	empty := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer empty.Close()
	down := httptest.NewServer(nil)
	down.Close()
	req := s.request()
	req.Registry = "registry.invalid"
	location := func(u string) string { return strings.TrimPrefix(u, "http://") }
	req.Registries = []wire.Registry{{Name: "registry.invalid", Mirrors: []wire.Mirror{
		{Location: location(down.URL), PlainHTTP: true},
		{Location: location(empty.URL), PlainHTTP: true},
		{Location: s.host, PlainHTTP: true},
	}}}
	im := open(t, req)
	if _, err := im.Root(t.Context()); err != nil {
		t.Fatalf("Root = %v", err)
	}
	if got, err := read(im, s.layer); err != nil || !bytes.Equal(got, s.data) {
		t.Errorf("layer: %d bytes, %v", len(got), err)
	}

	// A mirror that has nothing is passed over for the registry itself.
	req = s.request()
	req.Registries = []wire.Registry{{Name: s.host, Mirrors: []wire.Mirror{{Location: location(empty.URL) + "/prefix", PlainHTTP: true}}}}
	if _, err := open(t, req).Root(t.Context()); err != nil {
		t.Errorf("Root past a mirror = %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	down := httptest.NewServer(nil)
	down.Close()
	_, err := open(t, wire.Request{Registry: strings.TrimPrefix(down.URL, "http://"), Repository: "a", Reference: "b", RetryMillis: 1}).Root(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot reach registry") {
		t.Errorf("Root = %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, httptest.NewServer, onBlobs(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		cancel()
		<-r.Context().Done()
	}))
	if _, err := open(t, s.request()).Open(ctx, wire.Want{Blob: s.layer}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v, want canceled", err)
	}
}

// Elsewhere than on loopback, plain http is only spoken if it was asked for,
// and credentials are only sent over it if it was configured.
func TestSecretsOverPlainHTTP(t *testing.T) {
	var secrets, asked atomic.Int32
	s := serve(t, httptest.NewServer, func(next http.Handler) http.Handler {
		next = guarded(t, false)(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if r.Header.Get("Authorization") != "" {
				secrets.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	})
	const host = "registry.test"
	for _, tc := range []struct {
		plain, allow   bool
		says           string
		asked, secrets bool
	}{
		{false, false, "does not speak TLS", false, false},
		{false, true, "are not sent over plain http", true, false},
		{true, false, "", true, true},
	} {
		asked.Store(0)
		secrets.Store(0)
		im := open(t, wire.Request{Registry: host, Repository: "app", Reference: "v1", StallMillis: 5000, RetryMillis: 1, AllowHTTP: tc.allow,
			Registries:  []wire.Registry{{Name: host, PlainHTTP: tc.plain}},
			Credentials: []wire.Credential{{Registry: host, User: "user", Password: "secret"}}})
		im.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", s.host)
		}
		_, err := im.Root(t.Context())
		if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("plain %v, allow %v: %v, want %q", tc.plain, tc.allow, err, tc.says)
		}
		if (asked.Load() > 0) != tc.asked || (secrets.Load() > 0) != tc.secrets {
			t.Errorf("plain %v, allow %v: asked %d times over http, %d with credentials", tc.plain, tc.allow, asked.Load(), secrets.Load())
		}
	}
}

// Docker Hub's credentials are filed under the name it had once.
func TestHubCredentials(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("HOME", dir)
	auth := base64.StdEncoding.EncodeToString([]byte("user:secret"))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"auths":{"https://index.docker.io/v1/":{"auth":%q}}}`, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	req := withCredentials(t, wire.Request{Registry: hub, Repository: "library/busybox"})
	got := open(t, req).endpoints[0].credentials()
	if c, err := got.Authorization(); err != nil || c.Username != "user" || c.Password != "secret" {
		t.Errorf("credentials = %+v, %v", c, err)
	}
}
