// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

func TestMain(m *testing.M) {
	if engine.IsChild() {
		os.Exit(engine.Child())
	}
	os.Exit(rkt.Apart(func() int {
		if os.Geteuid() != 0 {
			return m.Run()
		}
		return rkt.WithInstall("rkt-dockerfile-test-", func(install rkt.Install) int {
			launch.Prefix = filepath.Join(install.Dir, "libexec", "rkt")
			return m.Run()
		})
	}))
}

// told is a Progress that remembers.
type told struct {
	mu           sync.Mutex
	made, cached []string
	begin        func(Step) // when a step is about to be made
}

func (p *told) Begin(s Step, cached bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.Unprinted:
	case cached:
		p.cached = append(p.cached, s.Text)
	default:
		p.made = append(p.made, s.Text)
		if p.begin != nil {
			p.begin(s)
		}
	}
}

func (p *told) End(Step, time.Duration, error) {}

// bench is a place to build.
type bench struct {
	t       *testing.T
	context string
	o       Options
	out     *bytes.Buffer
	told    *told
	warned  []string
	begin   func(Step)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	layout, err := images.Layout()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	helper := filepath.Join(launch.Prefix, "fetch")
	o := fetch.Options{Helper: helper, InsecureImage: true, Stderr: os.Stderr}
	b := &bench{t: t, context: filepath.Join(dir, "context")}
	b.o = Options{Context: b.context, DataDir: filepath.Join(dir, "data"), CacheDir: filepath.Join(dir, "data", "build"),
		Network: engine.NetworkNone, Bases: Stored{st, o}, Fetch: o,
		Contexts: map[string]string{"tiny": "oci:" + layout + ":tiny"}, Warn: func(s string) { b.warned = append(b.warned, s) }}
	if err := os.Mkdir(b.context, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

// file puts a file into the context.
func (b *bench) file(name, text string, mode os.FileMode) {
	b.t.Helper()
	path := filepath.Join(b.context, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		b.t.Fatal(err)
	}
}

// build builds, and calls look with the image while it is there.
func (b *bench) build(dockerfile string, look func(im output.Image, s *merge.Stack)) error {
	b.t.Helper()
	path := filepath.Join(filepath.Dir(b.context), "Dockerfile")
	if err := os.WriteFile(path, []byte(dockerfile), 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.out, b.told, b.warned = new(bytes.Buffer), &told{begin: b.begin}, nil
	o := b.o
	o.File, o.Output, o.Progress = path, b.out, b.told
	bl, err := New(o)
	if err != nil {
		return err
	}
	defer func() {
		if err := bl.Close(); err != nil {
			b.t.Error(err)
		}
	}()
	im, err := bl.Build(context.Background())
	if err != nil {
		return err
	}
	s, err := im.Stack()
	if err != nil {
		b.t.Fatal(err)
	}
	defer s.Close()
	if look != nil {
		look(im, s)
	}
	return nil
}

func (b *bench) must(dockerfile string, look func(im output.Image, s *merge.Stack)) {
	b.t.Helper()
	if err := b.build(dockerfile, look); err != nil {
		b.t.Fatalf("%v\n%s", err, b.out)
	}
}

// show is a file of a tree: mode, owner and content.
func show(t *testing.T, s *merge.Stack, path string) string {
	t.Helper()
	text := "missing"
	err := s.Walk(func(e *merge.Entry) error {
		if e.Path != path {
			return nil
		}
		text = fmt.Sprintf("%o %d:%d", e.Stat.Mode, e.Stat.Uid, e.Stat.Gid)
		switch e.Type() {
		case unix.S_IFREG:
			f, err := e.Open()
			if err != nil {
				return err
			}
			defer f.Close()
			b, err := io.ReadAll(f)
			text += " " + string(b)
			return err
		case unix.S_IFLNK:
			target, err := e.Link()
			text += " -> " + target
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func check(t *testing.T, s *merge.Stack, want map[string]string) {
	t.Helper()
	for path, w := range want {
		if got := show(t, s, path); got != w {
			t.Errorf("%s: %q, want %q", path, got, w)
		}
	}
}

func TestSingleStage(t *testing.T) {
	b := newBench(t)
	b.file("app/main.sh", "#!/bin/sh\necho hi\n", 0o755)
	b.file("app/data/x", "x", 0o640)
	const text = `# syntax=docker/dockerfile:1
ARG WHO=nobody
FROM tiny
ARG WHO
ARG EXTRA=more
ENV GREETING="hello $WHO" \
    TWICE=${GREETING:-unset}
WORKDIR /srv/app
COPY app .
RUN echo "$GREETING $TWICE $EXTRA" > greeting && mkdir /made
COPY --chown=12:34 --chmod=600 app/main.sh /etc/
LABEL a=b "c d"="e f"
EXPOSE 80 53/udp 8000-8002
VOLUME /data
USER 12
CMD ["./main.sh"]
`
	b.o.Args = map[string]string{"WHO": "world"}
	var first, second []byte
	b.must(text, func(im output.Image, s *merge.Stack) {
		first = im.Config
		check(t, s, map[string]string{
			"srv/app":          "40755 0:0",
			"srv/app/main.sh":  "100755 0:0 #!/bin/sh\necho hi\n",
			"srv/app/data/x":   "100640 0:0 x",
			"srv/app/greeting": "100644 0:0 hello world unset more\n",
			"made":             "40755 0:0",
			"etc/main.sh":      "100600 12:34 #!/bin/sh\necho hi\n",
			"etc/resolv.conf":  "missing",
			"etc/hosts":        "missing",
		})
		for _, want := range []string{`"GREETING=hello world"`, `"TWICE=unset"`, `"c d":"e f"`, `"8001/tcp":{}`, `"53/udp":{}`, `"User":"12"`,
			`"Cmd":["./main.sh"]`, `"/data":{}`, `"WorkingDir":"/srv/app"`, `RUN |2 WHO=world EXTRA=more /bin/sh -c echo`} {
			if !strings.Contains(string(im.Config), want) {
				t.Errorf("no %s in\n%s", want, im.Config)
			}
		}
	})
	if len(b.told.cached) != 0 || len(b.told.made) != 4 {
		t.Errorf("made %q, cached %q", b.told.made, b.told.cached)
	}
	b.must(text, func(im output.Image, s *merge.Stack) { second = im.Config })
	if len(b.told.made) != 0 || len(b.told.cached) != 4 {
		t.Errorf("the second time: made %q, cached %q", b.told.made, b.told.cached)
	}
	if !bytes.Equal(first, second) {
		t.Errorf("not the same:\n%s\n%s", first, second)
	}
	// What is copied decides, not when it was written.
	b.file("app/main.sh", "#!/bin/sh\necho ho\n", 0o755)
	b.must(text, func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"srv/app/main.sh": "100755 0:0 #!/bin/sh\necho ho\n"})
	})
	if len(b.told.made) != 3 {
		t.Errorf("after a change: made %q", b.told.made)
	}
	b.o.NoCache = true
	b.must(text, nil)
	if len(b.told.made) != 4 {
		t.Errorf("with NoCache: made %q", b.told.made)
	}
}

func TestFailingStep(t *testing.T) {
	b := newBench(t)
	err := b.build("FROM tiny\n\nRUN echo before; exit 7\n", nil)
	var status *StatusError
	var at *At
	if !errors.As(err, &status) || status.Status != 7 || !errors.As(err, &at) || at.Line != 3 {
		t.Errorf("%v", err)
	}
	if !strings.Contains(b.out.String(), "0 | before\n") {
		t.Errorf("%q", b.out)
	}
}

func epoch(n int64) time.Time { return time.Unix(n, 0) }
