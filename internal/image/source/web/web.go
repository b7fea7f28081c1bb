// SPDX-License-Identifier: Apache-2.0

// Package web asks web servers for ACIs, their signatures and keys, and for the
// pages that announce where those are (appc 0.8.11, "App Container Image
// Discovery"). Over https, unless plain http is allowed; credentials go to the
// host they are meant for, over https, and nowhere else. It proves nothing:
// that is the reader's part.
package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// Client asks web servers as one request of rkt's wants it. It is safe for
// concurrent use; Close it to drop idle connections.
type Client struct {
	transfer.Pace
	req  wire.Request
	web  wire.Web
	http http.Client
	now  func() time.Time // of a signed request
}

// New prepares for req, whose Web is set; nothing is sent yet.
func New(req wire.Request) (*Client, error) {
	if req.Web == nil {
		return nil, errors.New("cannot ask web servers: the request names none")
	}
	c := &Client{Pace: transfer.PaceOf(req), req: req, web: *req.Web, now: time.Now}
	t := c.Transport(req.SkipTLSVerify)
	t.MaxResponseHeaderBytes = 64 << 10
	t.ForceAttemptHTTP2 = true
	c.http.Transport = t
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// failure is why a server did not give what was asked for.
type failure struct {
	transfer.Failure
	code    int  // of its answer, or 0
	missing bool // it has no such thing
}

// Missing is for wire.AsError.
func (f *failure) Missing() bool { return f.missing }

// response is an answer below 400; its body fails once no byte has come for
// the stall time.
type response struct {
	*http.Response
	done func()
}

// get asks for u and follows redirects. headers are sent to every host on the
// way: they say what is wanted, never who we are.
func (c *Client) get(ctx context.Context, u string, headers http.Header) (*response, error) {
	at, err := url.Parse(u)
	if err != nil {
		return nil, fmt.Errorf("cannot use URL %q", u)
	}
	first := *at
	for hop := 0; ; hop++ {
		if err := c.allowed(at, &first, hop); err != nil {
			return nil, err
		}
		resp, err := c.once(ctx, at, headers, origin(at) == origin(&first))
		if err != nil {
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			if resp.StatusCode >= 400 {
				err := c.refused(resp.Response, at, &first)
				resp.done()
				return nil, err
			}
			return resp, nil
		}
		next, err := resp.Location()
		resp.done()
		if err != nil {
			return nil, fmt.Errorf("%s redirects to nowhere", at.Host)
		}
		if hop == wire.MaxRedirects {
			return nil, fmt.Errorf("%s redirects more than %d times", first.Host, wire.MaxRedirects)
		}
		at = next
	}
}

// allowed refuses places that must not be asked.
func (c *Client) allowed(u, first *url.URL, hop int) error {
	switch {
	case u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("cannot use URL %q: it is neither https nor http", u.Redacted())
	case u.User != nil:
		return hint.Wrap(fmt.Errorf("cannot use URL %q: it has a password in it", u.Redacted()),
			"credentials belong into rkt's auth.d")
	case len(u.String()) > wire.MaxURL:
		return fmt.Errorf("cannot use a URL of %s that is longer than %d bytes", u.Host, wire.MaxURL)
	case u.Scheme == "https" || c.req.AllowHTTP:
		return nil
	case hop > 0:
		return fmt.Errorf("refused a redirect from %s to plain http on %s", first.Host, u.Host)
	}
	return hint.Wrap(fmt.Errorf("refused plain http to %s", u.Host),
		"use https, or give --insecure-options=http")
}

// origin is what credentials are bound to.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// once sends one request, with credentials if there are some for the host.
func (c *Client) once(ctx context.Context, u *url.URL, headers http.Header, ours bool) (*response, error) {
	peer := transfer.Peer{Name: "server " + u.Host, NoTLS: "if that is meant, give --insecure-options=http", Stall: c.Stall}
	ctx, watch := transfer.NewWatch(ctx, c.Stall, &failure{Failure: transfer.Failure{Again: true, Err: peer.Stalled()}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		watch.Stop()
		return nil, fmt.Errorf("cannot use URL %q", u.Redacted())
	}
	for k, v := range headers {
		req.Header[k] = v
	}
	if c.req.UserAgent != "" {
		req.Header.Set("User-Agent", c.req.UserAgent)
	}
	if ours {
		c.authorize(req)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		} else {
			err = &failure{Failure: *peer.Explain(err)}
		}
		watch.Stop()
		return nil, err
	}
	body := watch.Body(resp.Body)
	resp.Body = body
	return &response{resp, func() { _ = body.Close(); watch.Stop() }}, nil
}

// authorize adds the credentials for req's host, if it is asked over https.
func (c *Client) authorize(req *http.Request) {
	if req.URL.Scheme != "https" {
		return
	}
	for _, h := range c.web.Hosts {
		if origin(&url.URL{Scheme: "https", Host: h.Host}) != origin(req.URL) {
			continue
		}
		switch h.Type {
		case wire.AuthBasic:
			req.SetBasicAuth(h.User, h.Secret)
		case wire.AuthBearer:
			req.Header.Set("Authorization", "Bearer "+h.Secret)
		case wire.AuthAWS:
			signAWS(req, h, c.now())
		}
		return
	}
}

// refused explains an answer of 400 and more.
func (c *Client) refused(resp *http.Response, u, first *url.URL) error {
	what := fmt.Sprintf("%s://%s%s", u.Scheme, u.Host, u.EscapedPath()) // a query may hold secrets
	code := resp.StatusCode
	f := &failure{code: code, missing: code == http.StatusNotFound || code == http.StatusGone}
	f.Again = code >= 500 || code == http.StatusRequestTimeout || code == http.StatusTooManyRequests
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		f.After = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	}
	say := func(remedy, format string, args ...any) error {
		f.Err = fmt.Errorf(format, args...)
		if remedy != "" {
			f.Err = hint.Wrap(f.Err, remedy)
		}
		return f
	}
	switch {
	case code == http.StatusUnauthorized && u.Scheme == "http" && c.hasHost(first):
		return say("use https", "server %s wants credentials, which are not sent over plain http (401)", u.Host)
	case code == http.StatusUnauthorized && origin(u) != origin(first):
		return say("", "server %s, to which %s redirects, wants credentials (401)", u.Host, first.Host)
	case code == http.StatusUnauthorized:
		return say("put credentials into rkt's auth.d", "server %s does not let us read %s without valid credentials (401)", u.Host, what)
	case code == http.StatusForbidden:
		return say("check the credentials in rkt's auth.d, and the clock of this machine if they sign requests",
			"server %s denies access to %s (403)", u.Host, what)
	case f.missing:
		return say("check the name", "server %s does not have %s (%d)", u.Host, what, code)
	case code == http.StatusTooManyRequests:
		return say("wait a while", "server %s limits how often we may ask (429)", u.Host)
	case f.Again:
		return say("try again later", "server %s has an internal problem (%d)", u.Host, code)
	}
	return say("", "server %s answered with status %d for %s", u.Host, code, what)
}

// hasHost tells whether there are credentials for u's host.
func (c *Client) hasHost(u *url.URL) bool {
	for _, h := range c.web.Hosts {
		if origin(&url.URL{Scheme: u.Scheme, Host: h.Host}) == origin(u) {
			return true
		}
	}
	return false
}
