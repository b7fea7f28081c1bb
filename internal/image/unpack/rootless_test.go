// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// In a user namespace of 65536 ids, below a directory of its root, a layer
// keeps everything but device nodes, and overlayfs with userxattr takes it.
func TestRootless(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "rkt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const first = 100_000
	if err := os.Chown(dir, first, first); err != nil {
		t.Fatal(err)
	}
	// The test binary lies where only root may go.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestRootlessInside$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RKT_TEST_ROOTLESS="+dir, "TMPDIR="+dir)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: first, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestRootlessInside") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRootlessInside(t *testing.T) {
	dir := os.Getenv("RKT_TEST_ROOTLESS")
	if dir == "" {
		t.Skip("runs inside TestRootless")
	}
	lower, upper := filepath.Join(dir, "lower"), filepath.Join(dir, "upper")
	opt := Options{Rootless: true}
	res, err := unpackTo(t, bytes.NewReader(gzipped(t, makeTar(t, []entry{
		{name: "d/", mode: 0o755}, {name: "d/low", body: "x"}, {name: "gone", body: "x"},
		{name: "su", body: "su", mode: 0o4755, uid: 65535},
		{name: "ping", body: "p", mode: 0o755, xattrs: map[string]string{"security.capability": fileCap, "trusted.x": "y", "user.x": "y"}},
		{name: "null", kind: tar.TypeChar, major: 1, minor: 3},
		{name: "fifo", kind: tar.TypeFifo},
	}))), lower, opt)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{`extended attribute "trusted.x" of "ping"`, `device node "null": a user namespace cannot make it`}; !slices.Equal(res.Notes, want) {
		t.Errorf("got notes %q", res.Notes)
	}
	got := dump(t, lower)
	for path, want := range map[string]string{
		"su": "mode=104755 owner=65535:0", "ping": "security.capability=", "fifo": "mode=10644", "d": "mode=40755",
	} {
		if !strings.Contains(got[path], want) {
			t.Errorf("%s: got %q, want %q", path, got[path], want)
		}
	}
	if _, err := unpackTo(t, bytes.NewReader(makeTar(t, []entry{
		{name: "d/.wh..wh..opq"}, {name: "d/new", body: "n"}, {name: ".wh.gone"},
		{name: "f", body: "f", xattrs: map[string]string{"user.overlay.whiteout": "y"}},
	})), upper, opt); err != nil {
		t.Fatal(err)
	}
	mnt := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("overlay", mnt, "overlay", 0, "userxattr,lowerdir="+upper+":"+lower); err != nil {
		t.Skip("overlayfs in a user namespace: ", err)
	}
	seen := dump(t, mnt)
	for path, there := range map[string]bool{"d/low": false, "d/new": true, "gone": false, "f": true, "ping": true} {
		if _, ok := seen[path]; ok != there {
			t.Errorf("%s: seen %v, want %v", path, ok, there)
		}
	}
	_, err = unpackTo(t, bytes.NewReader(makeTar(t, []entry{{name: "f", uid: 65536}})), filepath.Join(dir, "third"), opt)
	if err == nil || !strings.Contains(err.Error(), "65536") {
		t.Errorf("an owner that the namespace lacks: %v", err)
	}
}
