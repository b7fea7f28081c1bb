// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
)

// Ids that nobody has.
const (
	alice   = 47001
	bob     = 47002
	group   = 47110
	admins  = 47111
	outside = 47003
)

// setUp makes a data directory with dist/setup-data-dir.sh.
func setUp(t *testing.T) (root, data string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: for directories of several users")
	}
	root, err := os.MkdirTemp("", "rkt-members")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it may be run again
		cmd := exec.Command("../../../dist/setup-data-dir.sh")
		cmd.Env = append(os.Environ(), "RKT_ROOT="+root, fmt.Sprint("RKT_GROUP=", group), fmt.Sprint("RKT_ADMIN_GROUP=", admins))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return root, filepath.Join(root, "var/lib/rkt")
}

// TestSetUp: the script and the snippet for systemd say the same.
func TestSetUp(t *testing.T) {
	root, _ := setUp(t)
	if _, err := exec.LookPath("systemd-tmpfiles"); err != nil {
		t.Skip("needs systemd-tmpfiles")
	}
	other := t.TempDir()
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/:/\n",
		"etc/group":  fmt.Sprintf("root:x:0:\nrkt:x:%d:\nrkt-admin:x:%d:\n", group, admins),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(other, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(other, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := filepath.Abs("../../../dist/tmpfiles.d/rkt.conf")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "systemd-tmpfiles", "--create", "--root="+other, conf)
	for _, dir := range []string{"var/lib/rkt", "etc/rkt"} {
		a, b := modes(t, filepath.Join(root, dir)), modes(t, filepath.Join(other, dir))
		if a != b {
			t.Errorf("%s: the script makes\n%s\nsystemd-tmpfiles makes\n%s", dir, a, b)
		}
	}
	for _, name := range []string{"var/lib/rkt/images/oci-layout", "var/lib/rkt/images/rkt/lock"} {
		a, aerr := os.ReadFile(filepath.Join(root, name))
		b, berr := os.ReadFile(filepath.Join(other, name))
		if aerr != nil || berr != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: %q, %v; %q, %v", name, a, aerr, b, berr)
		}
	}
	if text := modes(t, filepath.Join(root, "var/lib/rkt")); !strings.Contains(text, fmt.Sprintf("images/rkt/tmp 43770 0:%d", group)) {
		t.Errorf("modes:\n%s", text)
	}
}

func modes(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %o %d:%d\n", rel, st.Mode, st.Uid, st.Gid)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// asUser runs this test program as another user, to do what job says.
func asUser(t *testing.T, uid int, groups []uint32, job ...string) (out string, err error) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(helper), "test")
	if _, err := os.Stat(dir); err != nil { // the program lies where only root may go
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir, self, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(helper), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(dir, "-test.run=^TestAsUser$")
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RKT_TEST_JOB=" + string(text), "RKT_TEST_HELPER=" + helper}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY"} { // of test/web, if it is there
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), Groups: groups}}
	var b, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &e
	err = cmd.Run()
	if err != nil {
		err = errors.New(e.String() + b.String())
	}
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(b.String()), "PASS")), err
}

func TestAsUser(t *testing.T) {
	text := os.Getenv("RKT_TEST_JOB")
	if text == "" {
		t.Skip("runs as another user inside other tests")
	}
	var job []string
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		t.Fatal(err)
	}
	syscall.Umask(0o077)
	st, err := store.Open(job[1])
	if err == nil {
		switch job[0] {
		case "fetch":
			r, perr := ref.Parse(job[2])
			if perr != nil {
				t.Fatal(perr)
			}
			var rec image.Record
			rec, err = fetch.Image(t.Context(), st, fetch.Options{Helper: os.Getenv("RKT_TEST_HELPER"), InsecureImage: true, RetryMillis: 1}, r)
			fmt.Println(rec.ID)
		case "list":
			var all []image.Record
			all, err = st.List()
			for _, r := range all {
				fmt.Println(r.ID, r.Names)
			}
		case "rm":
			_, err = st.Remove(image.ID(job[2]), nil)
		case "gc":
			_, err = st.Collect(store.Policy{Grace: -1})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

// TestMembers: members of the group fetch, list and remove; root unpacks what
// they fetched when it first uses it, and believes nothing they say.
func TestMembers(t *testing.T) {
	_, data := setUp(t)
	reg := serve(t)
	url := "docker://" + reg.host + "/app:v1"
	reg.push(t, "app:v1", build(t, "amd64", layer(t, 1, file{"etc/", "755"}), layer(t, 2, file{"etc/x", "x"})))

	if out, err := asUser(t, outside, nil, "list", data); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("somebody else lists: %q, %v", out, err)
	}
	out, err := asUser(t, alice, []uint32{group}, "fetch", data, url)
	if err != nil {
		t.Fatal(err)
	}
	id := image.ID(out)
	st, err := store.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(data, "images/rkt/records", out+".json")
	if ownerOf(t, record) != alice {
		t.Error("the record is not its writer's")
	}
	for _, uid := range []int{alice, bob} {
		if out, err := asUser(t, uid, []uint32{group}, "list", data); err != nil || !strings.Contains(out, string(id)) || !strings.Contains(out, url) {
			t.Errorf("%d lists %q, %v", uid, out, err)
		}
	}
	// Once more asks nobody.
	_ = reg.blobs() // counts from here
	if again, err := asUser(t, alice, []uint32{group}, "fetch", data, url); err != nil || again != out || reg.blobs() != 0 {
		t.Errorf("again: %q, %v", again, err)
	}

	// Root: not by the member's name, though its blobs are good; by ID at once.
	if _, err := fetch.Find(st, parse(t, url)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("found by a member's name: %v", err)
	}
	rec, err := fetch.Image(t.Context(), st, fetch.Options{Helper: helper}, parse(t, out))
	if err != nil {
		t.Fatal(err)
	}
	if ownerOf(t, record) != 0 || rec.Trust != image.TrustDigest || len(rec.Names) != 0 {
		t.Errorf("root's record: owner %d, trust %q, names %q", ownerOf(t, record), rec.Trust, rec.Names)
	}
	for _, l := range rec.Layers {
		if !st.HasLayer(l.DiffID) {
			t.Errorf("layer %s has no tree", l.DiffID)
		}
	}
	rec, err = fetch.Image(t.Context(), st, options(t), parse(t, url))
	if err != nil || rec.ID != id || reg.blobs() != 0 {
		t.Errorf("root by name: %v, %v; blobs asked for %v", rec.ID, err, reg.blobs())
	}
	// Another member removes root's image; root's collection takes the trees.
	if out, err := asUser(t, bob, []uint32{group}, "rm", data, string(id)); err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := asUser(t, bob, []uint32{group}, "gc", data); err != nil {
		t.Error(err)
	}
	c, err := st.Collect(store.Policy{Grace: -1})
	_ = st.Close()
	if err != nil || c.Layers == 0 {
		// What this process has seen is pinned until it closes the store.
		st2, oerr := store.Open(data)
		if oerr != nil {
			t.Fatal(oerr)
		}
		if c, err = st2.Collect(store.Policy{Grace: -1}); err != nil || c.Layers == 0 {
			t.Errorf("collected %+v, %v", c, err)
		}
	}
}

// TestMembersAttack: what a member can put into the store does not become
// root's word.
func TestMembersAttack(t *testing.T) {
	_, data := setUp(t)
	reg := serve(t)
	url := "docker://" + reg.host + "/app:v1"
	im := build(t, "amd64", layer(t, 1))
	reg.push(t, "app:v1", im)
	evil := build(t, "amd64", layer(t, 7, file{"bin/evil", "evil"}))
	reg.push(t, "evil:v1", evil)
	st, err := store.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(data, "images", name) }
	shadow := filepath.Join(data, "secret")
	if err := os.WriteFile(shadow, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(shadow, old, old); err != nil {
		t.Fatal(err)
	}
	asAlice := func(name string, arg ...string) error {
		cmd := exec.Command(name, arg...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: alice, Gid: alice, Groups: []uint32{group}}}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	plant := func(name, text string) {
		t.Helper()
		_ = os.Remove(path(name))
		if err := os.WriteFile(path(name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path(name), alice, group); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("modes", func(t *testing.T) {
		f, err := os.Create(path("rkt/tmp/roots"))
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(f.Name())
		defer f.Close()
		for _, c := range [][]string{
			{"ls", filepath.Join(data, "layers")},
			{"mv", path("rkt/records"), path("rkt/elsewhere")}, {"mv", path("rkt"), path("elsewhere")}, {"mv", path("blobs/sha256"), path("blobs/elsewhere")},
			{"rm", "-f", path("rkt/lock")}, {"rm", "-f", path("oci-layout")}, {"rm", "-f", path("index.json")},
			{"rm", "-f", f.Name()}, {"mv", f.Name(), path("rkt/tmp/mine")}, {"ln", shadow, path("rkt/records/link")},
		} {
			if err := asAlice(c[0], c[1:]...); err == nil {
				t.Errorf("%v worked", c)
			}
		}
		if err := asAlice("touch", path("rkt/records/file")); err != nil {
			t.Errorf("what a member may: %v", err)
		}
		_ = os.Remove(path("rkt/records/file"))
	})

	good, err := fetch.Image(t.Context(), st, options(t), parse(t, url))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := fetch.Image(t.Context(), st, options(t), parse(t, "docker://"+reg.host+"/evil:v1"))
	if err != nil {
		t.Fatal(err)
	}

	t.Run("forged record", func(t *testing.T) {
		// alice: the good image's ID, trusted, with the evil one's tree.
		forged := bad
		forged.ID, forged.Manifest, forged.Trust = good.ID, good.Manifest, image.TrustSignature
		forged.Names = []string{url}
		forged.Annotations = map[string]string{"rkt/facts " + string(bad.Layers[0].DiffID): `{}`}
		text, err := forged.Encode()
		if err != nil {
			t.Fatal(err)
		}
		plant("rkt/records/"+string(good.ID)+".json", string(text))
		got, err := st.ByID(string(good.ID))
		if err != nil || !got.Claimed || got.Trust != image.TrustNone || len(got.Annotations) != 0 {
			t.Fatalf("read as %+v, %v", got, err)
		}
		if _, err := fetch.Find(st, parse(t, string(good.ID))); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("found for a start: %v", err)
		}
		got, err = fetch.Image(t.Context(), st, fetch.Options{Helper: helper}, parse(t, string(good.ID)))
		if err != nil || got.Layers[0].DiffID != good.Layers[0].DiffID || got.App.Entrypoint[0] != "/bin/app" {
			t.Errorf("adopted as %+v, %v", got, err)
		}
		got, err = fetch.Image(t.Context(), st, options(t), parse(t, url))
		if err != nil || got.Claimed || got.Layers[0].DiffID != good.Layers[0].DiffID {
			t.Errorf("by name %+v, %v", got, err)
		}
	})
	t.Run("forged name", func(t *testing.T) {
		names, err := os.ReadDir(path("rkt/names"))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for _, n := range names {
			b, err := os.ReadFile(path("rkt/names/" + n.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), "/app:v1") {
				plant("rkt/names/"+n.Name(), strings.Replace(string(b), string(good.ID), string(bad.ID), 1))
			}
		}
		if rec, err := fetch.Find(st, parse(t, url)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("found %v by a forged name: %v", rec.ID, err)
		}
		if rec, err := fetch.Image(t.Context(), st, options(t), parse(t, url)); err != nil || rec.ID != good.ID {
			t.Errorf("got %v, %v", rec.ID, err)
		}
		// A collection must not take the word over either.
		for _, n := range names {
			b, _ := os.ReadFile(path("rkt/names/" + n.Name()))
			if strings.Contains(string(b), "/app:v1") {
				plant("rkt/names/"+n.Name(), strings.Replace(string(b), string(good.ID), string(bad.ID), 1))
			}
		}
		if _, err := st.Collect(store.Policy{Grace: -1}); err != nil {
			t.Error(err)
		}
		if rec, err := fetch.Find(st, parse(t, url)); err == nil && rec.ID != good.ID {
			t.Errorf("after gc, %v by a forged name", rec.ID)
		}
		if rec, err := fetch.Image(t.Context(), st, options(t), parse(t, url)); err != nil || rec.ID != good.ID {
			t.Errorf("after gc, got %v, %v", rec.ID, err)
		}
	})
	t.Run("corrupt blob", func(t *testing.T) {
		blob := "blobs/sha256/" + good.Layers[0].Blob.Hex()
		plant(blob, strings.Repeat("x", int(good.Layers[0].Size)))
		if err := os.RemoveAll(st.LayerPath(good.Layers[0].DiffID)); err != nil {
			t.Fatal(err)
		}
		fresh, err := store.Open(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := fresh.HasBlob(good.Layers[0].Blob); ok {
			t.Error("a member's blob of another digest counts")
		}
		_ = os.Remove(path("rkt/records/" + string(good.ID) + ".json"))
		if rec, err := fetch.Image(t.Context(), fresh, options(t), parse(t, url)); err != nil || !fresh.HasLayer(rec.Layers[0].DiffID) {
			t.Errorf("got %v, %v", rec.ID, err)
		}
		if ownerOf(t, path(blob)) != 0 {
			t.Error("the corrupt blob is still there")
		}
	})
	t.Run("links", func(t *testing.T) {
		record := path("rkt/records/sha256-" + strings.Repeat("1", 64) + ".json")
		pipe := path("rkt/records/sha256-" + strings.Repeat("2", 64) + ".json")
		for _, c := range [][]string{{"ln", "-s", shadow, record}, {"mkfifo", pipe}, {"ln", "-s", shadow, path("rkt/tmp/link")},
			{"ln", "-s", shadow, path("rkt/ingest/link")}, {"ln", "-s", data + "/made", path("rkt/fetch/link")}} {
			if err := asAlice(c[0], c[1:]...); err != nil {
				t.Fatal(err)
			}
		}
		st.Used(image.ID("sha256-" + strings.Repeat("1", 64)))
		if _, err := st.ByID("sha256-" + strings.Repeat("1", 64)); err == nil {
			t.Error("a link was read as a record")
		}
		if _, err := st.List(); err != nil {
			t.Error(err)
		}
		if _, err := st.Collect(store.Policy{Grace: -1}); err != nil {
			t.Error(err)
		}
		if fi, err := os.Stat(shadow); err != nil || fi.Size() != 6 || !fi.ModTime().Equal(old) {
			t.Errorf("what a link points at: %v, %v", fi, err)
		}
	})
	t.Run("fetch lock", func(t *testing.T) {
		// A link in place of the lock that root is about to make.
		key := "some image"
		l, err := st.TryFetchLock(key)
		if err != nil {
			t.Fatal(err)
		}
		locks, _ := os.ReadDir(path("rkt/fetch"))
		name := path("rkt/fetch/" + locks[len(locks)-1].Name())
		_ = l.Close()
		if err := asAlice("ln", "-s", data+"/made", name); err != nil {
			t.Fatal(err)
		}
		if _, err := st.TryFetchLock(key); err == nil {
			t.Error("locked through a link")
		}
		if _, err := os.Lstat(data + "/made"); err == nil {
			t.Error("root made a file where a member's link points")
		}
	})
}

// TestCredentialHelper: the user's configuration and the credential helper that
// it names are the user's alone to read and run, and are read and run by a
// process of the user's; the one that talks to the registry gets the outcome.
func TestCredentialHelper(t *testing.T) {
	st, _ := open(t)
	reg := serve(t)
	url := "docker://" + reg.host + "/app:v1"
	reg.push(t, "app:v1", build(t, "amd64", layer(t, 1)))
	reg.setFault(func(w http.ResponseWriter, q *http.Request) bool {
		if user, password, _ := q.BasicAuth(); user == "user" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	if _, err := fetch.Image(t.Context(), st, options(t), parse(t, url)); err == nil || !strings.Contains(err.Error(), "(401)") {
		t.Errorf("without credentials: %v", err)
	}
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	script := "#!/bin/sh\nread host\nid -u > " + dir + "/ran-as\necho '{\"Username\":\"user\",\"Secret\":\"secret\"}'\n"
	for name, text := range map[string]string{"docker-credential-test": script, "config.json": fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, reg.host)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fetch.Image(t.Context(), st, options(t), parse(t, url)); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(dir + "/ran-as"); err != nil || strings.TrimSpace(string(b)) != fmt.Sprint(os.Geteuid()) {
		t.Errorf("ran as %q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte("#!/bin/sh\necho 'the keyring is locked'\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch.Image(t.Context(), st, options(t), parse(t, url)); err == nil || !strings.Contains(err.Error(), "cannot read credentials for") || !strings.Contains(err.Error(), "the keyring is locked") {
		t.Errorf("a helper that fails: %v", err)
	}
}
