// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

var peer = Peer{Name: "server a.example", NoTLS: "use http", Stall: time.Second}

func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		err         error
		says        string
		again, dial bool
		remedy      string
	}{
		"certificate": {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "cannot trust server a.example: ", false, true, "insecure-options=tls"},
		"no TLS":      {tls.RecordHeaderError{Msg: "x"}, "server a.example does not speak TLS", false, true, "use http"},
		"HTTP":        {errors.New("http: server gave HTTP response to HTTPS client"), "does not speak TLS", false, true, "use http"},
		"DNS":         {&net.DNSError{Err: "no such host", Name: "a.example"}, "cannot find server a.example: no such host", true, true, ""},
		"refused":     {&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}, "cannot reach server a.example: ", true, true, ""},
		"slow dial":   {&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "cannot reach server a.example: ", true, true, ""},
		"silent":      {context.DeadlineExceeded, "server a.example stalled: no byte for 1s", true, false, "any proxy"},
		"end":         {io.ErrUnexpectedEOF, "lost the connection to server a.example", true, false, ""},
		"reset":       {&net.OpError{Op: "read", Err: os.NewSyscallError("read", unix.ECONNRESET)}, "lost the connection to server a.example: ", true, false, ""},
	} {
		for _, err := range []error{c.err, &url.Error{Op: "Get", URL: "https://secret@a.example/?token=1", Err: c.err}, fmt.Errorf("x: %w", c.err)} {
			f := peer.Explain(err)
			after, again := f.Passing()
			if !strings.Contains(f.Error(), c.says) || again != c.again || after != 0 || f.Dial != c.dial || !strings.Contains(hint.Of(f), c.remedy) {
				t.Errorf("%s: %q (%q), again %v, dial %v", name, f, hint.Of(f), again, f.Dial)
			}
			if strings.Contains(f.Error(), "token") {
				t.Errorf("%s: %q has the URL's secrets", name, f)
			}
		}
	}
}

func TestPace(t *testing.T) {
	if p := PaceOf(wire.Request{}); p.Stall != 30*time.Second || p.Pause != 500*time.Millisecond {
		t.Errorf("the usual is %+v", p)
	}
	if p := PaceOf(wire.Request{StallMillis: 7, RetryMillis: 8}); p.Stall != 7*time.Millisecond || p.Pause != 8*time.Millisecond {
		t.Errorf("%+v", p)
	}
}

// slow gives a byte each time after a while.
type slow struct {
	ctx   context.Context
	after time.Duration
}

func (s slow) Read(p []byte) (int, error) {
	select {
	case <-s.ctx.Done():
		return 0, errors.New("what net/http says")
	case <-time.After(s.after):
		return copy(p, "x"), nil
	}
}

func (slow) Close() error { return nil }

// TestWatch: reads that wait too long end, with the cause; neither many short
// waits nor a reader that takes its time do.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled := errors.New("stalled")
		ctx, w := NewWatch(t.Context(), time.Second, stalled)
		defer w.Stop()
		body := w.Body(slow{ctx, 900 * time.Millisecond})
		for range 10 {
			if _, err := body.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if _, err := w.Body(slow{ctx, 1100 * time.Millisecond}).Read(make([]byte, 1)); !errors.Is(err, stalled) {
			t.Errorf("error %v", err)
		}
		// Before there is a body, too.
		ctx, w = NewWatch(t.Context(), time.Second, stalled)
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), stalled) {
			t.Errorf("cause %v", context.Cause(ctx))
		}
		w.Stop()
	})
}

// TestTransport: what is compressed stays so.
func TestTransport(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Accept-Encoding"))
	}))
	defer s.Close()
	tr := PaceOf(wire.Request{}).Transport(false)
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) > 0 {
		t.Errorf("asked for %q, %v", b, err)
	}
}
