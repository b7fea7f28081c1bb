// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// Discovery is what a name's web server announces.
type Discovery struct {
	Endpoints  []Endpoint // to be tried in this order
	PublicKeys []string   // URLs of OpenPGP keys
}

// Endpoint holds the URLs of an image and of its signature.
type Endpoint = wire.Endpoint

// missing tells whether err says that a server was asked and has no such thing.
func missing(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Missing
}

// Discover asks, through the helper, what the web server of a name announces
// (appc 0.8.11, "App Container Image Discovery"): https://NAME?ac-discovery=1,
// then with one component of the name less at a time. A name without "os" and
// "arch" is asked for as this machine's. An answer has an
// endpoint or a key at least; that some URL in it is alive is not said.
func Discover(ctx context.Context, opt Options, name aci.Name) (Discovery, error) {
	name = name.Here()
	if n := 1 + strings.Count(string(name.Name), "/"); n > wire.MaxComponents {
		return Discovery{}, fmt.Errorf("cannot look for %.80q: its name has %d components, and at most %d are asked for", name.Name, n, wire.MaxComponents)
	}
	web := wire.Web{Name: string(name.Name), Labels: map[string]string{}, Port: opt.DiscoveryPort}
	for _, l := range name.Labels {
		web.Labels[string(l.Name)] = l.Value
	}
	h, reply, err := startWeb(ctx, opt, wire.Discovery, web)
	if err != nil {
		return Discovery{}, err
	}
	cerr := h.close()
	switch {
	case reply.Discovered == nil:
		return Discovery{}, h.gone(cerr, errNonsense)
	case len(reply.Discovered.Endpoints) > wire.MaxEndpoints || len(reply.Discovered.PublicKeys) > wire.MaxEndpoints:
		return Discovery{}, errNonsense
	}
	d := Discovery{Endpoints: reply.Discovered.Endpoints, PublicKeys: reply.Discovered.PublicKeys}
	urls := d.PublicKeys[:len(d.PublicKeys):len(d.PublicKeys)]
	for _, e := range d.Endpoints {
		urls = append(urls, e.ACI, e.ASC)
	}
	for _, u := range urls {
		if err := checkURL(u); err != nil {
			return Discovery{}, err
		}
	}
	return d, nil
}

// Download gets a small file, such as a key or a signature, of at most limit
// bytes, through the helper: over https, or http where opt allows it; at most
// wire.MaxRedirects redirects are followed.
func Download(ctx context.Context, opt Options, url string, limit int64) ([]byte, error) {
	_, data, err := downloadSmall(ctx, opt, url, limit)
	return data, err
}

// downloadSmall is Download; the data is nil if the answer is that the file
// will be there later.
func downloadSmall(ctx context.Context, opt Options, url string, limit int64) (wire.File, []byte, error) {
	if err := checkURL(url); err != nil {
		return wire.File{}, nil, err
	}
	h, reply, err := startWeb(ctx, opt, wire.URL, wire.Web{URL: url})
	if err != nil {
		return wire.File{}, nil, err
	}
	defer h.close()
	switch f := reply.File; {
	case f == nil || f.Unchanged || f.Offset != 0:
		return wire.File{}, nil, errNonsense
	case f.Deferred:
		return *f, nil, nil
	case f.Size > limit:
		return wire.File{}, nil, fmt.Errorf("%s is longer than %d bytes", url, limit)
	}
	r, _, err := h.want(ctx, wire.Want{Blob: wire.Descriptor{Size: reply.File.Size}})
	if err != nil {
		return wire.File{}, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", url, limit)
	}
	if err != nil {
		return wire.File{}, nil, err
	}
	return *reply.File, data, nil
}

var errNonsense = errors.New("cannot understand the fetch helper's answer")

// startWeb starts a helper for a request to web servers and receives its
// answer. The caller closes the helper, unless there is an error.
func startWeb(ctx context.Context, opt Options, kind string, web wire.Web) (*helper, wire.Reply, error) {
	if opt.Config != nil {
		c, err := opt.Config()
		if err != nil {
			return nil, wire.Reply{}, err
		}
		web.Hosts = hostAuth(c)
	}
	h, err := startHelper(ctx, opt, wire.Request{
		Kind: kind, Web: &web,
		SkipTLSVerify: opt.InsecureTLS, AllowHTTP: opt.InsecureHTTP,
		StallMillis: opt.StallMillis, RetryMillis: opt.RetryMillis,
		Progress: opt.Progress, UserAgent: opt.UserAgent,
	}, nil, nil)
	if err != nil {
		return nil, wire.Reply{}, err
	}
	var reply wire.Reply
	err = h.replies.Receive(&reply)
	if err != nil {
		err = h.gone(nil, err)
	} else if reply.Err != nil {
		err = reply.Err
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		_ = h.close()
		return nil, wire.Reply{}, err
	}
	return h, reply, nil
}

// checkURL bounds what is asked for, whoever named it.
func checkURL(u string) error {
	if len(u) > wire.MaxURL || !utf8.ValidString(u) || strings.ContainsFunc(u, func(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) }) {
		return fmt.Errorf("cannot use URL %.80q: it is too long or has spaces", u)
	}
	if !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
		return fmt.Errorf("cannot use URL %.80q: it is neither https nor http", u)
	}
	return nil
}

// readSignature reads a signature file that the user named.
func readSignature(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo must not hold us up
	if err != nil {
		return nil, fmt.Errorf("cannot read signature: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("cannot read signature %q: it is not a regular file", path))
	}
	data, err := io.ReadAll(io.LimitReader(f, wire.MaxSignature+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read signature: %w", err)
	case len(data) > wire.MaxSignature:
		return nil, fmt.Errorf("cannot read signature %q: it is longer than %d bytes", path, wire.MaxSignature)
	case len(data) == 0:
		return nil, fmt.Errorf("cannot read signature %q: it is empty", path)
	}
	return data, nil
}
