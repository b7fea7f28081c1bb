// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/merge"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func differences(t *testing.T, a, b string, opt Options) []string {
	t.Helper()
	sa, err := merge.OpenUser(a)
	must(t, err)
	defer sa.Close()
	sb, err := merge.OpenUser(b)
	must(t, err)
	defer sb.Close()
	var out []string
	must(t, Trees(context.Background(), sa, sb, opt, func(c Change) error {
		out = append(out, fmt.Sprintf("%s %s %s", c.Kind, c.Path, strings.Join(c.What, ",")))
		return nil
	}))
	return out
}

func TestTrees(t *testing.T) {
	big := strings.Repeat("x", 300<<10)
	for _, c := range []struct {
		name string
		a, b func(p func(string) string) error
		want string
	}{
		{"content", write("f", "a"), write("f", "b"), "changed /f content"},
		{"content, far in", write("f", big+"a"), write("f", big+"b"), "changed /f content"},
		{"size", write("f", "a"), write("f", "bb"), "changed /f size,content"},
		{"none", write("f", big), write("f", big), ""},
		{"mode", write("f", ""), both(write("f", ""), func(p func(string) string) error { return os.Chmod(p("f"), 0o600) }), "changed /f mode"},
		{"set-user-id", write("f", ""), both(write("f", ""), func(p func(string) string) error { return os.Chmod(p("f"), 0o644|os.ModeSetuid) }), "changed /f mode"},
		{"xattr", write("f", ""), both(write("f", ""), func(p func(string) string) error { return unix.Setxattr(p("f"), "user.k", []byte("v"), 0) }), "changed /f xattr"},
		{"target", link("a"), link("b"), "changed /l target"},
		{"type", write("l", ""), link("b"), "changed /l type"},
		{"directory to file", mkdir("d/x"), write("d", ""), "changed /d type; removed /d/x "},
		{"file to directory", write("d", ""), mkdir("d/x"), "changed /d type; added /d/x "},
		{"added", mkdir("a"), mkdir("a/b/c"), "added /a/b ; added /a/b/c "},
		{"between", both(mkdir("a"), mkdir("c")), both(mkdir("b"), mkdir("c")), "removed /a ; added /b "},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := t.TempDir(), t.TempDir()
			must(t, c.a(func(n string) string { return filepath.Join(a, n) }))
			must(t, c.b(func(n string) string { return filepath.Join(b, n) }))
			if got := strings.Join(differences(t, a, b, Options{}), "; "); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func write(name, content string) func(func(string) string) error {
	return func(p func(string) string) error { return os.WriteFile(p(name), []byte(content), 0o644) }
}

func mkdir(name string) func(func(string) string) error {
	return func(p func(string) string) error { return os.MkdirAll(p(name), 0o755) }
}

func link(target string) func(func(string) string) error {
	return func(p func(string) string) error { return os.Symlink(target, p("l")) }
}

func both(fs ...func(func(string) string) error) func(func(string) string) error {
	return func(p func(string) string) error {
		for _, f := range fs {
			if err := f(p); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestExact(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
		must(t, os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")))
		set(t, filepath.Join(dir, "f"), 1)
		set(t, dir, 1)
	}
	if got := differences(t, a, b, Options{Exact: true}); got != nil {
		t.Error(got)
	}
	must(t, os.Remove(filepath.Join(b, "g")))
	must(t, os.WriteFile(filepath.Join(b, "g"), nil, 0o644))
	set(t, filepath.Join(b, "g"), 2)
	set(t, b, 1)
	if got := strings.Join(differences(t, a, b, Options{Exact: true}), "; "); got != "changed /f links; changed /g time,links" {
		t.Error(got)
	}
	if got := differences(t, a, b, Options{}); got != nil {
		t.Error(got)
	}
}

// set gives a file a time that only its nanoseconds tell from another.
func set(t *testing.T, path string, nsec int64) {
	t.Helper()
	ts := unix.Timespec{Sec: 1, Nsec: nsec}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, 0))
}

func TestStops(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	must(t, mkdir("x/y")(func(n string) string { return filepath.Join(b, n) }))
	sa, err := merge.OpenUser(a)
	must(t, err)
	defer sa.Close()
	sb, err := merge.OpenUser(b)
	must(t, err)
	defer sb.Close()
	enough := errors.New("enough")
	n := 0
	if err := Trees(context.Background(), sa, sb, Options{}, func(Change) error { n++; return enough }); !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
}

func TestConfigurations(t *testing.T) {
	a := image.Record{Format: image.OCI, Labels: map[string]string{"os": "linux"}, Annotations: map[string]string{"rkt/facts": "ours"},
		App: &image.App{Entrypoint: []string{"/a"}, Environment: []string{"A=1", "B=", "C=3"}, User: "0"}}
	b := image.Record{Format: image.OCI, Labels: map[string]string{"os": "plan9"},
		App: &image.App{Entrypoint: []string{"/a"}, Environment: []string{"A=2", "C=3"}, Isolators: []image.Isolator{{Name: "resource/cpu", Value: image.Raw(`{"limit":"1"}`)}}}}
	got, err := json.Marshal(Configurations(a, b))
	must(t, err)
	want := `[{"name":"environment A","old":"1","new":"2"},{"name":"environment B","old":""},{"name":"isolator resource/cpu","new":{"limit":"1"}},` +
		`{"name":"label os","old":"linux","new":"plan9"},{"name":"user","old":"0"}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if d := Configurations(a, a); d != nil {
		t.Error(d)
	}
	if d := Configurations(image.Record{}, image.Record{}); d != nil {
		t.Error(d)
	}
}
