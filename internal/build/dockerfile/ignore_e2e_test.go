// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfile

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/image/merge"
)

// TestIgnore: what the ignore file hides is not there, by whatever name it is asked
// for, and what it lets be seen is.
func TestIgnore(t *testing.T) {
	b := newBench(t)
	for _, f := range []string{"secret/key", "secret/shown/f", "secret/deep/er/f", "docs/a.md", "docs/README.md", "x/y/z.o", "x/y/z.c", "tmp1/f", "tmp/f", "#hash", "sp ace"} {
		b.file(f, f, 0o644)
	}
	b.file("hidden.tar", tarball(t, map[string]string{"in": "1"}), 0o644)
	b.file(".dockerignore", "# a comment\n  secret/  \n!secret/shown\n!/secret/deep/er\n*.md\ndocs/*.md\n!docs/README.md\n**/*.o\ntmp?\n\\#hash\n./sp ace\nhidden*\ngone\nlinked/*\n.dockerignore\n", 0o644)
	for name, target := range map[string]string{"tokey": "secret/key", "todir": "secret", "toshown": "secret/shown", "gone": "x", "linked": "x", "totar": "hidden.tar", "x/up": "../secret/key"} {
		if err := os.Symlink(target, filepath.Join(b.context, name)); err != nil {
			t.Fatal(err)
		}
	}
	b.must(`FROM tiny
COPY . /all/
COPY todir /todir
COPY toshown /toshown
COPY linked/y/z.c /z.c
COPY secret/* /some/
ADD to* /added/
RUN --mount=type=bind,target=/m ls -A /m/secret /m/docs > /mounted; ! cat /m/tokey 2>/dev/null
`, func(_ output.Image, s *merge.Stack) {
		check(t, s, map[string]string{
			"all/secret/key": "missing", "all/secret/shown/f": "100644 0:0 secret/shown/f", "all/secret/deep/er/f": "100644 0:0 secret/deep/er/f",
			"all/docs/a.md": "missing", "all/docs/README.md": "100644 0:0 docs/README.md", "all/x/y/z.o": "missing", "all/x/y/z.c": "100644 0:0 x/y/z.c",
			"all/tmp1": "missing", "all/tmp/f": "100644 0:0 tmp/f", "all/#hash": "missing", "all/sp ace": "missing", "all/gone": "missing", "all/.dockerignore": "missing",
			"all/tokey": "120777 0:0 -> secret/key", "all/x/up": "120777 0:0 -> ../secret/key",
			"todir/key": "missing", "todir/shown/f": "100644 0:0 secret/shown/f", "toshown/f": "100644 0:0 secret/shown/f", "z.c": "100644 0:0 x/y/z.c",
			"some/f": "100644 0:0 secret/shown/f", "some/er/f": "100644 0:0 secret/deep/er/f", "some/key": "missing",
			"added/f": "100644 0:0 secret/shown/f", "added/tokey": "missing", "added/in": "missing",
			"mounted": "100644 0:0 /m/docs:\nREADME.md\n\n/m/secret:\ndeep\nshown\n",
		})
	})
	for _, line := range []string{"COPY tokey /x", "COPY secret/key /x", "COPY x/up /x", "COPY todir/key /x", "COPY gone /x", "COPY gone/y /x", "ADD hidden.tar /x", "ADD totar /x", "COPY x/y/z.o /x",
		"RUN --mount=type=bind,source=tokey,target=/k true"} {
		if err := b.build("FROM tiny\n"+line+"\n", nil); err == nil || !strings.Contains(err.Error(), "is not in the context") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestAddByContent: what is unpacked is what is a tar, whatever it is called.
func TestAddByContent(t *testing.T) {
	b := newBench(t)
	tar := tarball(t, map[string]string{"f": "1"})
	old := []byte(tar) // as tars were before POSIX: no magic
	copy(old[257:265], make([]byte, 8))
	sum := int64(' ') * 8
	for i, c := range old[:512] {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	copy(old[148:156], []byte(strings.ToLower(octalText(sum))+"\x00 "))
	var text bytes.Buffer
	z := gzip.NewWriter(&text)
	if _, err := z.Write([]byte(strings.Repeat("no tar at all ", 100))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"packed.bin": archive(t, map[string]string{"f": "1"}), "plain": tar, "old": string(old),
		"text.tar.gz": text.String(), "torn.tar.gz": archive(t, map[string]string{"f": "1"})[:20], "zero.tar": string(make([]byte, 1024)), "short": "ustar"} {
		b.file(name, content, 0o644)
	}
	if err := os.Symlink("packed.bin", filepath.Join(b.context, "link")); err != nil {
		t.Fatal(err)
	}
	b.must(`FROM tiny
ADD packed.bin /a/
ADD plain /b/
ADD old /c/
ADD link /d/
ADD text.tar.gz torn.tar.gz zero.tar short /files/
ADD --unpack=false plain /e/
`, func(_ output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"a/f": "100640 5:6 1", "b/f": "100640 5:6 1", "c/f": "100640 5:6 1", "d/f": "100640 5:6 1", "e/f": "missing",
			"files/text.tar.gz": "100644 0:0 " + text.String(), "files/short": "100644 0:0 ustar", "files/f": "missing"})
		for _, f := range []string{"files/torn.tar.gz", "files/zero.tar", "e/plain"} {
			if got := show(t, s, f); got == "missing" {
				t.Errorf("%s is missing", f)
			}
		}
	})
}

// octalText is a checksum as tar has it.
func octalText(n int64) string {
	b := []byte("000000")
	for i := 5; i >= 0; i-- {
		b[i] = '0' + byte(n&7)
		n >>= 3
	}
	return string(b)
}
