// SPDX-License-Identifier: Apache-2.0

// Package web is the web for tests: servers of whatever name on loopback,
// behind a proxy that connects every host and port to them; https with an
// authority of the test's own, plain http to those who ask for it.
package web

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Sites are the servers. coreos.com and those below example.com and amazonaws.com
// have certificates; others have not, and unreachable.example.com does not answer.
type Sites struct {
	mu    sync.Mutex
	pages map[string]http.HandlerFunc // "https://host/path", without a query
	asked []string                    // likewise, with the query

	secure, proxy *httptest.Server
	open          []*httptest.Server // those of On
	env           map[string]string
	dir           string
}

// New starts the servers. Close ends them.
func New() (*Sites, error) {
	// Not a test's own directory: the fetch helper, which is another user's
	// process, reads the certificate.
	dir, err := os.MkdirTemp("", "rkt-sites")
	if err != nil {
		return nil, err
	}
	s := &Sites{pages: map[string]http.HandlerFunc{}, dir: dir}
	authority := filepath.Join(dir, "ca.pem")
	cert, err := certificate(authority)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Chmod(authority, 0o644))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	quiet := log.New(io.Discard, "", 0)
	s.secure = httptest.NewUnstartedServer(s.serve("https"))
	s.secure.Config.ErrorLog = quiet
	s.secure.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.secure.StartTLS()
	s.proxy = httptest.NewUnstartedServer(http.HandlerFunc(s.connect))
	s.proxy.Config.ErrorLog = quiet
	s.proxy.Start()
	s.env = map[string]string{
		"SSL_CERT_FILE": authority, "SSL_CERT_DIR": filepath.Join(dir, "no-other-certificates"),
		"HTTPS_PROXY": s.proxy.URL, "https_proxy": s.proxy.URL, "HTTP_PROXY": s.proxy.URL, "http_proxy": s.proxy.URL,
		"NO_PROXY": "", "no_proxy": "",
	}
	return s, nil
}

// Env are the variables by which a program finds these servers instead of the
// world's.
func (s *Sites) Env() map[string]string { return s.env }

// On serves https on l as well, for those who ask without the proxy: in another
// network namespace, say, where the names resolve to l's address. Close closes l.
func (s *Sites) On(l net.Listener) {
	srv := httptest.NewUnstartedServer(s.secure.Config.Handler)
	_ = srv.Listener.Close()
	srv.Listener, srv.TLS, srv.Config.ErrorLog = l, s.secure.TLS, s.secure.Config.ErrorLog
	srv.StartTLS()
	s.open = append(s.open, srv)
}

// Close ends the servers.
func (s *Sites) Close() {
	for _, srv := range append(s.open, s.proxy, s.secure) {
		srv.CloseClientConnections()
		srv.Close()
	}
	_ = os.RemoveAll(s.dir)
}

// Handle has h answer for a URL, whatever its query.
func (s *Sites) Handle(url string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[url] = h
}

// Text serves a page.
func (s *Sites) Text(url, content string) {
	s.Handle(url, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, content) })
}

// File serves a file with an ETag and ranges, as web servers do.
func (s *Sites) File(url string, content []byte) {
	tag := fmt.Sprintf(`"%.16x"`, sha256.Sum256(content))
	s.Handle(url, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("ETag", tag)
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(content))
	})
}

// Gone has nobody answer for a URL any more.
func (s *Sites) Gone(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pages, url)
}

// Asked lists the URLs that were asked for since the last call.
func (s *Sites) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.asked
	s.asked = nil
	return l
}

func (s *Sites) serve(scheme string) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, scheme+"://"+q.Host+q.URL.RequestURI())
		h := s.pages[scheme+"://"+q.Host+q.URL.Path]
		s.mu.Unlock()
		if h == nil {
			http.NotFound(w, q)
			return
		}
		h(w, q)
	}
}

// connect is the proxy.
func (s *Sites) connect(w http.ResponseWriter, q *http.Request) {
	if q.Method != http.MethodConnect {
		s.serve("http")(w, q) // a request for plain http
		return
	}
	to, err := net.Dial("tcp", s.secure.Listener.Addr().String())
	if err != nil || strings.HasPrefix(q.Host, "unreachable.") {
		http.Error(w, "nobody there", http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = to.Close()
		return
	}
	go func() { _, _ = io.Copy(to, buffered); _ = to.Close() }()
	go func() { _, _ = io.Copy(from, bufio.NewReader(to)); _ = from.Close() }()
}

// certificate makes an authority, writes its certificate to path, and gives a
// server's.
func certificate(path string) (tls.Certificate, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"example.com", "*.example.com", "example.org", "coreos.com", "bucket.s3.eu-central-1.amazonaws.com"}}
	der, err = x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
