// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"github.com/rkt/rkt/internal/stage1/contract"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tree makes a root with the given files and links ("-> target") and returns
// a descriptor of it.
func tree(t testing.TB, files map[string]string) int {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\n::\nwww:x:33:34:www:/var/www:/bin/false\n77:x:78:79::/:\nhuge:x:4294967295:1::/:\n"
	group  = "root:x:0:\nwww:x:34:\ndisk:x:6:root,www\nlog:x:9:www\nstaff:x:50:\n"
)

func TestLookupUser(t *testing.T) {
	root := tree(t, map[string]string{"etc/passwd": passwd, "etc/group": group, "data/file": ""})
	owner := uint32(os.Getuid())
	ownerGroup := uint32(os.Getgid())
	for _, c := range []struct {
		user, group string
		extra       []int
		want        Credential
		err         string
	}{
		{"", "", nil, Credential{Home: "/root", Groups: []uint32{6}}, ""},
		{"root", "", nil, Credential{Home: "/root", Groups: []uint32{6}}, ""},
		{"www", "", nil, Credential{UID: 33, GID: 34, Groups: []uint32{6, 9}, Home: "/var/www"}, ""},
		{"33", "", []int{5}, Credential{UID: 33, GID: 34, Groups: []uint32{6, 9, 5}, Home: "/var/www"}, ""},
		{"www", "staff", nil, Credential{UID: 33, GID: 50, Home: "/var/www"}, ""},
		{"12", "", nil, Credential{UID: 12}, ""},
		{"12", "13", []int{14}, Credential{UID: 12, GID: 13, Groups: []uint32{14}}, ""},
		{"77", "", nil, Credential{UID: 77}, ""}, // a number is a number
		{"/data/file", "/data/file", nil, Credential{UID: owner, GID: ownerGroup}, ""},
		{"nobody", "", nil, Credential{}, "cannot find user"},
		{"huge", "", nil, Credential{}, "cannot find user"},
		{"4294967295", "", nil, Credential{}, "cannot find user"},
		{"-1", "", nil, Credential{}, "cannot find user"},
		{"www", "nogroup", nil, Credential{}, "cannot find group"},
		{"/missing", "", nil, Credential{}, "cannot take the owner"},
	} {
		got, err := LookupUser(root, c.user, c.group, c.extra, contract.Users{})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("LookupUser(%q, %q): error %v, want %q", c.user, c.group, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("LookupUser(%q, %q): %v", c.user, c.group, err)
		} else if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("LookupUser(%q, %q): %s", c.user, c.group, d)
		}
	}
}

// An image must not make rkt read the host's accounts, or a device.
func TestLookupUserHostile(t *testing.T) {
	host := t.TempDir()
	if err := os.WriteFile(host+"/passwd", []byte("evil:x:7:7::/:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string]string{"etc/passwd": "-> " + host + "/passwd"})
	if _, err := LookupUser(root, "evil", "", nil, contract.Users{}); err == nil {
		t.Error("a link out of the root was followed")
	}
	root = tree(t, map[string]string{"etc/x": ""})
	if err := unix.Mkfifoat(root, "etc/passwd", 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LookupUser(root, "www", "", nil, contract.Users{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a fifo as passwd: %v", err)
	}
}

func TestLookupProgram(t *testing.T) {
	root := tree(t, map[string]string{"bin/sh": "x", "usr/bin/tool": "x", "opt/run": "x", "lib": "-> /usr/bin", "bin/up": "-> ../../../../opt/run"})
	if err := unix.Fchmodat(root, "opt/run", 0o755, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/self/fd/"+strconv.Itoa(root)+"/bin/plain", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=/nowhere:/bin:/lib:rel"}
	for _, c := range []struct{ name, dir, want, err string }{
		{"sh", "/", "/bin/sh", ""},
		{"tool", "/", "/lib/tool", ""},
		{"./run", "/opt", "/opt/./run", ""},
		{"/bin/up", "/", "/bin/up", ""},
		{"gone", "/", "", `cannot find program "gone": not in the image's /nowhere:/bin:/lib:rel`},
		{"plain", "/", "", `cannot execute "/bin/plain": permission denied`},
		{"/bin", "/", "", `cannot execute "/bin": is a directory`},
		{"", "/", "", "its name is empty"},
	} {
		got, err := LookupProgram(root, c.name, c.dir, env)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("LookupProgram(%q): error %v, want %q", c.name, err, c.err)
		} else if got != c.want {
			t.Errorf("LookupProgram(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string]string{"script": "#!/usr/bin/perl -w\n", "text": "hello", "foreign": string(append(append([]byte{}, self[:18]...), append([]byte{0xf3, 0}, self[20:4096]...)...))})
	for _, c := range []struct {
		path  string
		errno unix.Errno
		want  string
	}{
		{"script", unix.ENOENT, `the script's interpreter "/usr/bin/perl" is not in the image`},
		{"text", unix.ENOEXEC, "it is neither a program for this machine nor a script with a #! line"},
		{"foreign", unix.ENOEXEC, "it is a program for another kind of machine"},
		{"script", unix.EACCES, ""},
	} {
		if got := Explain(root, c.path, c.errno); got != c.want {
			t.Errorf("Explain(%q) = %q, want %q", c.path, got, c.want)
		}
	}
}

func FuzzLookupUser(f *testing.F) {
	f.Add(passwd, group, "www", "")
	f.Add("a:b:1:2", "", "1", "x")
	f.Fuzz(func(t *testing.T, passwd, group, user, grp string) {
		root := tree(t, map[string]string{"etc/passwd": passwd, "etc/group": group})
		_, _ = LookupUser(root, user, grp, nil, contract.Users{})
	})
}

func FuzzExplain(f *testing.F) {
	f.Add([]byte("#!/x\n"))
	f.Add([]byte("\x7fELF\x02\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		root := tree(t, map[string]string{"p": string(b)})
		Explain(root, "p", unix.ENOENT)
	})
}
