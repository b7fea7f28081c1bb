// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/config"
)

// fpr makes a fingerprint of one letter.
func fpr(c string) string { return strings.Repeat(c, 40) }

// dirs makes configuration directories with files in their keystores, by paths
// such as "local/prefix.d/example.com/app/a": the last element stands for a
// fingerprint of that letter, and content that is "-" for an empty file.
func dirs(t testing.TB, files ...string) config.Dirs {
	t.Helper()
	base := t.TempDir()
	for _, f := range files {
		path, content, _ := strings.Cut(f, "=")
		which, path, _ := strings.Cut(path, "/")
		if dir, last := filepath.Split(path); len(last) == 1 {
			path = dir + fpr(last)
		}
		path = filepath.Join(base, which, "trustedkeys", path)
		if content == "" {
			content = f
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Trim(content, "-")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return config.Dirs{System: filepath.Join(base, "system"), Local: filepath.Join(base, "local")}
}

func TestKeysFor(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		image string
		want  string // letters of fingerprints and whose file, in order
	}{
		"nothing there":     {nil, "example.com/app", ""},
		"root":              {[]string{"system/root.d/a", "local/root.d/b"}, "example.com/app", "a:system b:local"},
		"local wins":        {[]string{"system/root.d/a", "local/root.d/a"}, "example.com/app", "a:local"},
		"each parent":       {[]string{"local/prefix.d/example.com/a", "local/prefix.d/example.com/x/b", "local/prefix.d/example.com/x/y/c"}, "example.com/x/y", "a:local b:local c:local"},
		"not below":         {[]string{"local/prefix.d/example.com/x/y/c"}, "example.com/x", ""},
		"components":        {[]string{"local/prefix.d/example.com/foo/a"}, "example.com/foobar", ""},
		"of the host too":   {[]string{"local/prefix.d/example.co/a", "local/prefix.d/example.com.evil/b"}, "example.com/x", ""},
		"root is masked":    {[]string{"system/root.d/a", "local/root.d/a=-"}, "example.com/x", ""},
		"prefix is masked":  {[]string{"system/prefix.d/example.com/a", "local/prefix.d/example.com/a=-"}, "example.com/x", ""},
		"masked for one":    {[]string{"system/prefix.d/example.com/a", "local/prefix.d/example.com/x/a=-"}, "example.com/y", "a:system"},
		"masked below":      {[]string{"system/root.d/a", "local/prefix.d/example.com/x/a=-"}, "example.com/x", ""},
		"trusted again":     {[]string{"system/root.d/a", "local/root.d/a=-", "local/prefix.d/example.com/a"}, "example.com/x", "a:local"},
		"a prefix like one": {[]string{"local/prefix.d/example.com/" + fpr("a") + "/b"}, "example.com/x", ""},
		"hidden files pass": {[]string{"local/root.d/.tmp-1", "local/root.d/a"}, "example.com/x", "a:local"},
	} {
		t.Run(name, func(t *testing.T) {
			d := dirs(t, c.files...)
			keys, err := Keys(d).For(c.image)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, k := range keys {
				who := map[bool]string{true: "local", false: "system"}[k.Local]
				got = append(got, k.Fingerprint[:1]+":"+who)
				if !strings.HasPrefix(string(k.Data), who) {
					t.Errorf("%s has the content %q", k.Path, k.Data)
				}
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
			// Has says the same without reading.
			for _, letter := range []string{"a", "b", "c"} {
				has, err := Keys(d).Has(c.image, fpr(letter))
				if want := strings.Contains(c.want, letter+":"); has != want || err != nil {
					t.Errorf("Has %s: %v %v", letter, has, err)
				}
			}
		})
	}
}

func TestKeystoreRefuses(t *testing.T) {
	for says, c := range map[string]struct {
		files []string
		image string
	}{
		"is not called by a fingerprint": {[]string{"local/root.d/README"}, "example.com/x"},
		"only local files mask":          {[]string{"system/root.d/a=-"}, "example.com/x"},
		"larger than":                    {[]string{"local/root.d/a=" + strings.Repeat("x", MaxKey+1)}, "example.com/x"},
		"no AC Identifier":               {nil, "example.com/../x"},
		"has a scheme":                   {nil, "https://example.com"},
	} {
		if _, err := Keys(dirs(t, c.files...)).For(c.image); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	upper := dirs(t, "local/root.d/"+strings.Repeat("A", 40))
	if _, err := Keys(upper).For("x.y/z"); err == nil {
		t.Error("a fingerprint in upper case was accepted")
	}
	fifo := dirs(t, "local/root.d/a")
	path := filepath.Join(fifo.Local, "trustedkeys/root.d", fpr("b"))
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Keys(fifo).For("x.y/z"); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Error(err)
	}
}

func TestMaskByLink(t *testing.T) {
	d := dirs(t, "system/root.d/a", "local/root.d/b")
	if err := os.Symlink("/dev/null", filepath.Join(d.Local, "trustedkeys/root.d", fpr("a"))); err != nil {
		t.Fatal(err)
	}
	keys, err := Keys(d).For("x.y/z")
	if err != nil || len(keys) != 1 || keys[0].Fingerprint != fpr("b") {
		t.Errorf("%v %v", keys, err)
	}
}

func TestAll(t *testing.T) {
	d := dirs(t, "system/root.d/a", "local/root.d/a=-", "system/prefix.d/example.com/b", "local/prefix.d/example.com/x/c", "local/prefix.d/example.com/b")
	keys, err := Keys(d).All()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range keys {
		s := k.Prefix + "/" + k.Fingerprint[:1]
		if k.Masked {
			s += " masked"
		}
		if k.Masks {
			s += " mask"
		}
		got = append(got, s)
	}
	want := []string{"/a masked", "/a mask", "example.com/b masked", "example.com/b", "example.com/x/c"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if err := os.Symlink("..", filepath.Join(d.Local, "trustedkeys/prefix.d/loop")); err != nil {
		t.Fatal(err)
	}
	if _, err := Keys(d).All(); err == nil {
		t.Error("a loop of links ended well")
	}
}

func TestAddRemove(t *testing.T) {
	d := dirs(t, "system/prefix.d/example.com/a", "system/root.d/b")
	k := Keys(d)
	path, err := k.Add("example.com/x", fpr("c"), []byte("key"))
	if err != nil || path != filepath.Join(d.Local, "trustedkeys/prefix.d/example.com/x", fpr("c")) {
		t.Fatal(path, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o644 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if _, err := k.Add("", fpr("d"), []byte("key")); err != nil {
		t.Fatal(err)
	}
	has := func(letter string, want bool) {
		t.Helper()
		if got, err := k.Has("example.com/x", fpr(letter)); got != want || err != nil {
			t.Errorf("Has %s = %v %v", letter, got, err)
		}
	}
	has("c", true)
	has("d", true)
	if mask, err := k.Remove("example.com/x", fpr("c")); err != nil || mask != "" {
		t.Error(mask, err)
	}
	has("c", false)
	mask, err := k.Remove("example.com", fpr("a"))
	if err != nil || mask != filepath.Join(d.Local, "trustedkeys/prefix.d/example.com", fpr("a")) {
		t.Error(mask, err)
	}
	has("a", false)
	if _, err := k.Remove("example.com", fpr("a")); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if _, err := k.Remove("", fpr("a")); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if _, err := k.Add("example.com", fpr("a"), []byte("key")); err != nil { // the mask gives way
		t.Error(err)
	}
	has("a", true)
	if mask, err = k.Remove("example.com", fpr("a")); err != nil || mask == "" { // and comes back
		t.Error(mask, err)
	}
	for _, bad := range []string{"../x", "example.com/", "http://example.com", "/etc"} {
		if _, err := k.Add(bad, fpr("e"), []byte("key")); err == nil {
			t.Errorf("prefix %q was accepted", bad)
		}
		if _, err := k.Remove(bad, fpr("e")); err == nil || errors.Is(err, ErrNoKey) {
			t.Errorf("prefix %q was accepted: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "../" + fpr("a")[3:], fpr("a")[1:], strings.ToUpper(fpr("a"))} {
		if _, err := k.Add("x.y", bad, []byte("key")); err == nil {
			t.Errorf("fingerprint %q was accepted", bad)
		}
	}
	if _, err := (Keystore{}).Add("x.y", fpr("a"), []byte("key")); err == nil {
		t.Error("a key was kept nowhere")
	}
}

// TestGroup: below a directory that a group owns, new ones are the group's to
// change, whatever the umask.
func TestGroup(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	d := dirs(t)
	if err := os.MkdirAll(d.Local, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.Local, 0o775|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if _, err := Keys(d).Add("example.com/x", fpr("a"), []byte("key")); err != nil {
		t.Fatal(err)
	}
	for _, below := range []string{"trustedkeys", "trustedkeys/prefix.d", "trustedkeys/prefix.d/example.com/x"} {
		st, err := os.Stat(filepath.Join(d.Local, below))
		if err != nil || st.Mode() != fs.ModeDir|fs.ModeSetgid|0o775 {
			t.Errorf("%s: %v %v", below, st.Mode(), err)
		}
	}
	plain := dirs(t)
	if _, err := Keys(plain).Add("example.com/x", fpr("a"), []byte("key")); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(plain.Local, "trustedkeys")); err != nil || st.Mode() != fs.ModeDir|0o755 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

// FuzzNames: no name leads a key out of the keystore, and no name has keys of
// another that merely begins like it.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"example.com/app", "example.com/appendix", "example.com", "..", "a/../b", "", "/", "a//b", "A", "x.y/\x00", fpr("a")} {
		f.Add(s)
	}
	d := dirs(f, "local/prefix.d/example.com/app/a", "local/root.d/r")
	f.Fuzz(func(t *testing.T, name string) {
		keys, err := Keys(d).For(name)
		if err != nil {
			return
		}
		below := name == "example.com/app" || strings.HasPrefix(name, "example.com/app/")
		has := slices.ContainsFunc(keys, func(k Key) bool { return k.Fingerprint == fpr("a") })
		if has != below {
			t.Errorf("%q: key of example.com/app: %v", name, has)
		}
		for _, p := range Keys(d).places(name) {
			rel, err := filepath.Rel(d.Local, p.dir)
			if p.local && (err != nil || !strings.HasPrefix(rel, "trustedkeys/") || filepath.Clean(p.dir) != p.dir) {
				t.Errorf("%q leads to %q", name, p.dir)
			}
		}
	})
}
