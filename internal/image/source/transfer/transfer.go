// SPDX-License-Identifier: Apache-2.0

// Package transfer is what all of rkt's questions to servers have in common: how
// long one is waited for, how a body that brings nothing is given up, and what a
// transport's errors mean to the user.
package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// What one file or blob may cost before it is given up.
const (
	MaxStreak  = 5  // failures in a row that brought no byte
	MaxRetries = 30 // failures in all
)

// Pace is how patient a request is.
type Pace struct {
	Stall time.Duration // for which no byte may come
	Pause time.Duration // before the second try
}

// PaceOf is what req asks for, or the usual.
func PaceOf(req wire.Request) Pace {
	p := Pace{time.Duration(req.StallMillis) * time.Millisecond, time.Duration(req.RetryMillis) * time.Millisecond}
	if p.Stall <= 0 {
		p.Stall = 30 * time.Second
	}
	if p.Pause <= 0 {
		p.Pause = 500 * time.Millisecond
	}
	return p
}

// Transport connects at that pace, through the environment's proxies. Nothing is
// decompressed on the way: a digest is that of bytes as they lie there.
func (p Pace) Transport(skipVerify bool) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: p.Stall}).DialContext,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: skipVerify}, //nolint:gosec // asked for by --insecure-options=tls
		TLSHandshakeTimeout:   p.Stall,
		ResponseHeaderTimeout: p.Stall,
		DisableCompression:    true,
	}
}

// Failure is why a server did not give what was asked for.
type Failure struct {
	Err   error
	Again bool          // another try may succeed
	After time.Duration // as the server asked, or 0
	Dial  bool          // it was not even reached, or is not who it should be
}

// Error is the line for the user.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives Err, with its remedy.
func (f *Failure) Unwrap() error { return f.Err }

// Passing is for package retry.
func (f *Failure) Passing() (after time.Duration, ok bool) { return f.After, f.Again }

// Peer is who is asked.
type Peer struct {
	Name  string        // "registry quay.io", "server example.com"
	NoTLS string        // what to do about one that does not speak TLS
	Stall time.Duration // as in Pace
}

// Stalled is the error of a connection that brings nothing.
func (p Peer) Stalled() error {
	return hint.Wrap(fmt.Errorf("%s stalled: no byte for %v", p.Name, p.Stall),
		"try again, or check the network and any proxy on the way")
}

// Explain turns a transport's error into one line for the user.
func (p Peer) Explain(err error) *Failure {
	if uerr := (*url.Error)(nil); errors.As(err, &uerr) {
		err = uerr.Err
	}
	var (
		cert    *tls.CertificateVerificationError
		dns     *net.DNSError
		record  tls.RecordHeaderError
		dialing *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(err, &cert):
		return &Failure{Dial: true, Err: hint.Wrap(fmt.Errorf("cannot trust %s: %w", p.Name, cert.Err),
			"add its authority to the system's certificates, or give --insecure-options=tls")}
	case errors.As(err, &record) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return &Failure{Dial: true, Err: hint.Wrap(fmt.Errorf("%s does not speak TLS", p.Name), p.NoTLS)}
	case errors.As(err, &dns):
		return &Failure{Again: true, Dial: true, Err: fmt.Errorf("cannot find %s: %s", p.Name, dns.Err)}
	case errors.As(err, &dialing) && dialing.Op == "dial":
		return &Failure{Again: true, Dial: true, Err: fmt.Errorf("cannot reach %s: %w", p.Name, dialing.Err)}
	case errors.As(err, &timeout) && timeout.Timeout():
		return &Failure{Again: true, Err: p.Stalled()}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &Failure{Again: true, Err: fmt.Errorf("lost the connection to %s", p.Name)}
	}
	return &Failure{Again: true, Err: fmt.Errorf("lost the connection to %s: %w", p.Name, err)}
}

// Watch ends one exchange that brings nothing: while an answer is waited for,
// and then while a read waits, but not while the reader is busy elsewhere.
type Watch struct {
	ctx    context.Context //nolint:containedctx // of the one exchange
	cancel context.CancelCauseFunc
	stall  time.Duration
	timer  *time.Timer
}

// NewWatch starts watching; the exchange takes place under the context, whose
// cause is err once nothing came for stall. The caller calls Stop.
func NewWatch(ctx context.Context, stall time.Duration, err error) (context.Context, *Watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &Watch{ctx, cancel, stall, time.AfterFunc(stall, func() { cancel(err) })}
}

// Stop ends the exchange.
func (w *Watch) Stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// Body is body under watch. A read that fails because the exchange was ended
// fails with the cause of that.
func (w *Watch) Body(body io.ReadCloser) io.ReadCloser { return &watched{body, w} }

type watched struct {
	io.ReadCloser
	w *Watch
}

func (b *watched) Read(p []byte) (int, error) {
	b.w.timer.Reset(b.w.stall)
	n, err := b.ReadCloser.Read(p)
	b.w.timer.Stop()
	if err != nil && err != io.EOF { //nolint:errorlint // only itself is the good end
		if cause := context.Cause(b.w.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

// Sends is what the exchange sends, under watch: each read of it shows that the
// other side took what came before.
func (w *Watch) Sends(r io.Reader) io.Reader { return &sent{r, w} }

type sent struct {
	io.Reader
	w *Watch
}

func (s *sent) Read(p []byte) (int, error) {
	s.w.timer.Reset(s.w.stall)
	return s.Reader.Read(p)
}
