// SPDX-License-Identifier: Apache-2.0

package safepath

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// world is a root with a canary beside it that nothing may touch.
func world(t *testing.T) (root int, dir string) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "root")
	for _, d := range []string{"outside", "root", "root/usr/lib", "root/etc"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"outside/secret": "host", "root/etc/passwd": "image", "root/usr/lib/so": "so"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"lib":      "usr/lib",
		"abs":      "/etc/passwd",
		"climb":    "../../../../../outside",
		"climbf":   "../outside/secret",
		"run":      "/no/such/run",
		"relrun":   "usr/../made/here",
		"loop":     "loop",
		"chain":    "run2/deep",
		"run2":     "/made2",
		"hostfile": filepath.Join(top, "outside", "secret"),
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	t.Cleanup(func() {
		ents, _ := os.ReadDir(filepath.Join(top, "outside"))
		if len(ents) != 1 {
			t.Errorf("outside changed: %v", ents)
		}
		ents, _ = os.ReadDir(top)
		if len(ents) != 2 {
			t.Errorf("beside the root something was made: %v", ents)
		}
	})
	return int(f.Fd()), dir
}

// where is the path of fd below dir.
func where(t *testing.T, dir string, fd int) string {
	t.Helper()
	p, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	return rel
}

func TestOpenInRoot(t *testing.T) {
	root, dir := world(t)
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{path: "", want: "."},
		{path: "/", want: "."},
		{path: "../../..", want: "."},
		{path: "/etc/passwd", want: "etc/passwd"},
		{path: "abs", want: "etc/passwd"},
		{path: "/lib/so", want: "usr/lib/so"},
		{path: "climb/x", err: unix.ENOENT},
		{path: "climbf", err: unix.ENOENT},
		{path: "hostfile", err: unix.ENOENT},
		{path: "loop", err: unix.ELOOP},
		{path: "etc/passwd/x", err: unix.ENOTDIR},
	} {
		fd, err := OpenInRoot(root, c.path, unix.O_PATH)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%q: got %v, want %v", c.path, err, c.err)
			continue
		}
		if err == nil {
			if got := where(t, dir, fd); got != c.want {
				t.Errorf("%q: opened %q, want %q", c.path, got, c.want)
			}
			if fl, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fl&unix.FD_CLOEXEC == 0 {
				t.Errorf("%q: not close-on-exec", c.path)
			}
			unix.Close(fd)
		}
	}
	if _, err := OpenInRoot(root, "new", unix.O_CREAT|unix.O_WRONLY); !errors.Is(err, unix.EINVAL) {
		t.Errorf("O_CREAT: got %v", err)
	}
	if _, err := OpenInRoot(root, ".", unix.O_TMPFILE|unix.O_WRONLY); !errors.Is(err, unix.EINVAL) {
		t.Errorf("O_TMPFILE: got %v", err)
	}
	fd, err := OpenInRoot(root, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestMagicLinksAreRefused(t *testing.T) {
	proc, err := os.Open("/proc")
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	defer proc.Close()
	if fd, err := OpenInRoot(int(proc.Fd()), "self/exe", unix.O_PATH); err == nil {
		unix.Close(fd)
		t.Error("a magic link was followed")
	}
	if fd, err := OpenBeneath(int(proc.Fd()), strconv.Itoa(os.Getpid())+"/cwd", unix.O_PATH, 0); err == nil {
		unix.Close(fd)
		t.Error("a magic link was followed")
	}
}

func TestOpenBeneath(t *testing.T) {
	root, dir := world(t)
	for _, c := range []struct {
		path string
		err  error
	}{
		{"usr/lib/so", nil}, {"", nil},
		{"lib/so", unix.ELOOP}, {"lib", unix.ELOOP}, {"abs", unix.ELOOP},
		{"../outside/secret", unix.EXDEV}, {"/etc/passwd", unix.EXDEV}, {"usr/../../outside", unix.EXDEV},
	} {
		fd, err := OpenBeneath(root, c.path, unix.O_PATH, 0)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%q: got %v, want %v", c.path, err, c.err)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
	fd, err := OpenBeneath(root, "usr/new", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600)
	if err != nil || where(t, dir, fd) != "usr/new" {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestFollowBeneath(t *testing.T) {
	root, dir := world(t)
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{"usr/lib/so", "usr/lib/so", nil}, {"lib/so", "usr/lib/so", nil}, {"lib", "usr/lib", nil},
		{"abs", "", unix.EXDEV}, {"climb", "", unix.EXDEV}, {"climbf", "", unix.EXDEV}, {"hostfile", "", unix.EXDEV},
		{"relrun", "", unix.ENOENT}, {"loop", "", unix.ELOOP}, {"../outside/secret", "", unix.EXDEV},
	} {
		fd, err := FollowBeneath(root, c.path, unix.O_PATH)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%q: got %v, want %v", c.path, err, c.err)
		}
		if err == nil {
			if got := where(t, dir, fd); got != c.want {
				t.Errorf("%q is %q, want %q", c.path, got, c.want)
			}
			unix.Close(fd)
		}
	}
}

func TestMkdirAllInRoot(t *testing.T) {
	root, dir := world(t)
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{path: "/", want: "."},
		{path: "", want: "."},
		{path: "/a/b/c", want: "a/b/c"},
		{path: "lib/x", want: "usr/lib/x"},
		{path: "run/secrets", want: "no/such/run/secrets"},
		{path: "relrun/x", want: "made/here/x"},
		{path: "chain/y", want: "made2/deep/y"},
		{path: "climb/x/../y", want: "outside/y"}, // below the root, not beside it
		{path: "../../q", want: "q"},
		{path: "new/../other", want: "other"},
		{path: "loop/x", err: unix.ELOOP},
		{path: "etc/passwd", err: unix.ENOTDIR},
		{path: "etc/passwd/x", err: unix.ENOTDIR},
		{path: "abs/x", err: unix.ENOTDIR},
	} {
		fd, err := MkdirAllInRoot(root, c.path, 0o755)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%q: got %v, want %v", c.path, err, c.err)
			continue
		}
		if err == nil {
			if got := where(t, dir, fd); got != c.want {
				t.Errorf("%q: made %q, want %q", c.path, got, c.want)
			}
			unix.Close(fd)
		}
	}
}

func TestCreateInRoot(t *testing.T) {
	root, dir := world(t)
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{path: "etc/passwd", want: "etc/passwd"},
		{path: "etc", want: "etc"},
		{path: "etc/resolv.conf", want: "etc/resolv.conf"},
		{path: "climbf", want: "outside/secret"},
		{path: "run/sub/file", want: "no/such/run/sub/file"},
		{path: "loop", err: unix.ELOOP},
		{path: "abs/x", err: unix.ENOTDIR},
	} {
		fd, err := CreateInRoot(root, c.path, 0o644)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%q: got %v, want %v", c.path, err, c.err)
			continue
		}
		if err == nil {
			if got := where(t, dir, fd); got != c.want {
				t.Errorf("%q: made %q, want %q", c.path, got, c.want)
			}
			unix.Close(fd)
		}
	}
	fi, err := os.Lstat(filepath.Join(dir, "etc/resolv.conf"))
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != 0 {
		t.Errorf("resolv.conf: %v %v", fi, err)
	}
}

// While somebody keeps turning a parent into a link that leads outside, nothing
// is ever made there; world's cleanup looks.
func TestSwappedParents(t *testing.T) {
	root, dir := world(t)
	real, link, a := filepath.Join(dir, "real"), filepath.Join(dir, "link"), filepath.Join(dir, "a")
	if err := os.Mkdir(real, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(real, a); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(a, real)
			_ = os.Rename(link, a)
			_ = os.Rename(a, link)
			_ = os.Rename(real, a)
		}
	}()
	for i := range 2000 {
		if fd, err := MkdirAllInRoot(root, "a/d"+strconv.Itoa(i%50)+"/e", 0o755); err == nil {
			unix.Close(fd)
		}
		if fd, err := CreateInRoot(root, "a/f"+strconv.Itoa(i%50), 0o644); err == nil {
			unix.Close(fd)
		}
	}
	close(stop)
	<-done
}
