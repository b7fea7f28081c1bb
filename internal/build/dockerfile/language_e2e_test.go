// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/build/cache"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/image/merge"
)

func TestStages(t *testing.T) {
	b := newBench(t)
	b.file("src/a", "a", 0o644)
	b.must(`FROM tiny AS base
RUN echo base > /base
FROM base AS one
COPY src /src
RUN cat /src/a /base > /one && mkdir -p /out/sub && chown 7:8 /out/sub && ln -s sub /out/link && touch /out/sub/f
FROM base AS two
RUN echo two > /two
FROM base AS never
RUN exit 9
FROM scratch
COPY --from=one /one /two/
COPY --from=two /two /2
COPY --from=1 /out /out
`, func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"one": "missing", "two/one": "100644 0:0 abase\n", "out/sub": "40755 7:8", "2": "100644 0:0 two\n", "out/link": "120777 0:0 -> sub", "base": "missing"})
	})
}

func TestStagesError(t *testing.T) {
	b := newBench(t)
	// "two" is a file and a directory.
	err := b.build("FROM tiny AS one\nRUN mkdir /d\nFROM tiny\nRUN echo >/d\nCOPY --from=one /d /d\n", nil)
	if err == nil || !strings.Contains(err.Error(), `Dockerfile:5: "/d" in the image is not a directory`) {
		t.Errorf("%v", err)
	}
}

func TestTarget(t *testing.T) {
	b := newBench(t)
	const text = "FROM tiny AS a\nRUN echo > /a\nFROM a AS b\nRUN exit 3\n"
	b.o.Target = "a"
	b.must(text, func(im output.Image, s *merge.Stack) { check(t, s, map[string]string{"a": "100644 0:0 \n"}) })
	b.o.Target = "c"
	if err := b.build(text, nil); err == nil || !strings.Contains(err.Error(), `"c"`) || !strings.Contains(err.Error(), `"a", "b"`) {
		t.Errorf("%v", err)
	}
}

func TestMounts(t *testing.T) {
	b := newBench(t)
	b.file("in/file", "of the context", 0o644)
	b.file("in/no", "ignored", 0o644)
	b.file(".dockerignore", "**/no\n", 0o644)
	secret := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(secret, []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.o.Secrets = map[string]Secret{"key": {File: secret}}
	const text = `FROM tiny AS other
RUN mkdir -p /d/real && echo other > /d/real/f && ln -s /d/real /link
FROM tiny
RUN --mount=type=bind,source=in,target=/in \
    --mount=type=bind,from=other,source=/link,target=/o \
    --mount=type=cache,target=/var/cache/x \
    --mount=type=tmpfs,target=/scratch \
    --mount=type=secret,id=key,mode=0444 \
    --mount=type=secret,id=key,env=KEY \
    --mount=type=bind,source=in,target=/rw,rw \
    set -e; cat /in/file /o/f /run/secrets/key > /all; echo $KEY >> /all; ls /in >> /all; \
    echo >> /var/cache/x/n; wc -l < /var/cache/x/n >> /all; echo > /scratch/s; echo > /rw/lost; ! echo > /in/no 2>/dev/null
`
	want := "100644 0:0 of the contextother\nhushhush\nfile\n"
	b.must(text, func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"all": want + "1\n", "in": "missing", "o": "missing", "var/cache": "missing", "scratch": "missing", "run/secrets": "missing", "rw": "missing"})
		if bytes.Contains(im.Config, []byte("hush")) {
			t.Error("the secret is in the configuration")
		}
	})
	b.o.NoCache = true
	b.must(text, func(im output.Image, s *merge.Stack) { check(t, s, map[string]string{"all": want + "2\n"}) })
	if _, err := os.Stat(filepath.Join(b.context, "in", "lost")); err == nil {
		t.Error("what was written to a bind mount is in the context")
	}
	out, err := exec.Command("grep", "-rl", "hush", b.o.DataDir).Output()
	if len(bytes.TrimSpace(out)) != 0 && !strings.Contains(string(out), "all") {
		t.Errorf("the secret is on disk: %s, %v", out, err)
	}
	err = b.build("FROM tiny\nRUN --mount=type=secret,id=none,required=true echo\n", nil)
	if err == nil || !strings.Contains(err.Error(), `secret "none" is required`) {
		t.Errorf("%v", err)
	}
}

func TestHeredocs(t *testing.T) {
	b := newBench(t)
	b.must(`FROM tiny
ARG X=y
RUN <<EOF
echo "$X" > /one
echo 'a  b' >> /one
EOF
RUN <<-EOT cat > /two && echo end >> /two
	tab
EOT
RUN <<SCRIPT
#!/bin/sh
echo "$0" > /three
SCRIPT
COPY <<F1 <<"F2" /dir/
x=$X "quoted"
F1
x=$X
F2
COPY --chmod=755 <<EOF /dir/tool
#!/bin/sh
EOF
`, func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"one": "100644 0:0 y\na  b\n", "two": "100644 0:0 tab\nend\n", "three": "100644 0:0 /dev/pipes/SCRIPT\n",
			"dir/F1": "100644 0:0 x=y \"quoted\"\n", "dir/F2": "100644 0:0 x=$X\n", "dir/tool": "100755 0:0 #!/bin/sh\n"})
	})
}

// archive is a gzipped tar.
func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(tarball(t, files))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func tarball(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range sortedKeys(files) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o640, Uid: 5, Gid: 6, Size: int64(len(files[name])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAdd(t *testing.T) {
	b := newBench(t)
	b.file("a.tar.gz", archive(t, map[string]string{"x/f": "in the archive"}), 0o644)
	b.file("plain", "plain", 0o644)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("of the web")) }))
	defer server.Close()
	b.must(`FROM tiny
ADD a.tar.gz plain /to/
ADD `+server.URL+`/dir/page.txt /web/
ADD --chmod=644 --checksum=sha256:`+sumText("of the web")+` `+server.URL+`/dir/page.txt /checked
COPY a.tar.gz /copied
`, func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"to/x/f": "100640 5:6 in the archive", "to/plain": "100644 0:0 plain",
			"web/page.txt": "100600 0:0 of the web", "checked": "100644 0:0 of the web"})
		if got := show(t, s, "copied"); !strings.HasPrefix(got, "100644 0:0 \x1f\x8b") {
			t.Errorf("copied: %.20q", got)
		}
	})
	err := b.build("FROM tiny\nADD --checksum=sha256:"+sumText("else")+" "+server.URL+"/x /\n", nil)
	if err == nil || !strings.Contains(err.Error(), "not sha256:"+sumText("else")) {
		t.Errorf("%v", err)
	}
}

func TestCopyFlags(t *testing.T) {
	b := newBench(t)
	for _, f := range []string{"a/b/c.txt", "a/b/d.md", "a/e.txt", "x1", "x2", "skip/me"} {
		b.file(f, f, 0o644)
	}
	b.file(".dockerignore", "skip\n!skip/kept\n", 0o644)
	b.file("skip/kept", "kept", 0o644)
	if err := os.Symlink("/a/b", filepath.Join(b.context, "link")); err != nil {
		t.Fatal(err)
	}
	b.must(`FROM tiny
COPY x? /x/
COPY --parents a/b/*.txt ./a/./e.txt /p/
COPY --exclude=**/*.md a /ex
COPY --link --chown=3 x1 /linked/
COPY link /l
COPY . /all/
COPY --chmod=u=rwX,go=rX a /sym
RUN ln -s /real /alias && mkdir /real
COPY x1 /alias/
COPY x2 /alias/renamed
`, func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{
			"x/x1": "100644 0:0 x1", "x/x2": "100644 0:0 x2", "p/a/b/c.txt": "100644 0:0 a/b/c.txt", "p/e.txt": "100644 0:0 a/e.txt",
			"ex/b/c.txt": "100644 0:0 a/b/c.txt", "ex/b/d.md": "missing", "linked/x1": "100644 3:3 x1", "l/c.txt": "100644 0:0 a/b/c.txt",
			"all/skip/me": "missing", "all/skip/kept": "100644 0:0 kept", "all/x1": "100644 0:0 x1", "all/link": "120777 0:0 -> /a/b",
			"sym/b": "40755 0:0", "real/x1": "100644 0:0 x1", "real/renamed": "100644 0:0 x2", "alias": "120777 0:0 -> /real",
		})
	})
}

// TestReplacedLink: a name that a later source replaced is not what others of the
// first file are linked to.
func TestReplacedLink(t *testing.T) {
	b := newBench(t)
	b.file("one/f", "first", 0o644)
	b.file("two/f", "second", 0o644)
	b.file("three/x", "", 0o644)
	if err := os.Link(filepath.Join(b.context, "one/f"), filepath.Join(b.context, "three/g")); err != nil {
		t.Fatal(err)
	}
	b.must("FROM scratch\nCOPY one two three /d/\n", func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"d/f": "100644 0:0 second", "d/g": "100644 0:0 first"})
	})
}

// TestRebuiltParent: what was made over a layer is not used over another one that
// the same instruction makes later.
func TestRebuiltParent(t *testing.T) {
	b := newBench(t)
	const text = "FROM tiny\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN cat /id > /copy\nRUN true\n"
	same := func(im output.Image, s *merge.Stack) {
		t.Helper()
		if id, c := show(t, s, "id"), show(t, s, "copy"); id != c {
			t.Errorf("copy is %q of %q", c, id)
		}
	}
	b.must(text, same)
	list, err := cache.List(b.o.CacheDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if strings.Contains(e.What, "random/uuid") {
			if err := os.Remove(filepath.Join(b.o.CacheDir, "layers", e.Key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.must(text, same)
	b.must(text, same)
	if len(b.told.made) != 0 {
		t.Errorf("made again: %q", b.told.made)
	}
}

func TestOnBuildAndShell(t *testing.T) {
	b := newBench(t)
	b.file("f", "f", 0o644)
	b.must(`FROM tiny AS parent
ONBUILD COPY f /on/
ONBUILD RUN echo build > /on/b
FROM parent
SHELL ["/bin/sh", "-e", "-c"]
RUN echo "$-" > /flags
ENTRYPOINT echo
HEALTHCHECK --interval=5s CMD true
STOPSIGNAL SIGINT
MAINTAINER me
`, func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"on/f": "100644 0:0 f", "on/b": "100644 0:0 build\n"})
		if got := show(t, s, "flags"); !strings.Contains(got, "e") {
			t.Errorf("%q", got)
		}
		for _, want := range []string{`"Entrypoint":["/bin/sh","-e","-c","echo"]`, `"Interval":5000000000`, `"StopSignal":"SIGINT"`, `"author":"me"`, `"Shell":["/bin/sh","-e","-c"]`} {
			if !strings.Contains(string(im.Config), want) {
				t.Errorf("no %s in\n%s", want, im.Config)
			}
		}
		if strings.Contains(string(im.Config), "OnBuild") || strings.Contains(string(im.Config), `"Cmd"`) {
			t.Errorf("ONBUILD or the base's CMD is left:\n%s", im.Config)
		}
	})
}

func TestErrors(t *testing.T) {
	b := newBench(t)
	if err := os.Symlink("../../../etc/passwd", filepath.Join(b.context, "out")); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"FROM tiny\nFOO bar\n":                     "Dockerfile:2: unknown instruction FOO",
		"FROM tiny\nCOPY missing /\n":              `Dockerfile:2: "missing" is not in the context`,
		"FROM tiny\nCOPY ../x /\n":                 `Dockerfile:2: "../x" climbs out of the context`,
		"FROM tiny\nCOPY out /\n":                  `Dockerfile:2: "out" is not in the context`,
		"FROM tiny\nCOPY no* /\n":                  `Dockerfile:2: nothing in the context fits "no*"`,
		"FROM ${NONE}\n":                           `Dockerfile:1: the base "${NONE}" is empty`,
		"FROM oci:/nowhere/at/all:x\n":             `Dockerfile:1: cannot use base "oci:/nowhere/at/all:x"`,
		"RUN x\n":                                  "Dockerfile:1: no build stage in current context",
		"FROM tiny\nEXPOSE nope\n":                 `Dockerfile:2: cannot expose "nope"`,
		"# syntax=example.com/other\nFROM tiny\n":  `cannot build with frontend "example.com/other"`,
		"FROM tiny\nCOPY --chmod=9 . /\n":          `mode "9" is neither octal`,
		"FROM tiny\nCOPY --chown=nobodyhere . /\n": `cannot find user "nobodyhere"`,
		"FROM tiny\nUSER nobodyhere\nRUN true\n":   `cannot find user "nobodyhere"`,
		"FROM tiny\nRUN [\"/nosuch\"]\n":           `"/nosuch"`,
		"FROM tiny\nADD git@example.com:x.git /\n": "acbuild gives git no keys",
	} {
		err := b.build(text, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: want %q: %v", text, want, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(b.o.CacheDir, "work"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestNetworkAndEngine(t *testing.T) {
	b := newBench(t)
	b.must("FROM tiny\nRUN --network=none ! grep eth /proc/net/dev\nRUN --network=default grep lo /proc/net/dev\n", nil)
	b.o.Engine, b.o.Network = engine.Chroot, engine.NetworkHost
	b.must("FROM tiny\nRUN echo chroot > /c\n", func(im output.Image, s *merge.Stack) { check(t, s, map[string]string{"c": "100644 0:0 chroot\n"}) })
}

// TestReproducible: two caches, one image.
func TestReproducible(t *testing.T) {
	var configs, layers []string
	for range 2 {
		b := newBench(t)
		b.o.Epoch = epoch(1_700_000_000)
		b.file("f", "f", 0o644)
		b.must("FROM tiny\nCOPY f /d/\nRUN date > /dev/null && echo 1 > /one && mkdir /dir\nWORKDIR /w\n", func(im output.Image, s *merge.Stack) {
			configs = append(configs, string(im.Config))
			for _, l := range im.Layers {
				layers = append(layers, string(l.Digest))
			}
		})
	}
	if configs[0] != configs[1] || !slices.Equal(layers[:len(layers)/2], layers[len(layers)/2:]) {
		t.Errorf("%s\n%s\n%q", configs[0], configs[1], layers)
	}
}
