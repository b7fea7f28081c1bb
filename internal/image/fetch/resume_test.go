// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
)

// blobFaults serves one large layer and counts its bytes.
type blobFaults struct {
	path string // how its URL ends
	data []byte

	mu    sync.Mutex
	sent  int
	asked []string
	// upTo: connections are cut before this byte; 0 is never.
	upTo int
	// hang: they are held instead.
	hang bool
	// lie changes a copy of what is about to be sent from an offset on.
	lie func(from int, b []byte)
}

// large gives an image with one layer of about size bytes, and a registry that
// serves it as s says.
func large(t *testing.T, size int) (r *reg, im v1.Image, s *blobFaults) {
	t.Helper()
	r = serve(t)
	l := layer(t, int64(size), file{"a", "a"})
	im = build(t, "amd64", l)
	r.push(t, "app:v1", im)
	d, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	s = &blobFaults{path: d.String()}
	if s.data, err = io.ReadAll(rc); err != nil {
		t.Fatal(err)
	}
	r.setFault(s.serve)
	return r, im, s
}

func (s *blobFaults) serve(w http.ResponseWriter, q *http.Request) bool {
	if !strings.HasSuffix(q.URL.Path, s.path) || q.Method != http.MethodGet {
		return false
	}
	from, to := 0, len(s.data)
	if h := q.Header.Get("Range"); h != "" {
		if n, _ := fmt.Sscanf(h, "bytes=%d-%d", &from, &to); n != 2 {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		to++
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(s.data)))
		w.Header().Set("Content-Length", fmt.Sprint(to-from))
		w.WriteHeader(http.StatusPartialContent)
	}
	s.mu.Lock()
	upTo, hang, lie := s.upTo, s.hang, s.lie
	s.asked = append(s.asked, q.Header.Get("Range"))
	s.mu.Unlock()
	for from < to {
		end := min(to, from+128<<10)
		if upTo > 0 && end > upTo {
			w.(http.Flusher).Flush()
			if hang {
				<-q.Context().Done()
			}
			panic(http.ErrAbortHandler)
		}
		b := s.data[from:end]
		if lie != nil {
			b = slices.Clone(b)
			lie(from, b)
		}
		n, err := w.Write(b)
		s.mu.Lock()
		s.sent += n
		s.mu.Unlock()
		if from += n; err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	return true
}

// set changes what s does, forgets what was sent, and returns it.
func (s *blobFaults) set(change func()) (sent int, asked []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, asked = s.sent, s.asked
	s.sent, s.asked = 0, nil
	change()
	return sent, asked
}

func nothing() {}

// partials are the sizes of the downloads that the store keeps.
func partials(t *testing.T, dir string) (sizes []int64) {
	t.Helper()
	names, err := filepath.Glob(dir + "/images/rkt/tmp/part-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if fi, err := os.Stat(n); err == nil && !strings.HasSuffix(n, ".state") {
			sizes = append(sizes, fi.Size())
		}
	}
	return sizes
}

// A download that the network cut is continued: what is there is not asked for
// again.
func TestContinueAfterCut(t *testing.T) {
	for name, size := range map[string]int{"one connection": 10 << 20, "in parts": 40 << 20} {
		t.Run(name, func(t *testing.T) {
			st, dir := open(t)
			r, im, s := large(t, size)
			cut := len(s.data) * 2 / 3
			s.set(func() { s.upTo = cut })
			fails(t, st, options(t), "docker://"+r.host+"/app:v1", "layer sha256-")
			kept := partials(t, dir)
			if len(kept) != 1 || kept[0] < int64(cut)/2 || kept[0] > int64(cut) {
				t.Fatalf("partials of %d bytes, want one of about %d", kept, cut)
			}
			s.set(func() { s.upTo = 0 })
			rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
			if rec.ID != id(t, im) || content(t, st, rec, "a") != "a" {
				t.Errorf("record = %+v", rec)
			}
			if sent, asked := s.set(nothing); int64(sent) != int64(len(s.data))-kept[0] {
				t.Errorf("%d bytes were sent, want %d: %q", sent, int64(len(s.data))-kept[0], asked)
			}
			if left := partials(t, dir); len(left) != 0 {
				t.Errorf("partials of %d bytes are left", left)
			}
		})
	}
}

// fetchIn names the data directory and the image of a process that fetches.
const fetchIn = "FETCH_TEST_IN"

// A download whose process was killed is continued likewise.
func TestContinueAfterKill(t *testing.T) {
	if text := os.Getenv(fetchIn); text != "" {
		dir, name, _ := strings.Cut(text, " ")
		st, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fetch.Image(t.Context(), st, options(t), parse(t, name))
		t.Fatalf("the fetch ended: %v", err)
	}
	st, dir := open(t)
	r, im, s := large(t, 40<<20)
	cut := len(s.data) / 2
	s.set(func() { s.upTo, s.hang = cut, true })
	cmd := exec.Command(os.Args[0], "-test.run=^TestContinueAfterKill$")
	cmd.Env = append(os.Environ(), fetchIn+"="+dir+" docker://"+r.host+"/app:v1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	var kept int64
	for range 3000 { // until all that was sent is in the store
		if p := partials(t, dir); len(p) == 1 && p[0] > int64(cut)*2/3 {
			if kept == p[0] {
				break
			}
			kept = p[0]
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	p := partials(t, dir)
	if len(p) != 1 || p[0] < 16<<20 {
		t.Fatalf("partials of %d bytes after the kill", p)
	}
	kept = p[0]
	s.set(func() { s.upTo, s.hang = 0, false })
	rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
	if rec.ID != id(t, im) || content(t, st, rec, "a") != "a" {
		t.Errorf("record = %+v", rec)
	}
	if sent, asked := s.set(nothing); int64(sent) != int64(len(s.data))-kept {
		t.Errorf("%d bytes were sent, want %d: %q", sent, int64(len(s.data))-kept, asked)
	}
}

// Interrupting keeps what came, too; and an image that shares the layer, under
// another name, goes on with it.
func TestContinueAfterInterrupt(t *testing.T) {
	st, dir := open(t)
	r, im, s := large(t, 10<<20)
	r.push(t, "other:v2", im)
	cut := len(s.data) * 3 / 4
	s.set(func() { s.upTo, s.hang = cut, true })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for len(partials(t, dir)) == 0 || partials(t, dir)[0] < store.MinPartial {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := fetch.Image(ctx, st, options(t), parse(t, "docker://"+r.host+"/app:v1")); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("fetch = %v", err)
	}
	kept := partials(t, dir)
	if len(kept) != 1 {
		t.Fatalf("partials: %d", kept)
	}
	s.set(func() { s.upTo = 0 })
	get(t, st, options(t), "docker://"+r.host+"/other:v2")
	if sent, _ := s.set(nothing); int64(sent) != int64(len(s.data))-kept[0] {
		t.Errorf("%d bytes were sent, want %d", sent, int64(len(s.data))-kept[0])
	}
}

// Bytes that are wrong, from an earlier fetch or from one of several
// connections, are found out at the end and fetched once more, in one piece. If
// that is wrong too, it is an error and nothing is kept.
func TestCorruptPieces(t *testing.T) {
	const bad = 1 << 20
	flip := func(at int) func(int, []byte) {
		return func(from int, b []byte) {
			if at >= from && at < from+len(b) {
				b[at-from] ^= 1
			}
		}
	}
	t.Run("kept ones", func(t *testing.T) {
		st, dir := open(t)
		r, im, s := large(t, 10<<20)
		s.set(func() { s.upTo, s.lie = len(s.data)/2, flip(bad) })
		fails(t, st, options(t), "docker://"+r.host+"/app:v1", "layer sha256-")
		kept := partials(t, dir)
		if len(kept) != 1 {
			t.Fatalf("partials: %d", kept)
		}
		s.set(func() { s.upTo, s.lie = 0, nil })
		rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
		if rec.ID != id(t, im) {
			t.Errorf("record = %+v", rec)
		}
		if sent, asked := s.set(nothing); sent != 2*len(s.data)-int(kept[0]) || asked[len(asked)-1] != "" {
			t.Errorf("%d bytes were sent, want %d: %q", sent, 2*len(s.data)-int(kept[0]), asked)
		}
	})
	t.Run("parts", func(t *testing.T) {
		st, _ := open(t)
		r, im, s := large(t, 40<<20)
		s.set(func() {
			s.lie = func(from int, b []byte) {
				s.mu.Lock()
				defer s.mu.Unlock()
				if from > 8<<20 && s.asked[len(s.asked)-1] != "" {
					b[0] ^= 1
				}
			}
		})
		rec := get(t, st, options(t), "docker://"+r.host+"/app:v1")
		if rec.ID != id(t, im) {
			t.Errorf("record = %+v", rec)
		}
		if sent, asked := s.set(nothing); sent != 2*len(s.data) || asked[len(asked)-1] != "" || len(asked) < 4 {
			t.Errorf("%d bytes were sent, want %d: %q", sent, 2*len(s.data), asked)
		}
	})
	t.Run("for good", func(t *testing.T) {
		st, dir := open(t)
		r, _, s := large(t, 40<<20)
		s.set(func() { s.lie = flip(bad) })
		before := files(t, dir)
		fails(t, st, options(t), "docker://"+r.host+"/app:v1", "the download is corrupt")
		if sent, asked := s.set(nothing); sent != 2*len(s.data) {
			t.Errorf("%d bytes were sent, want %d: %q", sent, 2*len(s.data), asked)
		}
		if after := files(t, dir); !slices.Equal(before, after) {
			t.Errorf("the store changed from\n%q to\n%q", before, after)
		}
	})
}

// What a registry refuses for good leaves nothing of the other layers; what may
// pass keeps them.
func TestKeepOrNot(t *testing.T) {
	for code, keeps := range map[int]bool{401: false, 403: false, 404: false, 410: false, 429: true, 500: true} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			st, dir := open(t)
			r := serve(t)
			big, small := layer(t, 9<<20), layer(t, 1)
			r.push(t, "app:v1", build(t, "amd64", big, small))
			d, err := small.Digest()
			if err != nil {
				t.Fatal(err)
			}
			r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
				if !strings.HasSuffix(q.URL.Path, d.String()) {
					return false
				}
				for p := partials(t, dir); len(p) == 0 || p[0] < 9<<20; p = partials(t, dir) {
					time.Sleep(time.Millisecond)
				}
				w.WriteHeader(code)
				return true
			})
			before := files(t, dir)
			fails(t, st, options(t), "docker://"+r.host+"/app:v1", fmt.Sprintf("%d", code))
			switch kept := partials(t, dir); {
			case keeps != (len(kept) == 1):
				t.Errorf("kept partials of %d bytes", kept)
			case !keeps && !slices.Equal(before, files(t, dir)):
				t.Errorf("the store changed from\n%q to\n%q", before, files(t, dir))
			}
			r.setFault(nil)
			r.blobs()
			get(t, st, options(t), "docker://"+r.host+"/app:v1")
			if n := r.blobs(); keeps && n != 2 { // the configuration and the small layer
				t.Errorf("%d blobs were asked for, want 2", n)
			}
		})
	}
}

// A tag that moves while its image is pulled changes nothing about the pull:
// what the tag stood for comes whole, or an error says what is gone.
func TestTagMovesMeanwhile(t *testing.T) {
	for _, gone := range []bool{false, true} {
		st, dir := open(t)
		r := serve(t)
		was, is := build(t, "amd64", layer(t, 1, file{"a", "old"})), build(t, "amd64", layer(t, 2, file{"a", "new"}))
		r.push(t, "app:v1", was)
		var once sync.Once
		r.setFault(func(w http.ResponseWriter, q *http.Request) bool {
			if q.Method != http.MethodGet || !strings.Contains(q.URL.Path, "/blobs/") {
				return false
			}
			once.Do(func() {
				r.setFault(nil)
				r.push(t, "app:v1", is)
			})
			if gone {
				w.WriteHeader(http.StatusNotFound)
			}
			return gone
		})
		before := files(t, dir)
		if gone {
			fails(t, st, options(t), "docker://"+r.host+"/app:v1", "does not have blob")
			if after := files(t, dir); !slices.Equal(before, after) {
				t.Errorf("the store changed from\n%q to\n%q", before, after)
			}
		} else if rec := get(t, st, options(t), "docker://"+r.host+"/app:v1"); rec.ID != id(t, was) || content(t, st, rec, "a") != "old" {
			t.Errorf("got %s, want what the tag stood for at first", rec.ID)
		}
		if rec := get(t, st, options(t), "docker://"+r.host+"/app:v1"); rec.ID != id(t, is) || content(t, st, rec, "a") != "new" {
			t.Errorf("then got %s", rec.ID)
		}
	}
}
