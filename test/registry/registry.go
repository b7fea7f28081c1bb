// SPDX-License-Identifier: Apache-2.0

// Package registry serves images on loopback for the end-to-end tests, with
// switches for the ways in which registries fail.
package registry

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// Faults are the ways to fail. Each may be changed while the server runs.
type Faults struct {
	// StallAfter: a blob's body stops after that many bytes, until the server
	// ends. 0 is never.
	StallAfter int64
	// CutAfter: the connection is closed after that many bytes of a blob's
	// body.
	CutAfter int64
	// Flip: the byte at this offset (from 1) of each blob's body is wrong.
	Flip int64
	// Refuse: that many requests for blobs are answered 503 first.
	Refuse int
	// User and Password: basic authentication is asked for if User is set.
	User, Password string
}

// A Server is a registry on a port of 127.0.0.1.
type Server struct {
	Addr string // host:port

	server  *http.Server
	stopped chan struct{}
	once    sync.Once

	mu     sync.Mutex
	faults Faults
	blobs  map[string]int // digest → how often its body was asked for

	sent atomic.Int64 // bytes of blobs
}

// Start serves the blobs that are pushed to it from dir.
func Start(dir string) (*Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: ln.Addr().String(), stopped: make(chan struct{}), blobs: map[string]int{}}
	quiet := log.New(io.Discard, "", 0)
	inner := ggcr.New(ggcr.WithBlobHandler(keeper{ggcr.NewDiskBlobHandler(dir).(onDisk), dir}), ggcr.WithReferrersSupport(true), ggcr.Logger(quiet))
	s.server = &http.Server{Handler: s.wrap(inner), ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(ln) }()
	return s, nil
}

// Close ends the server and every connection. It may be called again.
func (s *Server) Close() error {
	s.once.Do(func() { close(s.stopped) })
	return s.server.Close()
}

// Fail sets the faults; Fail(Faults{}) heals.
func (s *Server) Fail(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Served is how often the body of a blob was asked for.
func (s *Server) Served(digest string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[digest]
}

// Sent is how many bytes of blobs were sent.
func (s *Server) Sent() int64 { return s.sent.Load() }

// Forget sets the counts of Served and Sent to 0.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs = map[string]int{}
	s.sent.Store(0)
}

func (s *Server) wrap(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		f := s.faults
		_, digest, blob := strings.Cut(r.URL.Path, "/blobs/sha256:")
		blob = blob && r.Method == http.MethodGet
		if blob {
			s.blobs["sha256:"+digest]++
			if f.Refuse > 0 {
				s.faults.Refuse--
			}
		}
		s.mu.Unlock()
		if f.User != "" && r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(f.User+":"+f.Password)) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			return
		}
		if blob && f.Refuse > 0 {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		if blob && (f.StallAfter > 0 || f.CutAfter > 0 || f.Flip > 0) {
			w = &faulty{ResponseWriter: w, faults: f, stopped: s.stopped, gone: r.Context()}
		}
		if blob {
			w = &counted{w, &s.sent}
		}
		inner.ServeHTTP(w, r)
	})
}

// counted counts what is sent of a body, and leaves sendfile possible.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

func (c *counted) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.n.Add(n)
	return n, err
}

// Unwrap is http.ResponseController's.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// faulty spoils a body on its way out.
type faulty struct {
	http.ResponseWriter
	faults  Faults
	stopped chan struct{}
	gone    context.Context
	sent    int64
}

func (f *faulty) Write(b []byte) (int, error) {
	if at := f.faults.Flip - 1 - f.sent; f.faults.Flip > 0 && at >= 0 && at < int64(len(b)) {
		b = append([]byte(nil), b...)
		b[at] ^= 0xff
	}
	limit := max(f.faults.StallAfter, f.faults.CutAfter)
	if limit > 0 && f.sent+int64(len(b)) > limit {
		_, _ = f.ResponseWriter.Write(b[:limit-f.sent])
		_ = http.NewResponseController(f.ResponseWriter).Flush()
		if f.faults.StallAfter > 0 {
			select {
			case <-f.stopped:
			case <-f.gone.Done():
			}
		}
		panic(http.ErrAbortHandler)
	}
	n, err := f.ResponseWriter.Write(b)
	f.sent += int64(n)
	return n, err
}

// URL is how rkt is asked for an image of this registry.
func (s *Server) URL(image string) string { return fmt.Sprintf("docker://%s/%s", s.Addr, image) }
