// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/test/web"
)

// needs is the manifest's field for dependencies, each as "name", "name:version"
// or with further fields after a space.
func needs(deps ...string) string {
	var list []string
	for _, d := range deps {
		d, more, _ := strings.Cut(d, " ")
		name, version, ok := strings.Cut(d, ":")
		s := fmt.Sprintf(`{"imageName":%q`, name)
		if ok {
			s += fmt.Sprintf(`,"labels":[{"name":"version","value":%q}]`, version)
		}
		if more != "" {
			s += "," + more
		}
		list = append(list, s+"}")
	}
	return `,"dependencies":[` + strings.Join(list, ",") + "]"
}

// shop serves ACIs by discovery.
func shop(t *testing.T) (*web.Sites, func(name, version, more string, files ...file) []byte) {
	s := sites(t)
	s.Text("https://example.com/", page)
	return s, func(name, version, more string, files ...file) []byte {
		b := aci(t, manifest(name, version, more), files...)
		s.File(place(name, version), b)
		s.File(place(name, "latest"), b)
		return b
	}
}

// merged mounts an image's layers as a pod would and lists the files.
func merged(t *testing.T, st *store.Store, rec image.Record) map[string]string {
	t.Helper()
	var lower []string
	for _, l := range slices.Backward(rec.Layers) {
		lower = append(lower, st.LayerPath(l.DiffID))
	}
	at := lower[0]
	if len(lower) > 1 {
		at = t.TempDir()
		// Short names, for mount(2) takes a page of options.
		links := t.TempDir()
		for i := range lower {
			link := filepath.Join(links, fmt.Sprint(i))
			if err := os.Symlink(lower[i], link); err != nil {
				t.Fatal(err)
			}
			lower[i] = link
		}
		if err := unix.Mount("overlay", at, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(lower, ":")); err != nil {
			t.Skipf("needs overlay mounts: %v", err)
		}
		defer func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		}()
	}
	all := map[string]string{}
	err := filepath.WalkDir(at, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		all[strings.TrimPrefix(p, at)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDependencies(t *testing.T) {
	st, dir := open(t)
	s, sell := shop(t)
	// A diamond: app over left and right, both over base. What right needs is
	// laid over left with it, so that base comes where it is uppermost.
	base := sell("example.com/base", "1", "", file{"who", "base"}, file{"base", "base"}, file{"over", "base"})
	sell("example.com/left", "1", needs("example.com/base:1"), file{"who", "left"}, file{"left", "left"}, file{"over", "left"})
	sell("example.com/right", "1", needs("example.com/base"), file{"who", "right"}, file{"right", "right"})
	app := sell("example.com/app", "1", needs("example.com/left:1", "example.com/right:1"), file{"app", "app"})
	rec := get(t, st, options(t), "example.com/app:1")
	if rec.ID != aciID(app) || len(rec.Layers) != 4 || rec.Layers[1].DiffID.ID() != aciID(base) {
		t.Errorf("record = %+v", rec)
	}
	want := map[string]string{"/who": "right", "/base": "base", "/left": "left", "/right": "right", "/over": "base", "/app": "app"}
	if d := cmp.Diff(want, merged(t, st, rec)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	var order []string
	for _, l := range s.Asked() {
		if strings.HasSuffix(l, ".aci") {
			l = strings.TrimPrefix(l, "https://img.example.com/example.com/")
			order = append(order, l[:strings.IndexByte(l, '-')])
		}
	}
	if !slices.Equal(order, []string{"app", "left", "right", "base"}) {
		t.Errorf("fetched in the order %q", order)
	}
	// All are images of their own, and need nobody to be asked.
	opt := options(t)
	opt.Policy, opt.Helper = fetch.New, "/nowhere"
	for _, n := range []string{"app", "left", "right", "base"} {
		get(t, st, opt, "example.com/"+n+":1")
	}
	// What is stored is not fetched again for another image.
	sell("example.com/second", "1", needs("example.com/right:1"), file{"second", "2"})
	opt = options(t)
	opt.Policy = fetch.New
	second := get(t, st, opt, "example.com/second:1")
	if d := cmp.Diff(map[string]string{"/who": "right", "/base": "base", "/right": "right", "/over": "base", "/second": "2"}, merged(t, st, second)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if l := s.Asked(); strings.Contains(strings.Join(l, " "), "right") {
		t.Errorf("asked %q", l)
	}
	// A dependency that is new by now is seen by an update, though the image
	// above it is the same.
	sell("example.com/base", "2", "", file{"base", "two"})
	rec = get(t, st, options(t), "example.com/app:1")
	if got := merged(t, st, rec); rec.ID != aciID(app) || got["/base"] != "base" {
		t.Errorf("%s: base is %q", rec.ID, got["/base"])
	}
	rec = get(t, st, options(t), "example.com/right:1")
	if got := merged(t, st, rec); got["/base"] != "two" || got["/right"] != "right" {
		t.Errorf("after the update: %q", got)
	}
	// Removing a dependency takes nothing from those above it.
	if _, err := st.Remove(aciID(base), nil); err != nil {
		t.Fatal(err)
	}
	opt = options(t)
	opt.Policy, opt.Helper = fetch.Never, "/nowhere"
	if got := merged(t, st, get(t, st, opt, "example.com/app:1")); got["/over"] != "base" || got["/base"] != "base" {
		t.Errorf("after removal: %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*/tmp/*")); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

func TestDependencyFaults(t *testing.T) {
	st, dir := open(t)
	_, sell := shop(t)
	base := sell("example.com/base", "1", "")
	sell("example.com/a", "1", needs("example.com/b"))
	sell("example.com/b", "1", needs("example.com/base:1", "example.com/c"))
	sell("example.com/c", "1", needs("example.com/a"))
	sell("example.com/self", "1", needs("example.com/self"))
	sell("example.com/missing", "1", needs("example.com/none:1"))
	sell("example.com/size", "1", needs(fmt.Sprintf(`example.com/base:1 "size":%d`, len(base)+1)))
	sell("example.com/id", "1", needs(`example.com/base:1 "imageID":"sha512-`+strings.Repeat("0", 128)+`"`))
	sell("example.com/label", "1", needs(`example.com/base "labels":[{"name":"channel","value":"beta"}]`))
	deep := 66
	for i := range deep {
		sell(fmt.Sprintf("example.com/deep%d", i), "1", needs(fmt.Sprintf("example.com/deep%d", i+1)))
	}
	before := files(t, dir)
	for in, says := range map[string]string{
		"example.com/a:1":       "its dependencies go round in a circle: example.com/a → example.com/b → example.com/c → example.com/a",
		"example.com/self:1":    "circle: example.com/self → example.com/self",
		"example.com/missing:1": `it depends on "example.com/none:1": server img.example.com does not have`,
		"example.com/size:1":    fmt.Sprintf(`it is %d bytes long instead of %d`, len(base), len(base)+1),
		"example.com/id:1":      "its ID is " + aciID(base).Short() + ", not sha512-000000000000",
		"example.com/label:1":   `it has no label "channel"`,
		"example.com/deep0:1":   "depends on more than 63 images",
	} {
		fails(t, st, options(t), in, says)
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the store changed: %q", after)
	}
	// By ID and size, as they are.
	sell("example.com/good", "1", needs(fmt.Sprintf(`example.com/base:1 "imageID":%q,"size":%d`, aciID(base), len(base))), file{"f", "f"})
	rec := get(t, st, options(t), "example.com/good:1")
	if len(rec.Layers) != 2 {
		t.Errorf("layers %v", rec.Layers)
	}
}

func TestWhitelist(t *testing.T) {
	st, dir := open(t)
	_, sell := shop(t)
	keep := func(paths ...string) string {
		return fmt.Sprintf(`,"pathWhitelist":["%s"]`, strings.Join(paths, `","`))
	}
	sell("example.com/base", "1", "", file{"keep", "base"}, file{"drop", "base"}, file{"mid", "base"})
	sell("example.com/mid", "1", needs("example.com/base:1")+keep("/keep", "/mid"), file{"mid", "mid"}, file{"own", "mid"})
	sell("example.com/side", "1", "", file{"drop", "side"}, file{"side", "side"})
	app := sell("example.com/app", "1", needs("example.com/side:1", "example.com/mid:1")+keep("/app", "/keep", "/drop", "/mid", "/none"), file{"app", "app"}, file{"junk", "app"})
	sell("example.com/top", "1", needs("example.com/app:1"), file{"top", "top"})

	for name, want := range map[string]map[string]string{
		"example.com/mid:1": {"/keep": "base", "/mid": "mid"},
		"example.com/app:1": {"/app": "app", "/keep": "base", "/drop": "side", "/mid": "mid"},
		"example.com/top:1": {"/app": "app", "/keep": "base", "/drop": "side", "/mid": "mid", "/top": "top"},
	} {
		rec := get(t, st, options(t), name)
		if d := cmp.Diff(want, merged(t, st, rec)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
		if len(rec.Layers) != 1 || rec.Layers[0].MediaType != fetch.RenderedMediaType || len(rec.Parts) < 2 {
			t.Errorf("%s: record = %+v", name, rec)
		}
		// The same again, and from the store.
		if again := get(t, st, options(t), name); again.Layers[0].DiffID != rec.Layers[0].DiffID {
			t.Errorf("%s: rendered twice, and otherwise", name)
		}
	}
	// A rendered tree that is lost is made again from what is stored, though the
	// images that it came from are gone.
	opt := options(t)
	opt.Policy = fetch.Never
	rec := get(t, st, opt, "example.com/app:1")
	all, err := st.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.ID != aciID(app) {
			if _, err := st.Remove(r.ID, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := st.Collect(store.Policy{Grace: -1}); err != nil {
		t.Fatal(err)
	}
	want := merged(t, st, rec)
	if err := os.RemoveAll(st.LayerPath(rec.Layers[0].DiffID)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, merged(t, st, get(t, st, opt, "example.com/app:1"))); d != "" {
		t.Errorf("made again: (-want +got)\n%s", d)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*/tmp/*")); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

// What somebody vouches for keeps the layers that were proven: an update for
// which nobody does not change what is under it.
func TestProvenLayersStay(t *testing.T) {
	st, _ := open(t)
	_, sell := shop(t)
	sell("example.com/base", "1", "", file{"f", "proven"})
	app := sell("example.com/app", "1", needs("example.com/base"))
	rec := get(t, st, options(t), "example.com/app:1")
	rec.Trust = image.TrustSignature
	if err := st.Commit(rec); err != nil {
		t.Fatal(err)
	}
	sell("example.com/base", "2", "", file{"f", "from anybody"})
	after := get(t, st, options(t), "example.com/app:1")
	if after.Trust != image.TrustSignature || !slices.Equal(after.Layers, rec.Layers) {
		t.Errorf("after the update: %+v", after)
	}
	path := filepath.Join(t.TempDir(), "app.aci")
	if err := os.WriteFile(path, app, 0o600); err != nil {
		t.Fatal(err)
	}
	after = get(t, st, options(t), path)
	if got := merged(t, st, after); after.Trust != image.TrustSignature || got["/f"] != "proven" {
		t.Errorf("after an import: %q of %+v", got, after)
	}
	// An image of which nobody vouches for a part is not vouched for either.
	top := get(t, st, options(t), "example.com/base:2")
	top.Trust = image.TrustSignature
	if err := st.Commit(top); err != nil {
		t.Fatal(err)
	}
	sell("example.com/other", "1", needs("example.com/base:2", "example.com/loose"))
	sell("example.com/loose", "1", "")
	if rec := get(t, st, options(t), "example.com/other:1"); rec.Trust != image.TrustNone {
		t.Errorf("trust %q", rec.Trust)
	}
}
