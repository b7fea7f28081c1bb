// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// mountDisks puts the apps' roots where the share would have them: each an overlay
// of its disk, which is read-only, and of memory.
func mountDisks() error {
	if err := loadModules("/first" + diskDir); err != nil {
		return err
	}
	doc, err := poddir.Document(podDir)
	if err != nil {
		return err
	}
	for i := range doc.Apps {
		if err := mountDisk(i, doc.Apps[i].Name); err != nil {
			return fmt.Errorf("cannot mount the root of app %q: %w", doc.Apps[i].Name, err)
		}
	}
	return nil
}

func mountDisk(number int, name string) error {
	device, err := findDisk(wire.Disk(number))
	if err != nil {
		return err
	}
	dir := diskDir + "/" + strconv.Itoa(number)
	lower, memory, root := dir+"/lower", dir+"/memory", filepath.Join(wire.Share, wire.Roots, name)
	for _, d := range []string{lower, memory, root} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(device, lower, "erofs", unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("cannot mount its disk: %w", err)
	}
	if err := unix.Mount("tmpfs", memory, "tmpfs", unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("cannot mount memory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return &os.PathError{Op: "stat", Path: lower, Err: err}
	}
	upper, work := memory+"/upper", memory+"/work"
	// The root's own owner and mode are those of the upper directory.
	err = errors.Join(os.Mkdir(upper, 0o700), os.Mkdir(work, 0o700), unix.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, st.Mode&0o7777))
	if err != nil {
		return err
	}
	if err := unix.Mount("overlay", root, "overlay", unix.MS_NODEV, "lowerdir="+lower+",upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("cannot mount an overlay: %w", err)
	}
	return nil
}

// findDisk waits for the disk with a serial number: devices are found a moment after
// the module was loaded.
func findDisk(serial string) (string, error) {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(2 * time.Millisecond) {
		paths, _ := filepath.Glob("/sys/block/*/serial")
		for _, path := range paths {
			if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == serial {
				return "/dev/" + filepath.Base(filepath.Dir(path)), nil
			}
		}
	}
	return "", errors.New("no disk has the number " + serial)
}
