// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/layer"
	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/rmtree"
)

// Pack packs a layer that lies over the trees lower, lowest first, unless that was
// done before, and gives a function that opens the blob.
func (c *Cache) Pack(ctx context.Context, l Layer, lower []string, opt layer.Options) (layer.Packed, func() (io.ReadCloser, error), error) {
	n := "0"
	if !opt.Epoch.IsZero() {
		n = strconv.FormatInt(opt.Epoch.Unix(), 10)
	}
	note, blob := filepath.Join(l.dir, "packed-"+n), filepath.Join(l.dir, "blob-"+n)
	open := func() (io.ReadCloser, error) { return os.Open(blob) }
	var p layer.Packed
	if b, err := os.ReadFile(note); err == nil && json.Unmarshal(b, &p) == nil {
		if st, err := os.Stat(blob); err == nil && st.Size() == p.Size {
			return p, open, nil
		}
	}
	dir, err := c.Work()
	if err != nil {
		return p, nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "blob"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return p, nil, err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	p, err = layer.Pack(ctx, w, layer.Source{Lower: lower, Upper: l.Tree}, opt)
	if err == nil {
		err = w.Flush()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return p, nil, err
	}
	if err := os.Rename(f.Name(), blob); err != nil {
		return p, nil, err
	}
	b, err := json.Marshal(p)
	if err == nil {
		err = atomicfile.WriteFast(note, b, 0o600)
	}
	c.mu.Lock()
	c.dirs = append(c.dirs, l.dir)
	c.mu.Unlock()
	// Until Sync says otherwise, what is packed is not on disk either.
	_ = os.Remove(filepath.Join(l.dir, "synced"))
	return p, open, err
}

func sortByUse(list []Entry) {
	slices.SortFunc(list, func(a, b Entry) int { return a.Used.Compare(b.Used) })
}

// usage is the disk that a tree takes.
func usage(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}

// A digest of a file's content counts as long as the file looks the same.
type digest struct {
	Size, Inode  int64
	Mtime, Ctime int64 // nanoseconds
	Sum          string
	Used         int64 // day
}

type digests struct {
	ByPath  map[string]digest
	changed bool
}

// racy is how long a file must have been left alone for its times to tell: a
// second write may come within one tick of the filesystem's clock.
const racy = 2 * time.Second

const maxDigests = 200_000

// Digest gives the digest of the file at path that looks like st, which sum reads.
func (c *Cache) Digest(path string, st *unix.Stat_t, sum func() (string, error)) (string, error) {
	now := time.Now()
	d := digest{Size: st.Size, Inode: int64(st.Ino), Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Used: now.Unix() / 86400}
	c.mu.Lock()
	if c.files == nil {
		c.files = c.loadFiles()
	}
	old, ok := c.files.ByPath[path]
	c.mu.Unlock()
	same := old
	same.Sum, same.Used = "", d.Used
	if ok && same == d {
		return old.Sum, nil
	}
	var err error
	if d.Sum, err = sum(); err != nil {
		return "", err
	}
	if now.Sub(time.Unix(0, max(d.Mtime, d.Ctime))) < racy {
		return d.Sum, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.files.ByPath) < maxDigests {
		c.files.ByPath[path], c.files.changed = d, true
	}
	return d.Sum, nil
}

func (c *Cache) loadFiles() *digests {
	f := &digests{ByPath: map[string]digest{}}
	b, err := os.ReadFile(filepath.Join(c.dir, "files"))
	if err != nil || json.Unmarshal(b, &f.ByPath) != nil || f.ByPath == nil {
		f.ByPath = map[string]digest{}
	}
	const month = 30
	today := time.Now().Unix() / 86400
	for path, d := range f.ByPath {
		if today-d.Used > month {
			delete(f.ByPath, path)
		}
	}
	return f
}

func (c *Cache) saveFiles() error {
	if c.files == nil || !c.files.changed {
		return nil
	}
	b, err := json.Marshal(c.files.ByPath)
	if err != nil {
		return err
	}
	c.files.changed = false
	return atomicfile.WriteFast(filepath.Join(c.dir, "files"), b, 0o600)
}

// Mount gives the directory of a cache mount. If it is missing, fill fills an empty
// one, which gets the name when it is whole and on disk: what is there of a build
// that was killed meanwhile is nobody's. Of builds that fill at once the first one's
// stays.
func (c *Cache) Mount(id string, fill func(dir string) error) (dir string, err error) {
	dir = filepath.Join(c.dir, "mounts", id)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	work, err := c.Work()
	if err != nil {
		return "", err
	}
	defer func() {
		if _, rerr := rmtree.Remove(work); err == nil {
			err = rerr
		}
	}()
	temp := filepath.Join(work, "mount")
	if err := os.Mkdir(temp, 0o755); err != nil {
		return "", err
	}
	failpoint.Hit("cache/mount-made")
	if err := fill(temp); err != nil {
		return "", err
	}
	failpoint.Hit("cache/mount-filled")
	if err := syncFilled(temp); err != nil {
		return "", err
	}
	failpoint.Hit("cache/mount-before-place")
	err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
	if err != nil && err != unix.EEXIST {
		return "", &os.LinkError{Op: "rename", Old: temp, New: dir, Err: err}
	}
	failpoint.Hit("cache/mount-placed")
	return dir, nil
}

// syncFilled brings what is in dir on to the disk, if there is anything.
func syncFilled(dir string) error {
	none, err := empty(dir)
	if err != nil || none {
		return err
	}
	return syncfs(dir)
}

func syncfs(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}
