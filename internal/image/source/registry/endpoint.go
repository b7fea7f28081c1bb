// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// endpoint is one host that has the repository.
type endpoint struct {
	im      *Image
	host    string
	repo    string
	schemes []string // to be tried in this order
	actions string   // what a token is asked for; "" is to pull
	// sendSecrets: credentials may travel over plain http.
	sendSecrets bool

	whole atomic.Bool // it cannot be asked for parts of blobs

	mu     sync.Mutex
	client *http.Client // nil until the handshake succeeded
	scheme string
}

// connect does the authentication handshake once.
func (e *endpoint) connect(ctx context.Context) (*http.Client, string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil {
		return e.client, e.scheme, nil
	}
	var first error
	for _, scheme := range e.schemes {
		rt, conclusive, err := e.handshake(ctx, scheme)
		if err == nil {
			e.scheme = scheme
			e.client = &http.Client{Transport: rt, CheckRedirect: e.redirect}
			return e.client, e.scheme, nil
		}
		if conclusive {
			return nil, "", err
		}
		if first == nil {
			first = err
		}
	}
	return nil, "", first
}

// handshake finds out how to authenticate, and does so. A conclusive failure is
// that of a host which does speak this scheme, whatever it said: a certificate
// that nobody vouches for is no reason to fall back to plain http.
func (e *endpoint) handshake(ctx context.Context, scheme string) (rt http.RoundTripper, conclusive bool, err error) {
	reg, err := name.NewRegistry(e.host)
	if err != nil {
		return nil, false, fmt.Errorf("cannot use registry name %q", e.host)
	}
	auth := authn.Anonymous
	if scheme == "https" || e.sendSecrets {
		auth = e.credentials()
	}
	only := &oneScheme{inner: e.im.transport, host: reg.RegistryStr(), scheme: scheme, agent: e.im.req.UserAgent, httpOK: e.plainOK(scheme)}
	ctx, cancel := context.WithTimeoutCause(ctx, 4*e.im.Stall, e.peer().Stalled())
	defer cancel()
	rt, err = transport.NewWithContext(ctx, reg, auth, only, []string{"repository:" + e.repo + ":" + cmp.Or(e.actions, "pull")})
	if err == nil {
		return rt, true, nil
	}
	if only.mu.Lock(); only.err != nil {
		err = only.err // ggcr tries both schemes and reports twice
	}
	only.mu.Unlock()
	var terr *transport.Error
	var cert *tls.CertificateVerificationError
	conclusive = errors.As(err, &terr) || errors.As(err, &cert)
	if terr != nil && terr.StatusCode == http.StatusUnauthorized && scheme == "http" && !e.sendSecrets {
		return nil, true, e.withheld()
	}
	return nil, conclusive, e.explain(ctx, err, "")
}

// withheld is the error of a registry that wants what we do not send it.
func (e *endpoint) withheld() error {
	return hint.Wrap(fmt.Errorf("registry %s wants credentials, which are not sent over plain http (401)", e.host),
		"configure the registry with \"plainHTTP\": true to send them")
}

// plainOK tells whether this endpoint may be sent to places without TLS.
func (e *endpoint) plainOK(scheme string) bool { return scheme == "http" || e.im.req.AllowHTTP }

// credentials are those that rkt sent along for the host, see Credentials.
func (e *endpoint) credentials() authn.Authenticator {
	for _, c := range e.im.req.Credentials {
		if c.Registry == e.host || sameHub(c.Registry, e.host) {
			return authn.FromConfig(authn.AuthConfig{Username: c.User, Password: c.Password,
				RegistryToken: c.Token, IdentityToken: c.IdentityToken})
		}
	}
	return authn.Anonymous
}

// redirect keeps the Authorization header from going to another host, where
// net/http would let it follow to another port or a subdomain.
func (e *endpoint) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	if from := via[0].URL; req.URL.Host != from.Host || req.URL.Scheme != from.Scheme {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	if req.URL.Scheme == "http" && !e.plainOK(via[0].URL.Scheme) {
		return fmt.Errorf("refused a redirect from https to plain http on %s", req.URL.Host)
	}
	return nil
}

// oneScheme keeps requests to the registry on the scheme chosen, whatever ggcr
// guesses from the host's name, and remembers the first transport error.
type oneScheme struct {
	inner  http.RoundTripper
	host   string
	scheme string
	agent  string
	httpOK bool

	mu  sync.Mutex
	err error // the first; of interest during the handshake only
}

func (o *oneScheme) RoundTrip(in *http.Request) (*http.Response, error) {
	req := in.Clone(in.Context())
	if req.URL.Host == o.host {
		req.URL.Scheme = o.scheme
	}
	if req.URL.Scheme == "http" && !o.httpOK {
		return nil, fmt.Errorf("refused plain http to %s", req.URL.Host)
	}
	if o.agent != "" {
		req.Header.Set("User-Agent", o.agent)
	}
	resp, err := o.inner.RoundTrip(req)
	if err != nil {
		o.fail(err)
	}
	return resp, err
}

func (o *oneScheme) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

// manifest gets a manifest or index by tag or digest, with its media type.
func (e *endpoint) manifest(ctx context.Context, reference string) ([]byte, string, error) {
	resp, done, err := e.get(ctx, "manifests/"+reference, func(h http.Header) { h.Set("Accept", accept) })
	if err != nil {
		return nil, "", err
	}
	defer done()
	data, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxManifest+1))
	if err != nil {
		return nil, "", e.explain(ctx, err, reference)
	}
	if len(data) > wire.MaxManifest {
		return nil, "", fmt.Errorf("manifest of %s is larger than %d MiB", e.name(reference), wire.MaxManifest>>20)
	}
	if want := resp.Header.Get("Docker-Content-Digest"); strings.HasPrefix(want, "sha256:") {
		if sum := sha256.Sum256(data); want != "sha256:"+hex.EncodeToString(sum[:]) {
			return nil, "", fmt.Errorf("manifest of %s is corrupt: the registry says %s and sent sha256:%x", e.name(reference), want, sum)
		}
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return data, strings.TrimSpace(mediaType), nil
}

func (e *endpoint) name(reference string) string {
	sep := ":"
	if strings.Contains(reference, ":") {
		sep = "@"
	}
	return e.host + "/" + e.repo + sep + reference
}

// get sends one request below the repository; the response has status 200 or
// 206, and its body fails once no byte has come for the stall time. The caller
// calls done.
func (e *endpoint) get(ctx context.Context, path string, prepare func(http.Header)) (resp *http.Response, done func(), err error) {
	client, scheme, err := e.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	path, query, _ := strings.Cut(path, "?")
	u := url.URL{Scheme: scheme, Host: e.host, Path: "/v2/" + e.repo + "/" + path, RawQuery: query}
	ctx, watch := transfer.NewWatch(ctx, e.im.Stall, e.peer().Stalled())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		watch.Stop()
		return nil, nil, err
	}
	prepare(req.Header)
	resp, err = client.Do(req)
	if err != nil {
		err = e.explain(ctx, err, path)
		watch.Stop()
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		err := e.refused(resp, path)
		_ = resp.Body.Close()
		watch.Stop()
		return nil, nil, err
	}
	resp.Body = watch.Body(resp.Body)
	return resp, func() { _ = resp.Body.Close(); watch.Stop() }, nil
}

// peer is the registry, for messages.
func (e *endpoint) peer() transfer.Peer {
	return transfer.Peer{Name: "registry " + e.host, Stall: e.im.Stall,
		NoTLS: "configure it with \"plainHTTP\": true, or give --insecure-options=http"}
}

// explain turns a transport's error into one line for the user, marked if
// another try may succeed.
func (e *endpoint) explain(ctx context.Context, err error, path string) error {
	var terr *transport.Error
	if errors.As(err, &terr) {
		return e.status(terr.StatusCode, terr.Errors, "", path)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return e.peer().Explain(err)
}

// refused explains a response other than success.
func (e *endpoint) refused(resp *http.Response, path string) error {
	var said struct {
		Errors []transport.Diagnostic `json:"errors"`
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(body, &said)
	return &answered{e.status(resp.StatusCode, said.Errors, resp.Header.Get("Retry-After"), path), resp.StatusCode}
}

// answered is an error that the registry itself reported.
type answered struct {
	error
	code int
}

func (a *answered) Unwrap() error { return a.error }

// Missing tells that the registry has no such thing.
func (a *answered) Missing() bool { return a.code == http.StatusNotFound }

func (e *endpoint) status(code int, said []transport.Diagnostic, retryAfter, path string) error {
	detail := ""
	if len(said) > 0 && said[0].Message != "" {
		detail = ": " + said[0].Message
	}
	what := e.host + "/" + e.repo
	kind, reference, ok := strings.Cut(path, "/")
	if ok && kind == "manifests" {
		what = e.name(reference)
	}
	after, _ := strconv.Atoi(retryAfter)
	switch {
	case code == http.StatusUnauthorized && e.scheme == "http" && !e.sendSecrets:
		return &refusal{e.withheld()}
	case code == http.StatusUnauthorized:
		return &refusal{hint.Wrap(fmt.Errorf("registry %s does not let us read %s without valid credentials (401)%s", e.host, what, detail),
			"check the name, or put credentials into rkt's auth.d or log in with docker or podman")}
	case code == http.StatusForbidden:
		return &refusal{hint.Wrap(fmt.Errorf("registry %s denies access to %s (403)%s", e.host, what, detail),
			"check that the account in use may pull this repository")}
	case code == http.StatusNotFound && kind == "blobs":
		return &refusal{fmt.Errorf("registry %s does not have blob %s of %s (404)", e.host, reference, what)}
	case code == http.StatusRequestedRangeNotSatisfiable && kind == "blobs":
		return &rangeError{fmt.Errorf("registry %s does not give the part asked for of blob %s (416)", e.host, reference)}
	case code == http.StatusNotFound:
		return &refusal{hint.Wrap(fmt.Errorf("registry %s does not have %s (404)%s", e.host, what, detail),
			"check the name and the tag")}
	case code == http.StatusTooManyRequests:
		return &transfer.Failure{Again: true, After: time.Duration(after) * time.Second, Err: hint.Wrap(
			fmt.Errorf("registry %s limits how often we may ask (429)%s", e.host, detail),
			"wait a while, log in for a higher limit, or configure a mirror")}
	case code >= 500 || code == http.StatusRequestTimeout:
		return &transfer.Failure{Again: true, After: time.Duration(after) * time.Second,
			Err: fmt.Errorf("registry %s has an internal problem (%d)%s", e.host, code, detail)}
	}
	return &refusal{fmt.Errorf("registry %s answered with status %d for %s%s", e.host, code, what, detail)}
}
