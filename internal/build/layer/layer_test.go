// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image/unpack"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch target, isLink := strings.CutPrefix(text, "-> "); {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// settle gives all of a tree one time, so that trees made one after the other
// are equal.
func settle(t *testing.T, dir string, at time.Time) {
	t.Helper()
	var all []string
	if err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err == nil && fi.Mode()&os.ModeSymlink == 0 {
			all = append(all, p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, p := range slices.Backward(all) {
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func entries(t *testing.T, packed []byte) (list []string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, h.Name)
	}
}

func TestPackTree(t *testing.T) {
	dir := tree(t, map[string]string{"b/two": "2", "a": "1", "b/link": "-> two", "c/": ""})
	at := time.Unix(1000, 0)
	settle(t, dir, time.Unix(5000, 0))
	var one, two bytes.Buffer
	p, err := Pack(context.Background(), &one, Source{Upper: dir}, Options{Epoch: at, OwnIsRoot: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"./", "a", "b/", "b/link", "b/two", "c/"}; !slices.Equal(entries(t, one.Bytes()), want) {
		t.Error(cmp.Diff(want, entries(t, one.Bytes())))
	}
	// Later by the clock, and with another number of CPUs: the same bytes.
	settle(t, dir, time.Unix(9000, 0))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	q, err := Pack(context.Background(), &two, Source{Upper: dir}, Options{Epoch: at, OwnIsRoot: true})
	if err != nil || p != q || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("%+v, %+v, %v", p, q, err)
	}
	sum := sha256.Sum256(one.Bytes())
	if string(p.Digest) != "sha256:"+hex.EncodeToString(sum[:]) || p.Size != int64(one.Len()) {
		t.Errorf("%+v of %d bytes with %x", p, one.Len(), sum)
	}
	z, err := gzip.NewReader(&one)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	sum = sha256.Sum256(plain)
	if string(p.DiffID) != "sha256:"+hex.EncodeToString(sum[:]) || p.Tar != int64(len(plain)) {
		t.Errorf("diff ID %s, tar %x", p.DiffID, sum)
	}
	for r := tar.NewReader(bytes.NewReader(plain)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || !h.ModTime.Equal(at) && h.Typeflag != tar.TypeSymlink || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%+v, %v", h, err)
		}
	}
}

func TestDifference(t *testing.T) {
	at := time.Unix(1000, 0)
	before := tree(t, map[string]string{"same": "s", "gone": "g", "dir/x": "x", "dir/y": "y", "file": "f", "was/in": "i", "l": "-> a"})
	after := tree(t, map[string]string{"same": "s", "dir/x": "X", "file/now": "d", "was": "w", "new": "n", "l": "-> b"})
	settle(t, before, at)
	settle(t, after, at)
	var b bytes.Buffer
	p, err := Pack(context.Background(), &b, Source{Lower: []string{before}, After: []string{after}}, Options{OwnIsRoot: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".wh.gone", "dir/.wh.y", "dir/x", "file/", "file/now", "l", "new", "was"}
	if got := entries(t, b.Bytes()); !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if p.Empty() {
		t.Error("it is not empty")
	}
	// One tree against itself, copied: nothing.
	same := tree(t, map[string]string{"same": "s", "dir/x": "x"})
	copied := tree(t, map[string]string{"same": "s", "dir/x": "x"})
	settle(t, same, at)
	settle(t, copied, at)
	p, err = Pack(context.Background(), io.Discard, Source{Lower: []string{same}, After: []string{copied}}, Options{})
	if err != nil || !p.Empty() {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestDifferenceUnpacks lays the layer over what was, by the extractor, and
// compares with what is.
func TestDifferenceUnpacks(t *testing.T) {
	before := tree(t, map[string]string{"a/b": "1", "a/c": "2"})
	after := tree(t, map[string]string{"a/b": "1", "a/d": "3"})
	var b bytes.Buffer
	p, err := Pack(context.Background(), &b, Source{Lower: []string{before}, After: []string{after}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	res, err := unpack.Layer(context.Background(), &b, dir, unpack.Options{Unowned: true})
	if err != nil || res.DiffID != p.DiffID {
		t.Errorf("%+v, %v; packed as %s", res, err, p.DiffID)
	}
	if text, err := os.ReadFile(filepath.Join(dir.Name(), "a/d")); string(text) != "3" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

// TestGzip: many blocks, read by the standard library.
func TestGzip(t *testing.T) {
	for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 5*blockSize + 7} {
		var in, out bytes.Buffer
		for i := 0; in.Len() < size; i++ {
			fmt.Fprintf(&in, "line %d of %d\n", i*i, size)
		}
		in.Truncate(size)
		z := newGzip(&out)
		for chunk := range slices.Chunk(in.Bytes(), 70001) {
			if _, err := z.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := gzip.NewReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, in.Bytes()) {
			t.Errorf("%d bytes: %d, %v", size, len(got), err)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFullDisk(t *testing.T) {
	dir := tree(t, map[string]string{"a": strings.Repeat("x", 3*blockSize)})
	if _, err := Pack(context.Background(), full{}, Source{Upper: dir}, Options{}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
}

func TestEpoch(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "0": 0, "1700000000": 1700000000, "-1": -1, "x": -1} {
		t.Setenv("SOURCE_DATE_EPOCH", text)
		got, err := Epoch()
		switch {
		case want < 0 && err == nil:
			t.Errorf("%q: no error", text)
		case want == 0 && text == "" && !got.IsZero(), want >= 0 && text != "" && got.Unix() != want:
			t.Errorf("%q: %v", text, got)
		}
	}
}
