// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rkt/rkt/internal/image"
)

const childDir = "STORE_TEST_DIR" // tells a child which data directory to work in

// churn does what rkt processes do, at random, on images that share layers and
// names with everybody else's.
func churn(t testing.TB, dir string, seed uint64, rounds int) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		s, err := Open(dir)
		must(t, err)
		n := rnd.IntN(4)
		name := fmt.Sprint("name", rnd.IntN(3))
		switch rnd.IntN(6) {
		case 0, 1: // rkt fetch
			l, _, err := s.FetchLock(name)
			must(t, err)
			rec := addImage(t, s, fmt.Sprint(n), "base", fmt.Sprint("layer", n%2), fmt.Sprint("top", n))
			rec.Names = []string{name, fmt.Sprint("own", n)}
			must(t, s.Commit(rec))
			must(t, l.Close())
		case 2, 3: // rkt run
			l, err := s.Lease()
			must(t, err)
			if rec, err := s.ByName(name); err == nil {
				must(t, s.complete(&rec))
				s.Used(rec.ID)
			} else if !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			must(t, l.Close())
		case 4: // rkt image rm
			all, err := s.List()
			must(t, err)
			if len(all) > 0 {
				if _, err := s.Remove(all[rnd.IntN(len(all))].ID, nil); err != nil && !errors.Is(err, ErrNotFound) {
					t.Fatal(err)
				}
			}
		case 5: // rkt image gc
			p := Policy{Grace: -1, InUse: func(image.Layer) bool { return rnd.IntN(8) == 0 }}
			if rnd.IntN(3) == 0 {
				p.Grace = 0
			}
			_, err := s.Collect(p)
			must(t, err)
		}
		must(t, s.Close())
	}
}

func TestManyProcesses(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		churn(t, dir, uint64(os.Getpid()), 25)
		return
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestManyProcesses$")
			cmd.Env = append(os.Environ(), childDir+"="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	s, err := Open(dir)
	must(t, err)
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
}

// One Store serves many goroutines.
func TestManyGoroutines(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rec := addImage(t, s, fmt.Sprint(i%4), "base", fmt.Sprint("top", i%4))
			rec.Names = []string{"latest", fmt.Sprint(i)}
			if err := s.Commit(rec); err != nil {
				t.Error(err)
			}
			if r, err := s.ByName(fmt.Sprint(i)); err != nil || r.ID != rec.ID {
				t.Errorf("%d: %s, %v", i, r.ID, err)
			}
		})
	}
	wg.Wait()
	all, err := s.List()
	must(t, err)
	if len(all) != 4 {
		t.Errorf("%d images", len(all))
	}
	must(t, s.Close())
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
}

// Processes that make the store at the same time all find it good.
func TestOpenTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s, err := Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			rec := addImage(t, s, fmt.Sprint(i), "base")
			if err := s.Commit(rec); err != nil {
				t.Error(err)
			}
			s.Close()
		})
	}
	wg.Wait()
	s, err := Open(dir)
	must(t, err)
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
	if all, err := s.List(); len(all) != 8 || err != nil {
		t.Errorf("%d images, %v", len(all), err)
	}
}

// The cost of a lookup by name must not depend on how many images there are:
// compare the two lines.
func BenchmarkByName(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newStore(b)
			rec := addImage(b, s, "x", "base", "top")
			for i := range n {
				r := rec
				r.ID = digestOf([]byte(fmt.Sprint(i))).ID()
				r.Names = []string{fmt.Sprint("docker://registry-1.docker.io/library/image:", i)}
				must(b, s.writeRecord(&r, false))
				must(b, s.writeName(r.Names[0], r.ID))
			}
			name := fmt.Sprint("docker://registry-1.docker.io/library/image:", n/2)
			dir := filepath.Dir(s.images)
			for b.Loop() {
				s, err := Open(dir)
				must(b, err)
				l, err := s.Lease()
				must(b, err)
				_, err = s.ByName(name)
				must(b, err)
				must(b, l.Close())
			}
		})
	}
}
