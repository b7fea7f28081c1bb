// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package escape

import (
	"archive/tar"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/layout"
	"github.com/rkt/rkt/test/rkt"
)

// world is the machine that is attacked: what is on it that no pod may reach.
type world struct {
	host   *rkt.Host
	image  string
	dir    string   // the attacker's ground on the host, when nothing holds it
	volume string   // a directory that pods have
	secret string   // a file that they must not
	jail   string   // a chroot with the attacker in it
	open   *os.File // a descriptor of secret's
	values []string // of $WORDS
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{host: host(t)}
	dir, err := os.MkdirTemp("", "rkt-world-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	w.dir, w.volume, w.jail = filepath.Join(dir, "ground"), filepath.Join(dir, "volume"), filepath.Join(dir, "jail")
	for _, d := range []string{w.dir, w.volume, w.jail} {
		must(t, os.Mkdir(d, 0o777))
		must(t, os.Chmod(d, 0o777))
	}
	w.secret = filepath.Join(dir, "secret")
	must(t, os.WriteFile(w.secret, []byte("precious"), 0o600))
	w.open, err = os.Open(w.secret)
	must(t, err)
	t.Cleanup(func() { w.open.Close() })
	must(t, os.WriteFile(filepath.Join(w.dir, "a"), nil, 0o600))
	must(t, unix.Mknod(filepath.Join(w.volume, "made"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Chmod(filepath.Join(w.volume, "made"), 0o666))
	must(t, exec.Command("cp", attacker, w.jail+"/attack").Run())

	sleep := exec.Command("sleep", "600")
	must(t, sleep.Start())
	t.Cleanup(func() { _ = sleep.Process.Kill(); _ = sleep.Wait() })
	abstract := fmt.Sprintf("@rkt-escape-%d", os.Getpid())
	tcp := ""
	for _, l := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", abstract}, {"unix", filepath.Join(w.dir, "socket")}} {
		s, err := net.Listen(l[0], l[1])
		must(t, err)
		t.Cleanup(func() { s.Close() })
		if l[0] == "tcp" {
			tcp = s.Addr().String()
		}
	}
	must(t, os.Chmod(filepath.Join(w.dir, "socket"), 0o777))
	key := fmt.Sprintf("rkt-escape-%d", os.Getpid())
	id, err := unix.AddKey("user", key, []byte("precious"), unix.KEY_SPEC_USER_KEYRING)
	must(t, err)
	t.Cleanup(func() { _, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0) })
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, w.secret, 0)
	must(t, err)
	w.values = []string{"$DIR", w.dir, "$VOLUME", w.volume, "$SECRET", w.secret, "$PID", strconv.Itoa(sleep.Process.Pid), "$KEY", key,
		"$SOCKET", abstract, "$TCP", tcp, "$HANDLETYPE", strconv.Itoa(int(handle.Type())), "$HANDLE", fmt.Sprintf("%x", handle.Bytes())}
	w.image = hostile(t, w.host, layout.Config{}, func(tw *layout.Tar) error {
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeChar, Name: "node", Devmajor: 1, Devminor: 3, Mode: 0o666})
	})
	return w
}

// words puts the world's values in.
func (w *world) words(list []string) []string {
	r := strings.NewReplacer(w.values...)
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = r.Replace(s)
	}
	return out
}

func (w *world) fill(f flags) flags { return flags{w.words(f.global), w.words(f.pod), w.words(f.app)} }

// unharmed: nothing of it was touched.
func (w *world) unharmed(t *testing.T) {
	t.Helper()
	if b, err := os.ReadFile(w.secret); err != nil || string(b) != "precious" {
		t.Errorf("the secret is now %q, %v", b, err)
	}
	above, err := os.ReadDir(filepath.Dir(w.secret))
	if err != nil || len(above) != 4 {
		t.Errorf("beside the secret: %v, %v", above, err)
	}
}
