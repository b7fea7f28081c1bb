// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// A VOLUME of an image whose place is a link to /proc once gave the app a
// second /proc with nothing hidden or read-only, and one at a link to / a
// writable root in place of a read-only one.
func TestKeepMountsOnlyTheImagesContent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	errs := make(chan error)
	got := map[string]bool{}
	go func() {
		runtime.LockOSThread() // and ends with its mount namespace
		errs <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
				return err
			}
			for _, d := range []string{"proc", "data"} {
				if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
					return err
				}
			}
			if err := unix.Mount("none", dir+"/proc", "proc", 0, ""); err != nil {
				return err
			}
			for link, to := range map[string]string{"toproc": "/proc/sys", "toroot": "/", "todata": "/data"} {
				if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
					return err
				}
			}
			root, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(root)
			for _, target := range []string{"/data", "/new/place", "/todata", "/toproc", "/toroot"} {
				before, err := mounts()
				if err != nil {
					return err
				}
				// What is another mount's is left alone; the root is refused.
				if err := attachVolume(root, &contract.Mount{Target: target, Keep: true}, source{directory: true}); (err != nil) != (target == "/toroot") {
					return fmt.Errorf("%s: %w", target, err)
				}
				after, err := mounts()
				if err != nil {
					return err
				}
				got[target] = after > before
			}
			return nil
		}()
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]bool{"/data": true, "/new/place": true, "/todata": true, "/toproc": false, "/toroot": false} {
		if got[target] != want {
			t.Errorf("%s mounted: %v, want %v", target, got[target], want)
		}
	}
}

// mounts counts those of the calling thread's namespace.
func mounts() (int, error) {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	return bytes.Count(b, []byte("\n")), err
}
