// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/ociconfig"
)

func planned(t *testing.T, text string, o Options) (*plan, error) {
	t.Helper()
	f, err := parse("Dockerfile", []byte(text))
	if err != nil {
		return nil, err
	}
	if o.Platform == (ociconfig.Platform{}) {
		o.Platform = ociconfig.Platform{OS: "linux", Architecture: "amd64"}
	}
	return makePlan(f, &o)
}

func TestPlan(t *testing.T) {
	p, err := planned(t, `ARG V=1
ARG W=${V}2
FROM --platform=$BUILDPLATFORM base:$W AS a
FROM other AS unused
FROM a AS b
COPY --from=image:latest /x /
FROM scratch AS last
COPY --from=b /x /
RUN --mount=type=bind,from=0,target=/x true
`, Options{Args: map[string]string{"V": "7"}})
	if err != nil {
		t.Fatal(err)
	}
	needed := ""
	for _, s := range p.stages {
		if s.needed {
			needed += s.name() + " "
		}
	}
	if needed != "a b last " {
		t.Errorf("needed: %s", needed)
	}
	if got := p.stages[0].base.image; got != "base:72" {
		t.Errorf("base %q", got)
	}
	if p.stages[2].base.stage != p.stages[0] || p.target.sources["0"].stage != p.stages[0] || p.stages[2].sources["image:latest"].image != "image:latest" {
		t.Error("sources are not what they are called")
	}
}

func TestPlanErrors(t *testing.T) {
	for text, want := range map[string]string{
		"": "file with no instructions",
		"FROM a\nFROM b AS x\nCOPY --from=x y z\n": "Dockerfile:3: stage \"x\" cannot copy from itself",
		"FROM $X\n":                       "Dockerfile:1: the base \"$X\" is empty",
		"FROM --platform=windows/amd64 a": "linux only",
		"FROM a\nRUN --mount=type=nope x": "Dockerfile:2: ",
		"FROM a\nRUN <<EOF\nx\n":          "Dockerfile:",
		"FROM a\nBOGUS\n":                 "Dockerfile:2: unknown instruction BOGUS",
		"FROM a\nCOPY x\n":                "Dockerfile:2: COPY requires at least two arguments",
	} {
		if _, err := planned(t, text, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q: %v", text, want, err)
		}
	}
}

func TestUnusedArgument(t *testing.T) {
	var warned []string
	_, err := planned(t, "FROM a\nARG KNOWN\n", Options{Args: map[string]string{"KNOWN": "1", "TYPO": "2", "HTTP_PROXY": "x"}, Warn: func(s string) { warned = append(warned, s) }})
	if err != nil || len(warned) != 1 || !strings.Contains(warned[0], `"TYPO"`) || strings.Contains(warned[0], "KNOWN") {
		t.Errorf("%v, %q", err, warned)
	}
}

func TestMode(t *testing.T) {
	for _, c := range []struct {
		text      string
		mode      uint32
		directory bool
		want      uint32
	}{
		{"755", 0o600, false, 0o755}, {"0644", 0o777, false, 0o644}, {"4755", 0, false, 0o4755},
		{"u=rwX,go=rX", 0o600, false, 0o644}, {"u=rwX,go=rX", 0o700, true, 0o755}, {"u=rwX,go=rX", 0o750, false, 0o755},
		{"+x", 0o644, false, 0o755}, {"a-w", 0o666, false, 0o444}, {"u+s", 0o755, false, 0o4755}, {"g+s", 0o755, true, 0o2755}, {"o=", 0o757, false, 0o750}, {"+t", 0o777, true, 0o1777},
	} {
		f, err := parseMode(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := f(c.mode, c.directory); got != c.want {
			t.Errorf("%s of %o: %o, want %o", c.text, c.mode, got, c.want)
		}
	}
	for _, text := range []string{"", "9", "888", "77777", "x", "u", "u=q", "z+x", "u=r,", "-1"} {
		if _, err := parseMode(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestFind: nothing is found outside, whatever links say.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/x.txt", "a/y.txt", "a/z.md", "b/x.txt", "node_modules/m/i.js", "node_modules/keep/k"} {
		path := filepath.Join(dir, "context", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"up": "..", "abs": "/a", "secret": "../secret", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, "context", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "context", ".dockerignore"), []byte("node_modules\n!node_modules/keep\n*.md\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := openContext(filepath.Join(dir, "context"), filepath.Join(dir, "Dockerfile"), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for pattern, want := range map[string]string{
		"a/*.txt": "a/x.txt a/y.txt", "*/x.txt": "a/x.txt abs/x.txt b/x.txt", "[ab]/x.txt": "a/x.txt b/x.txt", "abs/x.txt": "abs/x.txt",
		"/a/x.txt": "a/x.txt", ".": "", "up/a/x.txt": "up/a/x.txt", "a/./x.txt": "a/x.txt", "node_modules/keep/k": "node_modules/keep/k", "node_modules": "node_modules",
		"secret": "!", "node_modules/m/i.js": "!", "a/q*": "!", "nothing": "!", "loop": "!", "a/x.txt/y": "!", "[": "!",
	} {
		found, err := f.find(pattern)
		var got []string
		for _, m := range found {
			got = append(got, m.asked)
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = "!"
		}
		if text != want {
			t.Errorf("%s: %q, want %q (%v)", pattern, text, want, err)
		}
	}
}

// TestContextLinks: links and pipes in the context do not have other files read.
func TestContextLinks(t *testing.T) {
	dir := t.TempDir()
	context := filepath.Join(dir, "context")
	if err := os.Mkdir(context, 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(dir, "outside")
	if err := os.WriteFile(outside, []byte("FROM scratch\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(context, "Dockerfile")
	if err := os.Symlink("../outside", file); err != nil {
		t.Fatal(err)
	}
	if text, err := readFile(file, context, true); err == nil {
		t.Errorf("read %q", text)
	}
	if _, err := readFile(file, context, false); err != nil {
		t.Errorf("named by the user: %v", err)
	}
	if err := os.WriteFile(filepath.Join(context, "real"), []byte("FROM scratch\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for target, ok := range map[string]bool{"real": true, "/real": true, ".": false, "pipe": false} {
		_ = os.Remove(file)
		var err error
		if target == "pipe" {
			err = unix.Mkfifo(file, 0o644)
		} else {
			err = os.Symlink(target, file)
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, err := readFile(file, context, true); (err == nil) != ok {
			t.Errorf("%s: %q, %v", target, text, err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(context, ".dockerignore")); err != nil {
		t.Fatal(err)
	}
	if m, err := readIgnore(context, file, false); m != nil {
		t.Errorf("patterns of a file outside, %v", err)
	}
}

// TestChanged: a file that is not what was hashed is not copied.
func TestChanged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for what, change := range map[string]func(dir string) error{
		"":        func(string) error { return nil },
		"content": func(dir string) error { return os.WriteFile(filepath.Join(dir, "d", "f"), []byte("b"), 0o644) },
		"mode":    func(dir string) error { return os.Chmod(filepath.Join(dir, "d", "f"), 0o600) },
		"new":     func(dir string) error { return os.WriteFile(filepath.Join(dir, "d", "g"), nil, 0o644) },
	} {
		dir, to := t.TempDir(), t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "d", "f"), []byte("a"), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := openPlain(dir, "the context")
		if err != nil {
			t.Fatal(err)
		}
		root, err := openPlain(to, "")
		if err != nil {
			t.Fatal(err)
		}
		m, seen := match{"d", "d"}, map[string]seenFile{}
		if _, err := f.sum(m, nil, seen); err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		err = (&placer{root: root.root, seen: seen}).into(f, m, "/x")
		if (err != nil) != (what != "") || err != nil && !strings.Contains(err.Error(), "changed while it was copied") {
			t.Errorf("%q: %v", what, err)
		}
		f.close()
		root.close()
	}
}

func TestPivot(t *testing.T) {
	for _, c := range [][3]string{{"a/b/c", "a/b/c", "a/b/c"}, {"a/./b/*", "a/b/c", "b/c"}, {"./a/./b", "a/b", "b"}, {"/x/y/./z", "x/y/z", "z"}} {
		if got := pivot(c[0], c[1]); got != c[2] {
			t.Errorf("%s, %s: %q", c[0], c[1], got)
		}
	}
}

// FuzzParse: no text makes the parser or the planner panic or hang, and an error
// is one line.
func FuzzParse(f *testing.F) {
	cases, err := filepath.Glob("../../../test/dockerfiles/cases/*/Dockerfile")
	if err != nil || len(cases) < 20 {
		f.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, c := range cases {
		b, err := os.ReadFile(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("# escape=`\nFROM a\nRUN <<-\"E\" x\n\ty\nE\n"))
	f.Add([]byte("FROM a\nRUN --mount=type=cache,target=$X,id=${Y:-z} [\"a\"]\n"))
	f.Add([]byte("ARG A=${A}\nFROM ${A:?none}\nENV x $y\\\nONBUILD RUN z\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := parse("Dockerfile", text)
		if err != nil {
			return
		}
		o := &Options{Platform: ociconfig.Platform{OS: "linux", Architecture: "amd64"}}
		p, err := makePlan(file, o)
		if err != nil {
			return
		}
		x := newExpander(file.escape)
		for _, s := range p.stages {
			s.x, s.b, s.args = x, &Builder{o: *o}, p.args
			for _, cmd := range s.code.Commands {
				_ = s.expand(cmd)
			}
		}
	})
}

// FuzzIgnore: no ignore file and no pattern makes finding panic, or find what lies
// outside of the context.
func FuzzIgnore(f *testing.F) {
	f.Add("*.md\n!README.md\n", "a/*")
	f.Add("**/x\n!**\n", "../outside")
	f.Add("[", "up/up/outside")
	f.Fuzz(func(t *testing.T, ignore, pattern string) {
		dir := t.TempDir()
		context := filepath.Join(dir, "context")
		if err := os.MkdirAll(filepath.Join(context, "a"), 0o755); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{"outside": "out", "context/.dockerignore": ignore, "context/a/README.md": "r"} {
			if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("..", filepath.Join(context, "up")); err != nil {
			t.Fatal(err)
		}
		fs, err := openContext(context, "Dockerfile", false, nil)
		if err != nil {
			return
		}
		defer fs.close()
		var outside unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "outside"), &outside); err != nil {
			t.Fatal(err)
		}
		found, err := fs.find(pattern)
		if err != nil {
			return
		}
		for _, m := range found {
			if st, err := fs.stat(m.real); err == nil && st.Ino == outside.Ino {
				t.Errorf("%q finds %q, outside of the context", pattern, m.real)
			}
		}
	})
}
