// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// blobServer serves one blob of noise, badly if bad says so.
type blobServer struct {
	*httptest.Server
	data []byte
	blob wire.Descriptor

	mu    sync.Mutex
	asked []string // Range headers
	sent  int64    // bytes of the blob
	now   int      // requests under way
	most  int
}

// answer is a request for a part, [from, to), and the means to answer it.
type answer struct {
	*blobServer
	w        http.ResponseWriter
	r        *http.Request
	n        int // the number of this request, from 1
	ranged   bool
	from, to int64
}

// head sends the status and the headers of a good answer.
func (a *answer) head() {
	if a.ranged {
		a.w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", a.from, a.to-1, len(a.data)))
		a.w.Header().Set("Content-Length", fmt.Sprint(a.to-a.from))
		a.w.WriteHeader(http.StatusPartialContent)
	} else {
		a.w.Header().Set("Content-Length", fmt.Sprint(len(a.data)))
	}
}

func (a *answer) body(from, to int64) {
	for from < to {
		n, err := a.w.Write(a.data[from:min(to, from+16<<10)])
		a.mu.Lock()
		a.sent += int64(n)
		a.mu.Unlock()
		if from += int64(n); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

func (a *answer) good() {
	a.head()
	a.body(a.from, a.to)
}

// whole answers as a server that knows no ranges.
func (a *answer) whole() {
	a.ranged, a.from, a.to = false, 0, int64(len(a.data))
	a.good()
}

func serveBlob(t *testing.T, size int, bad func(a *answer)) *blobServer {
	t.Helper()
	s := &blobServer{data: make([]byte, size)}
	rand.New(rand.NewSource(int64(size))).Read(s.data)
	s.blob = wire.Descriptor{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(s.data)), Size: int64(size)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return
		}
		a := &answer{blobServer: s, w: w, r: r, to: int64(len(s.data))}
		s.mu.Lock()
		s.asked = append(s.asked, r.Header.Get("Range"))
		a.n = len(s.asked)
		s.now++
		s.most = max(s.most, s.now)
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			s.now--
			s.mu.Unlock()
		}()
		if h := r.Header.Get("Range"); h != "" {
			if n, err := fmt.Sscanf(h, "bytes=%d-%d", &a.from, &a.to); n != 2 || err != nil {
				t.Errorf("Range: %q", h)
			}
			a.to++
			a.ranged = true
		}
		if bad == nil {
			a.good()
		} else {
			bad(a)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *blobServer) request() wire.Request {
	return wire.Request{Kind: wire.Docker, Registry: strings.TrimPrefix(s.URL, "http://"), Repository: "app", Reference: "v1",
		StallMillis: 5000, RetryMillis: 1}
}

// ask reads the blob as want says; what came is compared with the blob.
func (s *blobServer) ask(t *testing.T, im *Image, want wire.Want) error {
	t.Helper()
	want.Blob = s.blob
	r, err := im.Open(context.Background(), want)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if len(got) > len(s.data) || err == nil && want.Offset+int64(len(got)) != s.blob.Size {
		t.Errorf("%d bytes came, want %d", len(got), s.blob.Size-want.Offset)
	} else if !bytes.Equal(got, s.data[want.Offset:want.Offset+int64(len(got))]) {
		t.Errorf("what came is not the blob")
	}
	return err
}

// The tests' size of a part.
const (
	small      = 64 << 10
	splitSmall = splitFrom * small
	manyParts  = 6*small + 12345
)

// inParts opens s's image with small parts.
func (s *blobServer) inParts(t *testing.T, stall int) *Image {
	t.Helper()
	req := s.request()
	if stall != 0 {
		req.StallMillis = stall
	}
	im := open(t, req)
	im.partSize = small
	return im
}

// end waits for the server, so that its counts are final.
func (s *blobServer) end() {
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
}

// The parts of a large blob are asked for at the same time, no part twice, and
// no more than may be held in memory; then all buffers are back.
func TestParts(t *testing.T) {
	for _, offset := range []int64{0, 1, small, small + 77} {
		s := serveBlob(t, manyParts, nil)
		im := s.inParts(t, 0)
		if err := s.ask(t, im, wire.Want{Offset: offset}); err != nil {
			t.Error(err)
		}
		s.end()
		if want := s.blob.Size - offset; s.sent != want {
			t.Errorf("from %d on: %d bytes were sent, want %d", offset, s.sent, want)
		}
		if n := int((s.blob.Size - offset + small - 1) / small); len(s.asked) != n {
			t.Errorf("from %d on: asked %q, want %d parts", offset, s.asked, n)
		}
		if s.most > 1+maxAhead {
			t.Errorf("%d connections at once", s.most)
		}
		idle(t, im)
	}
}

func idle(t *testing.T, im *Image) {
	t.Helper()
	for range maxAhead {
		<-im.ahead // hangs if one is lost
	}
	for range maxAhead {
		im.ahead <- nil
	}
}

// That parts travel side by side shows in a server that answers none of them
// before it has got all that may be asked for at once.
func TestPartsAtOnce(t *testing.T) {
	var n atomic.Int32
	all := make(chan struct{})
	s := serveBlob(t, manyParts, func(a *answer) {
		a.head()
		if a.from > 0 && n.Add(1) == maxAhead {
			close(all)
		}
		a.w.(http.Flusher).Flush()
		if n.Load() <= maxAhead && a.from > 0 {
			<-all
		} else if a.from == 0 {
			a.body(0, 1000)
			a.w.(http.Flusher).Flush()
			<-all
			a.body(1000, a.to)
			return
		}
		a.body(a.from, a.to)
	})
	if err := s.ask(t, s.inParts(t, 0), wire.Want{}); err != nil {
		t.Error(err)
	}
	if s.end(); s.most != 1+maxAhead {
		t.Errorf("%d requests at once, want %d", s.most, 1+maxAhead)
	}
}

// Blobs side by side share the memory for parts.
func TestPartsShared(t *testing.T) {
	s := serveBlob(t, manyParts, nil)
	im := s.inParts(t, 0)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := s.ask(t, im, wire.Want{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s.end(); s.sent != 4*s.blob.Size || s.most > 4+maxAhead {
		t.Errorf("%d bytes over %d connections", s.sent, s.most)
	}
	idle(t, im)
}

// Small blobs, those wanted whole, and those of a server without ranges come
// over one connection.
func TestNotInParts(t *testing.T) {
	for name, tc := range map[string]struct {
		size   int
		want   wire.Want
		bad    func(*answer)
		asked  []string
		excess int64 // bytes that were sent in vain
	}{
		"small":     {splitSmall - 1, wire.Want{}, nil, []string{""}, 0},
		"the rest":  {splitSmall, wire.Want{Offset: 1}, nil, []string{fmt.Sprintf("bytes=1-%d", splitSmall-1)}, 0},
		"whole":     {manyParts, wire.Want{Whole: true}, nil, []string{""}, 0},
		"all there": {splitSmall, wire.Want{Offset: splitSmall}, nil, nil, 0},
		"no ranges": {manyParts, wire.Want{}, func(a *answer) { a.whole() }, []string{"bytes=0-65535"}, 0},
		"no ranges, from an offset": {manyParts, wire.Want{Offset: 1000}, func(a *answer) { a.whole() },
			[]string{"bytes=1000-66535"}, 1000},
		"416": {manyParts, wire.Want{Offset: 1000}, func(a *answer) {
			if a.ranged {
				a.w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			a.whole()
		}, []string{"bytes=1000-66535", ""}, 1000},
		"another range": {manyParts, wire.Want{Offset: 1000}, func(a *answer) {
			if a.ranged {
				a.from++
			}
			a.good()
		}, []string{"bytes=1000-66535", ""}, 1000 + small}, // at most: it is cut
		"a longer range": {manyParts, wire.Want{}, func(a *answer) {
			if a.ranged {
				a.to++
			}
			a.good()
		}, []string{"bytes=0-65535", ""}, small + 1},
		"no range": {manyParts, wire.Want{}, func(a *answer) {
			if a.ranged {
				a.w.WriteHeader(http.StatusPartialContent)
				return
			}
			a.good()
		}, []string{"bytes=0-65535", ""}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveBlob(t, tc.size, tc.bad)
			im := s.inParts(t, 0)
			if err := s.ask(t, im, tc.want); err != nil {
				t.Error(err)
			}
			s.end()
			if fmt.Sprint(s.asked) != fmt.Sprint(tc.asked) {
				t.Errorf("asked %q, want %q", s.asked, tc.asked)
			}
			if want := s.blob.Size - tc.want.Offset; s.sent < want || s.sent > want+tc.excess {
				t.Errorf("%d bytes sent, want %d and at most %d", s.sent, want, tc.excess)
			}
			idle(t, im)
		})
	}
}

// Whatever the server does to some of its answers, the right bytes come, or an
// error.
func TestPartsFaults(t *testing.T) {
	cut := func(a *answer) { panic(http.ErrAbortHandler) }
	for name, bad := range map[string]func(a *answer){
		"cut at random": func(a *answer) {
			if a.n > 12 {
				a.good()
				return
			}
			r := rand.New(rand.NewSource(int64(a.n)))
			a.head()
			a.body(a.from, a.from+1+r.Int63n(a.to-a.from))
			a.w.(http.Flusher).Flush() // each answer brings something: patience lasts
			cut(a)
		},
		"cut at once": func(a *answer) {
			if a.n%2 == 0 {
				cut(a)
			}
			a.good()
		},
		"500 between": func(a *answer) {
			if a.n%2 == 0 {
				a.w.WriteHeader(http.StatusInternalServerError)
				return
			}
			a.good()
		},
		"429 between": func(a *answer) {
			if a.n%3 == 0 {
				a.w.Header().Set("Retry-After", "0")
				a.w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			a.good()
		},
		"ranges end": func(a *answer) {
			if a.n > 2 {
				a.whole()
				return
			}
			a.good()
		},
		"ranges end in 416": func(a *answer) {
			if a.n > 2 && a.ranged {
				a.w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			a.good()
		},
		"wrong Content-Range between": func(a *answer) {
			if a.n == 3 {
				a.from, a.to = a.from-5, a.to-5
			}
			a.good()
		},
		"less than asked": func(a *answer) {
			if a.n < 8 {
				a.to -= (a.to - a.from) / 2
			}
			a.good()
		},
		"another ETag each time": func(a *answer) {
			a.w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprint(a.n)))
			a.good()
		},
		"without lengths": func(a *answer) {
			a.w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", a.from, a.to-1))
			if a.ranged {
				a.w.WriteHeader(http.StatusPartialContent)
			}
			a.w.(http.Flusher).Flush()
			a.body(a.from, a.to)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveBlob(t, manyParts, bad)
			im := s.inParts(t, 0)
			if err := s.ask(t, im, wire.Want{}); err != nil {
				t.Error(err)
			}
			idle(t, im)
		})
	}
}

// A server that goes on failing is given up with one clear error, and its
// refusals are told apart from what may pass.
func TestPartsFail(t *testing.T) {
	for name, tc := range map[string]struct {
		bad     func(a *answer)
		stall   int
		says    string
		refused bool
	}{
		"another size": {func(a *answer) {
			a.data = a.data[:len(a.data)-1]
			a.good()
		}, 0, "bytes long, the manifest says", true},
		"404": {func(a *answer) {
			if a.n > 1 {
				a.w.WriteHeader(http.StatusNotFound)
				return
			}
			a.good()
		}, 0, "does not have blob", true},
		"cut for good": {func(a *answer) {
			if a.n > 3 {
				panic(http.ErrAbortHandler)
			}
			a.good()
		}, 0, "lost the connection", false},
		"503": {func(a *answer) {
			if a.n > 3 {
				a.w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			a.good()
		}, 0, "(503)", false},
		"stalls": {func(a *answer) {
			a.head()
			if a.n > 1 {
				a.body(a.from, a.from+1000)
				a.w.(http.Flusher).Flush()
				<-a.r.Context().Done()
				return
			}
			a.body(a.from, a.to)
		}, 50, "stalled: no byte for 50ms", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveBlob(t, manyParts, tc.bad)
			im := s.inParts(t, tc.stall)
			err := s.ask(t, im, wire.Want{})
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("read = %v, want %q", err, tc.says)
			}
			if e := wire.AsError(err); e != nil && e.Refused != tc.refused {
				t.Errorf("refused: %v, want %v", e.Refused, tc.refused)
			}
			idle(t, im)
		})
	}
}

// Going away in the middle leaves nothing behind.
func TestPartsClose(t *testing.T) {
	s := serveBlob(t, manyParts, nil)
	im := s.inParts(t, 0)
	r, err := im.Open(t.Context(), wire.Want{Blob: s.blob})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, small+10); err != nil {
		t.Fatal(err)
	}
	r.Close()
	idle(t, im)
	ctx, cancel := context.WithCancel(t.Context())
	if r, err = im.Open(ctx, wire.Want{Blob: s.blob}); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("read after cancel = %v", err)
	}
}

func TestContentRange(t *testing.T) {
	for s, want := range map[string][3]int64{
		"bytes 0-0/1": {0, 0, 1}, "bytes 5-9/10": {5, 9, 10}, "bytes 5-9/*": {5, 9, -1},
	} {
		if from, to, size, err := contentRange(s); err != nil || [3]int64{from, to, size} != want {
			t.Errorf("%q: %d %d %d %v", s, from, to, size, err)
		}
	}
	for _, s := range []string{"", "bytes", "bytes ", "bytes */10", "bytes 5-4/10", "bytes 0-10/10", "bytes 0-9", "bytes -1-9/10",
		"bytes +1-9/10", "bytes 1-+9/10", "bytes 0-9/-1", "bytes 0-9/9223372036854775808", "bits 0-9/10", "bytes 0-9/ 10"} {
		if _, _, _, err := contentRange(s); err == nil {
			t.Errorf("%q was understood", s)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-0/1")
	f.Add("bytes 5-9/*")
	f.Fuzz(func(t *testing.T, s string) {
		from, to, size, err := contentRange(s)
		if err == nil && (from < 0 || to < from || size < -1 || size >= 0 && to >= size) {
			t.Errorf("%q: %d %d %d", s, from, to, size)
		}
	})
}
