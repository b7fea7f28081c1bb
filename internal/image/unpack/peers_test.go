// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeLayout makes an OCI image layout of gzipped layers, tagged "t".
func writeLayout(t testing.TB, dir string, tars [][]byte) {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	put := func(b []byte, mediaType string) object {
		d := fmt.Sprintf("%x", sha256.Sum256(b))
		if err := os.WriteFile(filepath.Join(blobs, d), b, 0o644); err != nil {
			t.Fatal(err)
		}
		return object{"mediaType": mediaType, "digest": "sha256:" + d, "size": len(b)}
	}
	js := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var layers []object
	var diffs []string
	for _, b := range tars {
		layers = append(layers, put(gzipped(t, b), "application/vnd.oci.image.layer.v1.tar+gzip"))
		diffs = append(diffs, fmt.Sprintf("sha256:%x", sha256.Sum256(b)))
	}
	config := put(js(object{"architecture": "amd64", "os": "linux", "config": object{},
		"rootfs": object{"type": "layers", "diff_ids": diffs}}), "application/vnd.oci.image.config.v1+json")
	manifest := put(js(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": layers}), "application/vnd.oci.image.manifest.v1+json")
	manifest["annotations"] = object{"org.opencontainers.image.ref.name": "t"}
	for name, v := range map[string]any{
		"oci-layout": object{"imageLayoutVersion": "1.0.0"},
		"index.json": object{"schemaVersion": 2, "manifests": []object{manifest}},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), js(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("needs ", program)
	}
}

func umociTree(t *testing.T, tars [][]byte) tree {
	need(t, "umoci")
	dir := t.TempDir()
	writeLayout(t, filepath.Join(dir, "layout"), tars)
	command(t, "umoci", "raw", "unpack", "--image", filepath.Join(dir, "layout")+":t", filepath.Join(dir, "root"))
	return dump(t, filepath.Join(dir, "root"))
}

func podmanTree(t *testing.T, driver string, tars [][]byte) tree {
	need(t, "podman")
	dir, err := os.MkdirTemp("", "rkt") // podman wants it short and in lower case
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// What podman leaves mounted when a test fails half-way.
		merged, _ := filepath.Glob(filepath.Join(dir, "root", "overlay", "*", "merged"))
		for _, m := range append(merged, filepath.Join(dir, "root", "overlay")) {
			_ = unix.Unmount(m, unix.MNT_DETACH)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	writeLayout(t, filepath.Join(dir, "layout"), tars)
	store := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", driver}
	podman := func(args ...string) string {
		return command(t, "podman", append(store[:len(store):len(store)], args...)...)
	}
	id := podman("pull", "-q", "oci:"+filepath.Join(dir, "layout")+":t")
	mnt := podman("image", "mount", id)
	out := dump(t, mnt)
	podman("image", "umount", id)
	return out
}

const fileCap = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep

// withoutDuplicates keeps each name's first entry: podman takes no others.
func withoutDuplicates(layers [][]entry) (out [][]entry) {
	for _, l := range layers {
		seen := map[string]bool{}
		var keep []entry
		for _, e := range l {
			if name := strings.TrimSuffix(e.name, "/"); !seen[name] {
				seen[name] = true
				keep = append(keep, e)
			}
		}
		out = append(out, keep)
	}
	return out
}

// everything is an image of three layers with all that has to survive.
func everything() [][]entry {
	at := func(n int64) time.Time { return time.Unix(1_500_000_000+n, n*1001) }
	long := strings.Repeat("long-directory-name/", 12)
	zeros := strings.Repeat("\x00", 300<<10)
	return [][]entry{{
		{name: "./", mode: 0o751, uid: 5, gid: 6, mtime: at(1)},
		{name: "bin/", mtime: at(2)},
		{name: "bin/sh", body: "#!shell", mode: 0o755, mtime: at(3)},
		{name: "bin/su", body: "su", mode: 0o4755, uid: 7, gid: 8, mtime: at(4)},
		{name: "bin/wall", body: "wall", mode: 0o2755, gid: 5, mtime: at(5)},
		{name: "bin/ping", body: "ping", mode: 0o755, xattrs: map[string]string{"security.capability": fileCap}, uid: 9, mtime: at(6)},
		{name: "bin/sh2", kind: tar.TypeLink, link: "bin/sh", mode: 0o755, mtime: at(3)},
		{name: "bin/ash", link: "sh", uid: 70000, gid: 80000, mtime: at(7)},
		{name: "tmp/", mode: 0o1777, mtime: at(8)},
		{name: "etc/", mode: 0o750, uid: 11, gid: 12, mtime: at(9)},
		{name: "etc/hosts", body: "hosts", mtime: at(10), xattrs: map[string]string{"user.note": "a\x00b", "trusted.x": "y"}},
		{name: "etc/gone", body: "gone"},
		{name: "etc/replaced", body: "old"},
		{name: "etc/dir/", mode: 0o700},
		{name: "etc/dir/in", body: "in"},
		{name: "etc/opq/", mode: 0o711},
		{name: "etc/opq/low", body: "low"},
		{name: "etc/opq/lowdir/"},
		{name: "etc/opq/lowdir/x", body: "x"},
		{name: "dev/", mtime: at(11)},
		{name: "dev/null", kind: tar.TypeChar, major: 1, minor: 3, mode: 0o666, mtime: at(12)},
		{name: "dev/loop300", kind: tar.TypeBlock, major: 7, minor: 300, mode: 0o660, gid: 6, mtime: at(13)},
		{name: "dev/pipe", kind: tar.TypeFifo, mode: 0o640, uid: 3, mtime: at(14)},
		{name: "dev/suid-fifo", kind: tar.TypeFifo, mode: 0o4711, uid: 3, mtime: at(14)},
		{name: "big/", mode: 0o2775, gid: 50},
		{name: "big/ids", body: "x", uid: 3_000_000_000, gid: 4_294_967_294},
		{name: "big/sparse", body: "begin" + zeros + "middle" + zeros + "end"},
		{name: "big/zeros", body: zeros},
		{name: "big/empty", mode: 0o400},
		{name: "big/none", mode: 0o1000},
		{name: long, mode: 0o700, mtime: at(15)},
		{name: long + strings.Repeat("f", 255), body: "long", mtime: at(16)},
		{name: "weird/"},
		{name: "weird/new\nline\tand \xff\xfe bytes", body: "w"},
		{name: "weird/nowhere", link: "../../../../etc/shadow"},
		{name: "weird/old", body: "from before 1970", mtime: time.Unix(-1000, 5)},
		{name: "locked/", mode: 0o1000},
		{name: "locked/inside", body: "x"},
		{name: "usr/", mode: 0o755},
		{name: "usr/lib/", mode: 0o755},
		{name: "usr/lib/so", body: "so"},
		{name: "lib", link: "usr/lib"},
		{name: "abslib", link: "/usr/lib"},
		{name: "lib/through", body: "through a link", mtime: at(17)},
		{name: "abslib/through2/", mode: 0o711, mtime: at(18)},
		{name: "usr/lib/", mode: 0o755, mtime: at(19)}, // again, so that its time is told
		{name: "dup", body: "first"},
		{name: "dup", body: "second, longer", mode: 0o600},
		{name: "dup2/"},
		{name: "dup2/x", body: "x"},
		{name: "dup2", body: "a file now"},
		{name: "dup3", body: "a file"},
		{name: "dup3/", mode: 0o705},
		{name: "dup4", link: "usr"},
		{name: "dup4/", mode: 0o701},
		{name: "dup5/", mode: 0o701, xattrs: map[string]string{"user.a": "1"}},
		{name: "dup5/keep", body: "k"},
		{name: "dup5/", mode: 0o702, uid: 5, xattrs: map[string]string{"user.b": "2"}},
		{name: "links/"},
		{name: "links/sym", link: "target"},
		{name: "links/hard-sym", kind: tar.TypeLink, link: "links/sym"},
		{name: "links/fifo2", kind: tar.TypeLink, link: "dev/pipe", mode: 0o640, uid: 3, mtime: at(14)},
		{name: "links/via", kind: tar.TypeLink, link: "abslib/so"},
	}, {
		{name: "etc/", mode: 0o755, uid: 11, gid: 12, mtime: at(20)},
		{name: "etc/.wh.gone"},
		{name: "etc/replaced", body: "new"},
		{name: "etc/.wh.dir"},
		{name: "etc/opq/", mode: 0o711, mtime: at(21)},
		{name: "etc/opq/early", body: "before the mark"},
		{name: "etc/opq/lowdir/", mode: 0o710},
		{name: "etc/opq/.wh..wh..opq"},
		{name: "etc/opq/new", body: "new"},
		{name: "etc/opq/", mode: 0o711, mtime: at(22)},
		{name: "bin/", mtime: at(23)},
		{name: "bin/added", body: "added"},
		{name: "bin/.wh.sh2"},
	}, {
		{name: "etc/", mode: 0o750, mtime: at(24)},
		{name: "etc/dir/", mode: 0o755, mtime: at(25)},
		{name: "etc/dir/again", body: "again", mtime: at(26)},
		{name: "etc/gone", body: "back"},
		{name: "etc/opq/", mode: 0o711, mtime: at(27)},
		{name: "etc/opq/.wh.new"},
		{name: "etc/.wh.nothing-there"},
		{name: "etc/opq/", mode: 0o711, mtime: at(27)},
		{name: "etc/", mode: 0o750, mtime: at(24)},
	}}
}

func tars(t testing.TB, layers [][]entry) (out [][]byte) {
	for _, l := range layers {
		out = append(out, makeTar(t, l))
	}
	return out
}

// Every difference that a peer may show, with its reason; anything else fails.
var (
	mtime = regexp.MustCompile(`mtime=\S+`)
	nlink = regexp.MustCompile(` nlink=\S+( same=\S+)?`)
)

// allow blanks what re matches in both trees' lines of the paths.
func allow(a, b tree, re *regexp.Regexp, paths ...string) {
	for _, t := range []tree{a, b} {
		for _, p := range paths {
			if line, ok := t[p]; ok {
				t[p] = re.ReplaceAllString(line, "…")
			}
		}
	}
}

// unannounced lists the directories of the image that no layer has an entry
// for: the peers leave the time of unpacking there.
func unannounced(layers [][]entry) (out []string) {
	known := map[string]bool{".": true}
	for _, l := range layers {
		for _, e := range l {
			known[filepath.Clean(e.name)] = true
		}
	}
	for _, l := range layers {
		for _, e := range l {
			for d := filepath.Dir(filepath.Clean(e.name)); d != "."; d = filepath.Dir(d) {
				if !known[d] {
					out = append(out, d)
				}
			}
		}
	}
	return out
}

func TestPeersUmoci(t *testing.T) {
	needRoot(t)
	layers := everything()
	in := tars(t, layers)
	peer, ours := umociTree(t, in), mounted(t, in)
	allow(peer, ours, mtime, unannounced(layers)...)
	allow(peer, ours, mtime, ".")              // umoci works in it afterwards
	allow(peer, ours, mtime, "etc/opq/lowdir") // emptied by the opaque mark that follows its entry
	allow(peer, ours, nlink, "bin/sh")         // its other name is hidden in ours, gone in theirs
	for _, d := range differ(peer, ours, nil) {
		t.Error("umoci -, rkt +", d)
	}
}

func TestPeersPodman(t *testing.T) {
	needRoot(t)
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			layers := withoutDuplicates(everything())
			in := tars(t, layers)
			peer, ours := podmanTree(t, driver, in), mounted(t, in)
			allow(peer, ours, mtime, unannounced(layers)...)
			allow(peer, ours, mtime, "weird/old") // podman knows no time before 1970
			if driver == "overlay" {
				allow(peer, ours, regexp.MustCompile(".*"), ".") // podman makes a root of its own
			} else {
				allow(peer, ours, mtime, ".")
				// Its copy of the lower layer keeps links of regular files only
				// and no trusted attributes; and bin/sh's other name is gone.
				allow(peer, ours, nlink, "bin/sh", "dev/pipe", "links/fifo2", "links/hard-sym", "links/sym")
				allow(peer, ours, regexp.MustCompile(` trusted\.x=\S+`), "etc/hosts")
				peer["etc/hosts"] = strings.Replace(peer["etc/hosts"], " user.note", "… user.note", 1)
			}
			for _, d := range differ(peer, ours, nil) {
				t.Error("podman -, rkt +", d)
			}
		})
	}
}

// incomplete is an image whose upper layers leave parents out, as ko, umoci
// insert, crane append and other makers do.
func incomplete() [][]entry {
	at := func(n int64) time.Time { return time.Unix(1_550_000_000+n, n) }
	return [][]entry{{
		{name: "./", mode: 0o555, uid: 1, gid: 2, mtime: at(1)},
		{name: "tmp/", mode: 0o1777, mtime: at(2)},
		{name: "etc/", mode: 0o750, gid: 9, mtime: at(3), xattrs: map[string]string{"user.dir": "etc"}},
		{name: "etc/conf.d/", mode: 0o700, uid: 33, mtime: at(4)},
		{name: "etc/conf.d/base", body: "b"},
		{name: "home/", mode: 0o711, mtime: at(5)},
		{name: "home/u/", mode: 0o700, uid: 1000, gid: 1000, mtime: at(6)},
		{name: "home/u/x", body: "x"},
		{name: "opt/", mode: 0o701, mtime: at(7)},
		{name: "opt/a/", mode: 0o702, mtime: at(8)},
		{name: "opt/a/x", body: "x"},
	}, {
		{name: "tmp/file", body: "1"},
		{name: "etc/conf.d/more", body: "2"},
		{name: "home/u/", mode: 0o750, uid: 1001, mtime: at(9)}, // home itself is left out
		{name: "opt/.wh.a"},
		{name: "fresh/deep/er", body: "no lower layer has it"},
		{name: "squashed/", mtime: at(10)},
		{name: "squashed/.wh.ghost"},
		{name: "squashed/real", body: "r"},
	}, {
		{name: "etc/conf.d/.wh.base"},
		{name: "home/u/y", body: "y"},
		{name: "opt/a/y", body: "y"}, // a is another a now: nothing of the old one's
	}}
}

func TestImplicitParents(t *testing.T) {
	needRoot(t)
	layers := incomplete()
	in := tars(t, layers)
	peer, ours := umociTree(t, in), mounted(t, in)
	if _, ok := ours["squashed/ghost"]; ok {
		t.Error("a whiteout is seen")
	}
	allow(peer, ours, mtime, unannounced(layers)...)
	allow(peer, ours, mtime, ".", "opt", "opt/a") // umoci's removals show in its times
	allow(peer, ours, mtime, "squashed", "etc/conf.d")
	for _, d := range differ(peer, ours, nil) {
		t.Error("umoci -, rkt +", d)
	}
	for path, want := range map[string]string{
		".": "mode=40555 owner=1:2", "tmp": "mode=41777", "etc": "mode=40750 owner=0:9", "etc/conf.d": "mode=40700 owner=33:0",
		"home": "mode=40711", "home/u": "mode=40750 owner=1001:0", "opt": "mode=40701", "opt/a": "mode=40755", "fresh": "mode=40755 owner=0:0",
	} {
		if !strings.HasPrefix(ours[path], want) {
			t.Errorf("%s: got %s, want %s", path, ours[path], want)
		}
	}
	if testing.Verbose() {
		for _, d := range differ(podmanTree(t, "overlay", in), ours, nil) {
			t.Log("podman -, rkt +", d)
		}
	}
}

// Where extracting one layer over the other and stacking trees differ, rkt
// shows what podman's overlay driver does (decisions/0002).
func TestPodmanAgrees(t *testing.T) {
	needRoot(t)
	layers := [][]entry{{
		{name: "usr/"}, {name: "usr/lib/"}, {name: "usr/lib/so", body: "so"},
		{name: "lib", link: "usr/lib"},
		{name: "dev/"}, {name: "dev/hidden", body: "x"},
		{name: "file", body: "x"},
	}, {
		{name: "lib/x", body: "x"},
		{name: "dev/"}, {name: "dev/hidden", kind: tar.TypeChar},
		{name: "file/below", body: "x"},
	}}
	in := tars(t, layers)
	peer, ours := podmanTree(t, "overlay", in), mounted(t, in)
	allow(peer, ours, mtime, "lib", "file")
	allow(peer, ours, regexp.MustCompile(".*"), ".")
	for _, d := range differ(peer, ours, nil) {
		t.Error("podman -, rkt +", d)
	}
	for path, there := range map[string]bool{"lib/x": true, "lib/so": false, "dev/hidden": false, "file/below": true} {
		if _, ok := ours[path]; ok != there {
			t.Errorf("%s: seen %v, want %v", path, ok, there)
		}
	}
}
