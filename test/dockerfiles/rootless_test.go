// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfiles

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/images"
)

// ordinary is a uid that nobody has.
const ordinary = 54321

// machine is one on which things are built: as root, or as an ordinary user with
// or without ids of their own. Each has a data directory.
type machine struct {
	t      *testing.T
	home   string // the working directory, and where data is
	layout string
	under  []string // what executes acbuild as the user
	env    []string
}

// place is a directory that everybody may come to, with a copy of the bases.
func place(t *testing.T) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	layout, err := images.Layout()
	if err != nil {
		t.Skip(err)
	}
	dir, err = os.MkdirTemp("", "rkt-rootless-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if out, err := exec.Command("cp", "-r", layout, filepath.Join(dir, "layout")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, d := range []string{dir, install.Dir, filepath.Join(dir, "layout")} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func root(t *testing.T, place string) *machine {
	t.Helper()
	m := &machine{t: t, home: filepath.Join(place, "root"), layout: filepath.Join(place, "layout")}
	if err := os.Mkdir(m.home, 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

// user is an ordinary one, to whom subIDs, lines of subuid(5), gives ids.
func user(t *testing.T, place, name, subIDs string) *machine {
	t.Helper()
	for _, program := range []string{"setpriv", "unshare", "newuidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	m := &machine{t: t, home: filepath.Join(place, name), layout: filepath.Join(place, "layout")}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	passwd = append(passwd, "ordinary:x:54321:54321::"+m.home+":/bin/sh\n"...)
	etc := filepath.Join(place, name+".etc")
	err = errors.Join(os.Mkdir(m.home, 0o755), os.Chown(m.home, ordinary, ordinary), os.MkdirAll(filepath.Join(etc, "dev"), 0o755),
		os.WriteFile(filepath.Join(etc, "sub"), []byte(subIDs), 0o644), os.WriteFile(filepath.Join(etc, "passwd"), passwd, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	m.under = []string{"unshare", "-m", "--propagation", "private", "sh", "-ec",
		`mount --bind $1/sub /etc/subuid; mount --bind $1/sub /etc/subgid; mount --bind $1/passwd /etc/passwd
mount -t tmpfs none $1/dev; mknod -m ${TUN:-600} $1/dev/tun c 10 200; mount --bind $1/dev/tun /dev/net/tun
shift; exec setpriv --reuid=54321 --regid=54321 --clear-groups "$@"`, "sh", etc}
	return m
}

// run runs a program of rkt's in the home directory.
func (m *machine) run(program string, args ...string) (out, errs string, status int) {
	m.t.Helper()
	argv := append(append(m.under[:len(m.under):len(m.under)], install.Bin(program), "--dir="+filepath.Join(m.home, "data"),
		"--system-config="+m.home+"/none", "--local-config="+m.home+"/none"), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = m.home, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.home, "SOURCE_DATE_EPOCH=1700000000"}
	cmd.Env = append(cmd.Env, m.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(stdout.String()), stderr.String(), cmd.ProcessState.ExitCode()
}

func (m *machine) must(program string, args ...string) string {
	m.t.Helper()
	out, errs, status := m.run(program, args...)
	if status != 0 {
		m.t.Fatalf("%s %q: exit status %d\n%s%s", program, args, status, out, errs)
	}
	return out
}

// build builds a case; the answer is the image's ID.
func (m *machine) build(name string) string {
	m.t.Helper()
	return m.must("acbuild", m.words(name)...)
}

// words are those by which a case is built, whose context is made.
func (m *machine) words(name string) []string {
	m.t.Helper()
	made, args := prepared(m.t, name)
	context := filepath.Join(m.home, name)
	if out, err := exec.Command("cp", "-a", made, context).CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	m.give(context)
	words := []string{"build", "--insecure", "--network=host", "--overwrite", "--output=oci:out:" + name}
	for _, ref := range bases {
		words = append(words, "--build-context="+ref+"=oci:"+m.layout+":"+ref)
	}
	for k, v := range args {
		if k == targetArg {
			words = append(words, "--target="+v)
			continue
		}
		words = append(words, "--build-arg="+k+"="+v)
	}
	return append(words, context)
}

// give makes files those of whoever builds.
func (m *machine) give(dir string) {
	m.t.Helper()
	if m.under == nil {
		return
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, unix.Lchown(path, ordinary, ordinary))
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

const subIDs = "54321:600000:65536\n"

// beyond are cases with files of owners that a user of subIDs has none of, and what
// the user is told.
var beyond = map[string]string{
	"archive-contents": `cannot unpack "odd.tar": cannot unpack layer: entry "sgid-dir/f": cannot give it to 70000:3000000000`,
	"special":          "chown: changing ownership of '/big-owner': Invalid argument",
}

// TestRootlessDockerfiles: an ordinary user's builds come to the very images that
// root's come to.
func TestRootlessDockerfiles(t *testing.T) {
	dir := place(t)
	ours, theirs := root(t, dir), user(t, dir, "user", subIDs)
	cases, err := os.ReadDir("cases")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			ours.t, theirs.t = t, t
			if says, ok := beyond[c.Name()]; ok {
				out, errs, status := theirs.run("acbuild", theirs.words(c.Name())...)
				if status != 1 || !strings.Contains(errs, says) || out != "" {
					t.Errorf("status %d, %q, want 1 and %q:\n%s", status, out, says, errs)
				}
				return
			}
			want := ours.build(c.Name())
			if got := theirs.build(c.Name()); got != want {
				t.Errorf("the user's image is %s, root's %s:\n%s", got, want, trees(t, ours, theirs, c.Name()))
			}
		})
	}
	ours.t, theirs.t = t, t
	if out := theirs.must("acbuild", "cache", "list"); !strings.Contains(out, "RUN ") {
		t.Errorf("the user's cache has\n%s", out)
	}
	// Files of other ids go with it.
	theirs.must("acbuild", "cache", "rm")
	if left, err := filepath.Glob(theirs.home + "/data/build/trees/*"); err != nil || len(left) > 0 {
		t.Errorf("cache rm left %q, %v", left, err)
	}
}

// trees tells how the trees of two images that should be one differ.
func trees(t *testing.T, a, b *machine, name string) string {
	t.Helper()
	var list [2]string
	for i, m := range []*machine{a, b} {
		dir := filepath.Join(t.TempDir(), "unpacked")
		if out, err := exec.Command("umoci", "unpack", "--image", m.home+"/out:"+name, dir).CombinedOutput(); err != nil {
			return string(out)
		}
		cmd := exec.Command("find", ".", "-printf", "%p %M %U:%G %s %l %t\n")
		cmd.Dir = filepath.Join(dir, "rootfs")
		out, err := cmd.Output()
		if err != nil {
			return err.Error()
		}
		list[i] = filepath.Join(dir, "list")
		if err := os.WriteFile(list[i], out, 0o600); err != nil {
			return err.Error()
		}
	}
	out, _ := exec.Command("sh", "-c", `sort "$1" >"$1.s"; sort "$2" >"$2.s"; diff -u "$1.s" "$2.s"`, "sh", list[0], list[1]).Output()
	return string(out)
}

// steps are a build by commands, which gives files to others, removes some of the
// base's and hides others.
func steps(m *machine, base string) (oci string) {
	m.t.Helper()
	must := func(args ...string) { m.t.Helper(); m.must("acbuild", args...) }
	context := filepath.Join(m.home, "files")
	if err := os.CopyFS(context, os.DirFS("cases/globs")); err != nil {
		m.t.Fatal(err)
	}
	m.give(context)
	must("begin", "--build-mode=oci", base)
	must("copy", "files", "/srv/files")
	must("run", "--", "/bin/sh", "-c", "id -u >/srv/me; mkdir /srv/theirs; touch /srv/theirs/f; chown -R 1000:1001 /srv/theirs; chmod 4750 /srv/theirs/f")
	must("layer")
	must("run", "--net=none", "--", "/bin/sh", "-c", "rm -r /srv/files && mkdir /srv/files && touch /srv/files/new; rm /srv/content")
	must("copy-to-dir", "files/other.txt", "/srv/theirs")
	must("environment", "add", "A", "b")
	return m.must("acbuild", "write", "oci:steps:x")
}

// TestRootlessCommands: begin, copy, run, layer and write do as root's.
func TestRootlessCommands(t *testing.T) {
	dir := place(t)
	ours, theirs := root(t, dir), user(t, dir, "user", subIDs)
	base := "oci:" + filepath.Join(dir, "layout") + ":" + images.Tiny
	want := steps(ours, base)
	got := steps(theirs, base)
	if got != want {
		t.Errorf("the user's image is %s, root's %s", got, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(theirs.home+"/.acbuild/layers/0/srv/theirs/f", &st); err != nil || st.Uid != 600999 || st.Gid != 601000 {
		t.Errorf("a file of user 1000's is %d:%d's on the host (%v)", st.Uid, st.Gid, err)
	}
	// It goes on where it was, and into the user's own store.
	if id := theirs.must("acbuild", "write", "--to-store=example.com/steps:1"); id != want {
		t.Errorf("in the store it is %s", id)
	}
	if out := theirs.must("rkt", "run", "--net=none", "example.com/steps:1", "--exec=/bin/sh", "--", "-c", "stat -c %u:%g:%a /srv/theirs/f; ls /srv/files"); out != "1000:1001:4750\nnew" {
		t.Errorf("the image run: %q", out)
	}
	// As an ACI, too.
	for _, m := range []*machine{ours, theirs} {
		m.must("acbuild", "write", "oci-archive:steps.tar")
		m.must("acbuild", "write", "steps.aci")
	}
	a, err := os.ReadFile(ours.home + "/steps.aci")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(theirs.home + "/steps.aci"); err != nil || !bytes.Equal(a, b) {
		t.Errorf("the ACIs differ (%v)", err)
	}
	// A command that fails leaves its status, and what it wrote.
	if _, errs, status := theirs.run("acbuild", "run", "--", "/bin/sh", "-c", "touch /kept; exit 7"); status != 7 {
		t.Errorf("exit status %d\n%s", status, errs)
	}
	theirs.must("acbuild", "run", "--", "/bin/sh", "-c", "test -e /kept")
	theirs.must("acbuild", "end")
	ours.must("acbuild", "end")
	if _, err := os.Lstat(theirs.home + "/.acbuild"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("end left .acbuild (%v)", err)
	}
	// Of a directory, owners are kept as far as the namespace has them.
	if out, err := exec.Command("sh", "-ec", `cd "$1"; mkdir tree; touch tree/root tree/mine tree/theirs tree/nobody
chown 54321:54321 tree tree/mine; chown 600032:600049 tree/theirs; chown 665533:665533 tree/nobody`, "sh", theirs.home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	theirs.must("acbuild", "begin", "./tree")
	if _, errs, status := theirs.run("acbuild", "copy", "--keep-owner", "tree/root", "/x"); status != 1 || !strings.Contains(errs, "that your user namespace does not have") {
		t.Errorf("a stranger's file: exit status %d\n%s", status, errs)
	}
	theirs.must("acbuild", "set-name", "example.com/tree")
	theirs.must("acbuild", "write", "tree.aci")
	theirs.must("acbuild", "end")
	out, err := exec.Command("tar", "--numeric-owner", "-tvf", theirs.home+"/tree.aci").Output()
	for file, owner := range map[string]string{"root": "0/0", "mine": "0/0", "theirs": "33/50", "nobody": "65534/65534"} {
		if !regexp.MustCompile(`(?m) ` + owner + ` .* rootfs/` + file + `$`).Match(out) {
			t.Errorf("%s is not of %s in (%v)\n%s", file, owner, err, out)
		}
	}
	script := filepath.Join(theirs.home, "script")
	if err := os.WriteFile(script, []byte("begin "+base+"\nset-name example.com/s\nrun -- chown 33:50 /srv/content\nset-exec /bin/sh\nwrite s.aci\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	theirs.must("acbuild", "script", "script")
	if left, err := filepath.Glob(os.TempDir() + "/acbuild-script-*/.acbuild"); err != nil || len(left) > 0 {
		t.Errorf("the script left %q (%v)", left, err)
	}
}

// TestRootlessOneID: without ids of their own a user builds as far as it goes, and
// is told what does not.
func TestRootlessOneID(t *testing.T) {
	dir := place(t)
	ours, theirs := root(t, dir), user(t, dir, "user", "\n")
	layout := "oci:" + filepath.Join(dir, "layout") + ":"
	for _, m := range []*machine{ours, theirs} {
		if err := os.WriteFile(m.home+"/Dockerfile", []byte("FROM plain\nRUN echo $(id -u) >/data/x && rm -f /data/new\nCOPY Dockerfile /\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := []string{"build", "--insecure", "--network=none", "--build-context=plain=" + layout + images.Plain, "--build-context=tiny=" + layout + images.Tiny}
	want := ours.must("acbuild", append(build, "--output=oci:out:x", ".")...)
	if got := theirs.must("acbuild", append(build, "--output=oci:out:x", ".")...); got != want {
		t.Errorf("the user's image is %s, root's %s", got, want)
	}
	// Files of the host that are one's own, with a command in between.
	m := theirs
	if err := os.Mkdir(m.home+"/root", 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-c", "mkdir $1/root/bin && cp $(command -v busybox) $1/root/bin/busybox && ln -s busybox $1/root/bin/sh", "sh", m.home).CombinedOutput(); err != nil {
		t.Skipf("needs busybox: %s", out)
	}
	m.give(m.home + "/root")
	m.must("acbuild", "begin", "./root")
	m.must("acbuild", "run", "--", "/bin/busybox", "touch", "/made")
	m.must("acbuild", "set-name", "example.com/one")
	m.must("acbuild", "write", "one.aci")
	m.must("acbuild", "end")
	if out, err := exec.Command("tar", "--numeric-owner", "-tvf", m.home+"/one.aci").Output(); err != nil || !strings.Contains(string(out), "rootfs/made") || strings.Contains(string(out), "54321") {
		t.Errorf("the ACI has (%v)\n%s", err, out)
	}
	if err := os.WriteFile(m.home+"/chown.Dockerfile", []byte("FROM plain\nCOPY --chown=33 Dockerfile /\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.home+"/tiny.Dockerfile", []byte("FROM tiny\nRUN true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.must("acbuild", "begin", "--build-mode=oci", layout+images.Tiny) // whose layers stay as they are
	for name, c := range map[string]struct {
		args  []string
		words []string
	}{
		"an owner":      {append(build, "-f", "chown.Dockerfile", "."), []string{"33:33", "newuidmap"}},
		"a base":        {append(build, "-f", "tiny.Dockerfile", "."), []string{"cannot give it to", "newuidmap"}},
		"a lost owner":  {[]string{"run", "--", "/bin/true"}, []string{"whom the files of", "newuidmap"}},
		"a chroot":      {append(build, "--engine=chroot", "."), []string{"engine chroot as an unprivileged user"}},
		"root's store":  {[]string{"--dir=" + ours.home + "/data", "write", "--to-store"}, []string{"it needs root", "--dir"}},
		"root's builds": {append([]string{"--dir=" + ours.home + "/data"}, append(build, ".")...), []string{"it needs root", "--dir"}},
	} {
		t.Run(name, func(t *testing.T) {
			m.t = t
			out, errs, status := m.run("acbuild", c.args...)
			if status != 1 {
				t.Errorf("exit status %d, %q", status, out)
			}
			for _, w := range c.words {
				if !strings.Contains(errs, w) {
					t.Errorf("%q is not said in\n%s", w, errs)
				}
			}
		})
	}
}

// TestRootlessNetwork: a step's network is carried as a pod's is, and is gone with
// the step; or it is refused.
func TestRootlessNetwork(t *testing.T) {
	if _, err := exec.LookPath("pasta"); err != nil {
		t.Skip("needs pasta")
	}
	m := user(t, place(t), "user", subIDs)
	// The machine's network, as far as pasta looks at it.
	for _, c := range []string{"link add rootless0 type veth peer name rootless1", "link set rootless1 up", "addr add 192.0.2.10/24 dev rootless0",
		"link set rootless0 up", "route add default via 192.0.2.1"} {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", c, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "rootless0").Run() })
	if err := os.WriteFile(m.home+"/Dockerfile", []byte("FROM tiny\nRUN test -e /sys/class/net/eth0 && grep nameserver /etc/resolv.conf\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := []string{"build", "--insecure", "--build-context=tiny=oci:" + m.layout + ":" + images.Tiny, "--output=oci:out:x", "."}
	if _, errs, status := m.run("acbuild", build...); status != 1 || !strings.Contains(errs, "/dev/net/tun") || !strings.Contains(errs, "network host or none") {
		t.Errorf("without a device: exit status %d\n%s", status, errs)
	}
	m.env = []string{"TUN=666"}
	m.must("acbuild", build...)
	if out := m.must("rkt", "list", "--no-legend"); out != "" {
		t.Errorf("left:\n%s", out)
	}
	m.must("acbuild", "begin", "oci:"+m.layout+":"+images.Tiny)
	m.must("acbuild", "run", "--net=default", "--", "/bin/sh", "-c", "test -e /sys/class/net/eth0")
	m.must("acbuild", "end")
}
