// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// plain reads all of a compressed stream, and what the source has left.
func plain(r io.Reader, opt Options) (out []byte, err error) {
	opt.Limits = opt.Limits.withDefaults()
	p, err := decompress(r, opt)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(p)
	if err != nil {
		p.abort()
		return b, err
	}
	return b, p.finish()
}

func compressedWith(t testing.TB, b []byte, program string, args ...string) []byte {
	t.Helper()
	if program == "zstd" {
		var out bytes.Buffer
		w, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	need(t, program)
	cmd := exec.Command(program, append(args, "-c")...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sample is half noise, half text, of several buffers' size.
func sample(t testing.TB) []byte {
	t.Helper()
	b := make([]byte, 300<<10)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return append(b, bytes.Repeat([]byte("some text that repeats itself\n"), 12_000)...)
}

func TestDecompress(t *testing.T) {
	data := sample(t)
	in := map[string][]byte{
		"plain":                      data,
		"plain, short":               []byte("x"),
		"plain, like bzip2":          append([]byte("BZh9-notes.txt"), data...),
		"gzip":                       compressedWith(t, data, "gzip"),
		"gzip of nothing":            compressedWith(t, nil, "gzip"),
		"zstd":                       compressedWith(t, data, "zstd"),
		"bzip2":                      compressedWith(t, data, "bzip2"),
		"bzip2 of nothing":           compressedWith(t, nil, "bzip2"),
		"xz":                         compressedWith(t, data, "xz", "-1"),
		"xz, crc32":                  compressedWith(t, data, "xz", "-1", "--check=crc32"),
		"xz, sha256":                 compressedWith(t, data, "xz", "-1", "--check=sha256"),
		"xz, no check":               compressedWith(t, data, "xz", "-1", "--check=none"),
		"xz, many blocks with sizes": compressedWith(t, data, "xz", "-1", "-T2", "--block-size=300000"),
		"xz of nothing":              compressedWith(t, nil, "xz"),
	}
	want := map[string][]byte{"plain, short": []byte("x"), "plain, like bzip2": in["plain, like bzip2"]}
	for name := range in {
		if strings.HasSuffix(name, "of nothing") {
			want[name] = []byte{}
		} else if want[name] == nil {
			want[name] = data
		}
	}
	join := func(a, b []byte) []byte { return append(bytes.Clone(a), b...) }
	for _, name := range []string{"gzip", "zstd", "bzip2", "xz"} {
		in[name+", twice"] = join(in[name], in[name])
		want[name+", twice"] = join(data, data)
	}
	in["xz, twice with padding"] = join(join(in["xz"], make([]byte, 8)), in["xz"])
	want["xz, twice with padding"] = join(data, data)
	in["gzip, trailing garbage"] = join(in["gzip"], bytes.Repeat([]byte("garbage"), 100_000))
	in["gzip, trailing zeros"] = join(in["gzip"], make([]byte, 10_000))
	want["gzip, trailing garbage"], want["gzip, trailing zeros"] = data, data
	in["zstd, skippable frame first"] = join([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), in["zstd"])
	want["zstd, skippable frame first"] = data

	for name, b := range in {
		t.Run(name, func(t *testing.T) {
			for kind, open := range map[string]func(testing.TB, []byte) io.Reader{"reader": asReader, "pipe": asPipe, "file": asFile} {
				r := open(t, b)
				got, err := plain(r, Options{})
				if err != nil || !bytes.Equal(got, want[name]) {
					t.Errorf("%s: %d bytes, %v; want %d", kind, len(got), err, len(want[name]))
				}
				if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("%s: the source is not read to its end: %d, %v", kind, n, err)
				}
			}
		})
	}
	// What another process decompressed is taken as it is.
	if got, err := plain(bytes.NewReader(in["gzip"]), Options{Compressed: 1}); err != nil || !bytes.Equal(got, in["gzip"]) {
		t.Errorf("decompressed already: %d bytes, %v", len(got), err)
	}
}

func asReader(_ testing.TB, b []byte) io.Reader { return bytes.NewReader(b) }

func asPipe(t testing.TB, b []byte) io.Reader {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	go func() {
		_, _ = w.Write(b)
		_ = w.Close()
	}()
	return r
}

func asFile(t testing.TB, b []byte) io.Reader {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, append([]byte("before"), b...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Seek(6, io.SeekStart); err != nil { // from where it stands, not from its beginning
		t.Fatal(err)
	}
	return f
}

func TestDamage(t *testing.T) {
	data := sample(t)
	for _, c := range [][]string{{"gzip"}, {"zstd"}, {"bzip2"}, {"xz", "-1"}} {
		whole := compressedWith(t, data, c[0], c[1:]...)
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/3] ^= 0x55
		tail := bytes.Clone(whole)
		tail[len(tail)-6] ^= 0x55
		t.Run(c[0], func(t *testing.T) {
			for name, b := range map[string][]byte{"cut": whole[:len(whole)/2], "cut at the end": whole[:len(whole)-3], "flipped": flipped, "tail flipped": tail, "header only": whole[:12]} {
				for kind, open := range map[string]func(testing.TB, []byte) io.Reader{"reader": asReader, "pipe": asPipe} {
					_, err := plain(open(t, b), Options{})
					if err == nil {
						t.Errorf("%s %s: no error", name, kind)
					} else if strings.Contains(err.Error(), "\n") {
						t.Errorf("%s %s: more than one line: %v", name, kind, err)
					}
				}
			}
		})
	}
}

func TestXzDictionaryIsBounded(t *testing.T) {
	b := compressedWith(t, []byte("x"), "xz", "--lzma2=dict=128MiB")
	if _, err := plain(bytes.NewReader(b), Options{}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
}

var errSource = errors.New("the connection broke")

// A source that fails is reported as it says, not as corrupt data.
func TestSourceFails(t *testing.T) {
	needRoot(t)
	raw := makeTar(t, []entry{{name: "f", body: string(sample(t))}})
	for _, c := range [][]string{{"gzip"}, {"zstd"}, {"bzip2"}, {"xz", "-1"}} {
		whole := compressedWith(t, raw, c[0], c[1:]...)
		t.Run(c[0], func(t *testing.T) {
			for _, at := range []int{0, 5, len(whole) / 2, len(whole)} {
				r := io.MultiReader(bytes.NewReader(whole[:at]), failing{})
				if _, err := unpackTo(t, r, t.TempDir(), Options{}); !errors.Is(err, errSource) {
					t.Errorf("after %d bytes: got %v", at, err)
				}
			}
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errSource }

// The end of the context ends the work, whatever it waits for, and says so.
func TestCancel(t *testing.T) {
	needRoot(t)
	whole := gzipped(t, makeTar(t, []entry{{name: "f", body: string(sample(t))}}))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	why := errors.New("the user left")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = w.Write(whole[:len(whole)/2]) // and then nothing more, for ever
		cancel(why)
	}()
	root, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := Layer(ctx, r, root, Options{}); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// The digest covers everything: padding, and what follows the archive's end.
func TestDiffID(t *testing.T) {
	needRoot(t)
	raw := makeTar(t, []entry{{name: "f", body: strings.Repeat("x", 2000)}}) // 512 of PAX header, 512 of its records, 512 of header, 2048
	for name, b := range map[string][]byte{
		"as made":            raw,
		"blocked":            append(bytes.Clone(raw), make([]byte, 10240)...),
		"with more after it": append(bytes.Clone(raw), sample(t)...),
		"without an end":     raw[:3584],
		"empty":              {},
	} {
		for _, in := range [][]byte{b, gzipped(t, b), compressedWith(t, b, "zstd")} {
			res, err := unpackTo(t, bytes.NewReader(in), t.TempDir(), Options{})
			if want := fmt.Sprintf("sha256:%x", sha256.Sum256(b)); err != nil || string(res.DiffID) != want {
				t.Errorf("%s: got %s, %v, want %s", name, res.DiffID, err, want)
			}
		}
	}
	if _, err := unpackTo(t, bytes.NewReader(raw[:1024+200]), t.TempDir(), Options{}); err == nil {
		t.Error("a tar cut in a header: no error")
	}
	if _, err := unpackTo(t, bytes.NewReader(raw[:1536+513]), t.TempDir(), Options{}); err == nil {
		t.Error("a tar cut in a file: no error")
	}
}
