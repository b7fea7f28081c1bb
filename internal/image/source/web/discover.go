// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/retry"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// Discover looks for what is announced of the request's name: at
// https://NAME?ac-discovery=1, then with one component less at a time, until
// both endpoints and keys are found or nothing is left of the name. Where plain
// http is allowed it is tried after https.
func (c *Client) Discover(ctx context.Context) (wire.Discovered, error) {
	var found wire.Discovered
	var first error
	for at, more := c.web.Name, true; more; {
		page, err := c.page(ctx, at)
		if ctx.Err() != nil {
			return wire.Discovered{}, context.Cause(ctx)
		}
		var f *failure
		if more = err == nil || !errors.As(err, &f) || !f.Dial; err == nil {
			var d wire.Discovered
			if d, err = c.announced(page); err != nil {
				err = fmt.Errorf("%s %w", at, err)
			}
			if len(found.Endpoints) == 0 {
				found.Endpoints = d.Endpoints
			}
			if len(found.PublicKeys) == 0 {
				found.PublicKeys = d.PublicKeys
			}
		}
		if len(found.Endpoints) > 0 && len(found.PublicKeys) > 0 {
			return found, nil
		}
		if first == nil {
			first = err
		}
		i := strings.LastIndexByte(at, '/')
		at = at[:max(i, 0)]
		more = more && i > 0 // what cannot be reached has no other pages either
	}
	if len(found.Endpoints) == 0 && len(found.PublicKeys) == 0 {
		return wire.Discovered{}, first
	}
	return found, nil
}

// errSilent says that a page is there, and announces nothing of use.
var errSilent = errors.New("announces no such image")

// pageStalls is how many times the stall time a page may take as a whole.
const pageStalls = 4

// page gets one page, over https or, where allowed, http.
func (c *Client) page(ctx context.Context, at string) (string, error) {
	if c.web.Port != 0 {
		host, path, _ := strings.Cut(at+"/", "/")
		at = strings.TrimSuffix(host+":"+strconv.Itoa(int(c.web.Port))+"/"+path, "/")
	}
	page, err := c.pageBy(ctx, "https://"+at)
	if err != nil && c.req.AllowHTTP && ctx.Err() == nil {
		if p, herr := c.pageBy(ctx, "http://"+at); herr == nil {
			return p, nil
		}
	}
	return page, err
}

func (c *Client) pageBy(ctx context.Context, u string) (page string, err error) {
	const tries = 3
	err = retry.Do(ctx, tries, c.Pause, func() error {
		// Bytes that come one by one are no stall, and a name has many pages.
		_, at, _ := strings.Cut(u, "://")
		at, _, _ = strings.Cut(at, "/")
		ctx, cancel := context.WithTimeoutCause(ctx, pageStalls*c.Stall, fmt.Errorf("server %s took more than %v for a page", at, pageStalls*c.Stall))
		defer cancel()
		resp, err := c.get(ctx, u+"?ac-discovery=1", http.Header{"Accept": {"text/html, */*;q=0.1"}})
		if err != nil {
			// Another host may have the image: no time is lost here over one
			// that does not answer.
			if f := (*failure)(nil); errors.As(err, &f) && f.Dial {
				f.Again = false
			}
			return err
		}
		defer resp.done()
		b, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxPage))
		page = string(b)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return &failure{Failure: transfer.Failure{Again: true, Err: fmt.Errorf("lost the connection to server %s", resp.Request.URL.Host)}}
		}
		return nil
	})
	return page, err
}

// announced reads a page: what it says of names other than the request's does
// not count. Of the templates those count that can be filled in from the most
// labels; a name without a version is the version "latest" to templates that
// want one, if there are no others. The error is errSilent, or says why what it
// announces is of no use.
func (c *Client) announced(page string) (d wire.Discovered, err error) {
	err = errSilent
	note := func(e error) {
		if err == errSilent { //nolint:errorlint // only itself
			err = e
		}
	}
	var templates []string
	for _, m := range metas(page) {
		words := strings.Fields(m.content)
		if len(words) != 2 || !within(c.web.Name, words[0]) {
			continue
		}
		switch m.name {
		case "ac-discovery":
			templates = append(templates, words[1])
		case "ac-discovery-pubkeys":
			if kerr := c.usable(words[1]); kerr != nil {
				note(kerr)
			} else if len(d.PublicKeys) < wire.MaxEndpoints {
				d.PublicKeys = append(d.PublicKeys, words[1])
			}
		}
	}
	labels := maps.Clone(c.web.Labels)
	for range 2 {
		most := 0
		for _, t := range templates {
			e, used, terr := c.endpoint(t, labels)
			switch {
			case terr != nil:
				note(terr)
				continue
			case used < most:
				continue
			case used > most:
				most, d.Endpoints = used, nil
			}
			if len(d.Endpoints) < wire.MaxEndpoints {
				d.Endpoints = append(d.Endpoints, e)
			}
		}
		if len(d.Endpoints) > 0 {
			return d, nil
		}
		if _, ok := labels["version"]; ok {
			break
		}
		err = errSilent // what is said in the second round is what counts
		if labels == nil {
			labels = map[string]string{}
		}
		labels["version"] = "latest"
	}
	return d, err
}

// within compares by component: "example.com/foo" says nothing of
// "example.com/foobar".
func within(name, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return name == prefix || strings.HasPrefix(name, prefix+"/")
}

// endpoint fills in a template, for the image and for its signature, and tells
// from how many labels.
func (c *Client) endpoint(template string, labels map[string]string) (e wire.Endpoint, used int, err error) {
	if e.ACI, used, err = c.fill(template, labels, "aci"); err != nil {
		return e, 0, err
	}
	e.ASC, _, err = c.fill(template, labels, "aci.asc")
	if err == nil && e.ASC == e.ACI { // a template without {ext}
		e.ASC += ".asc"
	}
	return e, used, err
}

// fill replaces each {label}; one that the name does not have makes the
// template useless.
func (c *Client) fill(template string, labels map[string]string, ext string) (filled string, used int, err error) {
	var b strings.Builder
	seen := map[string]bool{}
	for rest := template; ; {
		before, after, found := strings.Cut(rest, "{")
		b.WriteString(before)
		if b.Len() > wire.MaxURL {
			return "", 0, fmt.Errorf("announces a place whose URL is longer than %d bytes", wire.MaxURL)
		}
		if !found {
			return b.String(), len(seen), c.usable(b.String())
		}
		label, after, closed := strings.Cut(after, "}")
		value, ok := labels[label]
		switch {
		case !closed:
			return "", 0, fmt.Errorf("announces %.200q, which is no template", template)
		case label == "name":
			value = c.web.Name
		case label == "ext":
			value = ext
		case !ok:
			return "", 0, hint.Wrap(fmt.Errorf("announces the image by its label %q", label),
				fmt.Sprintf("name the image with ,%s=VALUE", label))
		default:
			seen[label] = true
		}
		b.WriteString(escape(value))
		rest = after
	}
}

// escape keeps a label's value from being anything but part of a path.
func escape(s string) string {
	parts := strings.Split(s, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// usable refuses a URL that would not be asked anyway.
func (c *Client) usable(u string) error {
	at, err := url.Parse(u)
	switch {
	case err != nil || at.Host == "" || at.User != nil || len(u) > wire.MaxURL || at.Scheme != "https" && at.Scheme != "http":
		return fmt.Errorf("announces %.200q, which is no URL", u)
	case at.Scheme == "http" && !c.req.AllowHTTP:
		return hint.Wrap(fmt.Errorf("announces only a place with plain http, %s", at.Host),
			"if that is meant, give --insecure-options=http")
	}
	return nil
}
