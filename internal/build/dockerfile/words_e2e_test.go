// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

// TestNamedContexts: a directory of another name is copied from and mounted, as far
// as its own ignore file lets it be seen.
func TestNamedContexts(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"d/f": "f", "d/no": "no", ".dockerignore": "**/no\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../../../../../etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	b.file("d/f", "of the build's own", 0o644)
	b.o.Directories = map[string]Directory{"more": {Path: dir}, "stage": {Path: dir}}
	const text = `FROM tiny AS stage
RUN false
FROM tiny
COPY --from=more d /d
COPY --from=stage d/f /f
RUN --mount=type=bind,from=more,source=d,target=/m ls /m > /ls
`
	look := func(want string) func(output.Image, *merge.Stack) {
		return func(_ output.Image, s *merge.Stack) {
			t.Helper()
			check(t, s, map[string]string{"d/f": "100644 0:0 " + want, "d/no": "missing", "f": "100644 0:0 " + want, "ls": "100644 0:0 f\n"})
		}
	}
	b.must(text, look("f"))
	b.must(text, look("f"))
	if len(b.told.made) != 0 {
		t.Errorf("made again: %q", b.told.made)
	}
	if err := os.WriteFile(filepath.Join(dir, "d/f"), []byte("g"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.must(text, look("g"))
	for line, want := range map[string]string{
		"FROM tiny\nCOPY --from=more d/no /x":                        `"d/no" is not in context "more"`,
		"FROM tiny\nCOPY --from=more out /x":                         `"out" is not in context "more"`,
		"FROM more\nRUN true":                                        `context "more" is a directory`,
		"FROM tiny\nRUN --mount=type=cache,from=more,target=/c true": `context "more" is a directory`,
	} {
		if err := b.build(line+"\n", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestHosts: lines are there for the commands, and leave no trace.
func TestHosts(t *testing.T) {
	b := newBench(t)
	b.file("hosts", "192.0.2.9 image\n", 0o644)
	const text = "FROM tiny\nCOPY hosts /etc/hosts\nRUN cat /etc/hosts > /seen\n"
	b.o.Hosts = []string{"192.0.2.1\tadded.example.com"}
	look := func(_ output.Image, s *merge.Stack) {
		t.Helper()
		if got := show(t, s, "seen"); !strings.Contains(got, "192.0.2.1\tadded.example.com\n") || !strings.Contains(got, "localhost") {
			t.Errorf("%q", got)
		}
	}
	b.must("FROM tiny\nRUN cat /etc/hosts > /seen\n", func(im output.Image, s *merge.Stack) {
		look(im, s)
		check(t, s, map[string]string{"etc/hosts": "missing"})
	})
	b.must(text, func(im output.Image, s *merge.Stack) {
		look(im, s)
		check(t, s, map[string]string{"etc/hosts": "100644 0:0 192.0.2.9 image\n"})
	})
	b.o.Engine, b.o.Network = engine.Chroot, engine.NetworkHost
	b.must("FROM tiny\nRUN cat /etc/hosts > /seen\n", look)
	b.o.Engine, b.o.Network, b.o.Hosts = engine.Native, engine.NetworkNone, nil
	b.must(text, func(_ output.Image, s *merge.Stack) {
		check(t, s, map[string]string{"seen": "100644 0:0 192.0.2.9 image\n"})
	})
}

// TestLanguage is the rest of the Dockerfile reference: what no other test has.
func TestLanguage(t *testing.T) {
	b := newBench(t)
	b.o.Args = map[string]string{"GIVEN": "given"}
	b.o.Labels = map[string]string{"over": "written"}
	host := ociconfig.Host()
	text := "# syntax=docker/dockerfile:1\n# escape=`\n" + strings.ReplaceAll(`# check=skip=all;error=true
FROM --platform=$BUILDPLATFORM tiny AS other
RUN echo o > /o
FROM --platform=$TARGETPLATFORM tiny AS base
ARG TARGETPLATFORM BUILDPLATFORM TARGETARCH TARGETOS
ARG GIVEN=no DEFAULT=default @
    # a comment between
    LATER=last
ENV A=${GIVEN:+yes} B=${NONE:-none} C=${DEFAULT#de} D=${DEFAULT/fault/}
RUN echo "$TARGETPLATFORM $BUILDPLATFORM $TARGETARCH $TARGETOS $GIVEN $LATER $A $B $C $D" 'C:\x' > /args
ARG SIZE=1m MODE=0700
RUN --mount=type=tmpfs,target=/t,size=${SIZE} --mount=type=cache,target=/c,mode=$MODE --mount=type=bind,from=other,source=o,target=/o stat -c %a /c > /mode; cat /o >> /mode
ENV old style value
LABEL over=ridden kept="a b"
HEALTHCHECK NONE
STOPSIGNAL 9
ONBUILD ARG X=trigger
ONBUILD RUN echo $X > /trigger
FROM base
`, "@", "`")
	b.must(text, func(im output.Image, s *merge.Stack) {
		check(t, s, map[string]string{
			"args": "100644 0:0 " + host.String() + " " + host.String() + " " + host.Architecture + " " + host.OS + " given last yes none fault de C:\\x\n",
			"mode": "100644 0:0 700\no\n", "trigger": "100644 0:0 trigger\n", "c": "missing", "t": "missing"})
		for _, want := range []string{`"Healthcheck":{"Test":["NONE"]}`, `"StopSignal":"9"`, `"old=style value"`, `"over":"written"`, `"kept":"a b"`} {
			if !strings.Contains(string(im.Config), want) {
				t.Errorf("no %s in\n%s", want, im.Config)
			}
		}
	})
	if len(b.warned) != 1 || !strings.Contains(b.warned[0], "# check=skip=all;error=true") {
		t.Errorf("warned: %q", b.warned)
	}
	for line, want := range map[string]string{
		"RUN --security=insecure true":                      "acbuild has no --security=insecure",
		"RUN --device=vendor.com/x=y true":                  "acbuild has no --device",
		"RUN --network=bridge true":                         "bridge",
		"RUN --mount=type=bind,from=$X,target=/x true":      "doesn't support variable expansion",
		"RUN --mount=type=cache,target=/x,sharing=all true": "unsupported sharing value",
		"ADD --checksum=sha256:00 Dockerfile /x":            "Dockerfile:2: ",
		"COPY --nothing x /x":                               "unknown flag: --nothing",
		"HEALTHCHECK --interval=x CMD true":                 "Dockerfile:2: ",
		"SHELL /bin/sh":                                     "SHELL requires the arguments to be in JSON form",
		"STOPSIGNAL":                                        "STOPSIGNAL requires exactly one argument",
		"ONBUILD FROM x":                                    "FROM isn't allowed as an ONBUILD trigger",
		"ARG":                                               "ARG requires at least one argument",
		"ENV a":                                             "ENV must have two arguments",
	} {
		if err := b.build("FROM tiny\n"+line+"\n", nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", line, err)
		}
	}
}
