// SPDX-License-Identifier: Apache-2.0

// Command layers compares two forms in which layers can be kept, directories
// and EROFS images mounted straight from their files, for
// docs/decisions/0004-layers-as-directories.md. It needs root, mkfs.erofs and a
// kernel from 6.12 on, works in a mount namespace of its own, and prints a
// table; each figure is the least of several runs.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	from := flag.String("from", runtime.GOROOT(), "the `tree` that layers are made of") //nolint:staticcheck // a tree that is there
	runs := flag.Int("n", 50, "how often mounts are measured")
	flag.Parse()
	if err := compare(*from, *runs); err != nil {
		fmt.Fprintf(os.Stderr, "layers: %v\n", err)
		os.Exit(1)
	}
}

// bench is a work directory with trees/N and images/N.erofs.
type bench struct {
	dir string
	n   int
}

func compare(from string, n int) (err error) {
	runtime.LockOSThread() // the mount namespace is this thread's
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	b := &bench{n: n}
	if b.dir, err = os.MkdirTemp("", "rkt-layers-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	fmt.Println("| | directories | EROFS |\n|---|---:|---:|")
	for _, step := range []func(string) error{b.store, b.mounts, b.reading, b.cache, b.verify, b.links, b.remove} {
		if err := step(from); err != nil {
			return err
		}
	}
	return nil
}

func row(what string, directories, erofs any) {
	fmt.Printf("| %s | %v | %v |\n", what, directories, erofs)
}

// least is the shortest time that f takes in n runs, each after prepare.
func least(n int, prepare func() error, f func() error) (time.Duration, error) {
	best := time.Duration(1<<63 - 1)
	for range n {
		if prepare != nil {
			if err := prepare(); err != nil {
				return 0, err
			}
		}
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		best = min(best, time.Since(start))
	}
	return best.Round(time.Microsecond), nil
}

// run runs a program and gives the most memory it held, KiB.
func run(argv ...string) (int64, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss, nil
}

func (b *bench) tree(i int) string  { return fmt.Sprintf("%s/trees/%d", b.dir, i) }
func (b *bench) image(i int) string { return fmt.Sprintf("%s/images/%d.erofs", b.dir, i) }

// store makes both forms of one layer, from a tar in the page cache. Debian
// 12's mkfs.erofs takes no tar: its time is that on top of unpacking, and that
// of a writer that needs no directory is between that and the copying of the
// tar.
func (b *bench) store(from string) error {
	for _, d := range []string{"trees", "images", "at"} {
		if err := os.Mkdir(filepath.Join(b.dir, d), 0o700); err != nil {
			return err
		}
	}
	tarball := b.dir + "/layer.tar"
	if _, err := run("tar", "-C", from, "-cf", tarball, "."); err != nil {
		return err
	}
	unpack, err := least(3, func() error { return errors.Join(os.RemoveAll(b.tree(0)), os.Mkdir(b.tree(0), 0o755)) },
		func() error { _, err := run("tar", "-C", b.tree(0), "-xf", tarball); return err })
	if err != nil {
		return err
	}
	var held int64
	mkfs, err := least(3, nil, func() (err error) { held, err = run("mkfs.erofs", "-T0", b.image(0), b.tree(0)); return err })
	if err != nil {
		return err
	}
	sequential, err := least(3, nil, func() error { _, err := run("cp", tarball, b.dir+"/copy"); return err })
	if err != nil {
		return err
	}
	files, bytes, err := usage(b.tree(0))
	if err != nil {
		return err
	}
	_, image, err := usage(b.image(0))
	if err != nil {
		return err
	}
	row(fmt.Sprintf("store %d files, from a tar", files), unpack.Round(time.Millisecond),
		fmt.Sprintf("%v on top (mkfs.erofs from the directory, %d MiB); copying the tar alone %v", mkfs.Round(time.Millisecond), held>>10, sequential.Round(time.Millisecond)))
	row("disk", fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)), fmt.Sprintf("%.1f MiB", float64(image)/(1<<20)))
	return errors.Join(os.Remove(tarball), os.Remove(b.dir+"/copy"))
}

// usage counts files and the bytes of disk under path, hard links once.
func usage(path string) (files int, bytes int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(p, &st)
		}
		if err == nil && !seen[st.Ino] {
			seen[st.Ino] = true
			files++
			bytes += st.Blocks * 512
		}
		return err
	})
	return files, bytes, err
}

// mounts measures what a start pays for 1, 6 and 20 layers: small ones, for the
// size does not matter.
func (b *bench) mounts(string) error {
	for i := 1; i <= 20; i++ {
		if err := os.MkdirAll(b.tree(i)+"/etc", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(fmt.Sprintf("%s/etc/%d", b.tree(i), i), []byte("x"), 0o644); err != nil {
			return err
		}
		if _, err := run("mkfs.erofs", "-T0", b.image(i), b.tree(i)); err != nil {
			return err
		}
	}
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(b.dir+"/"+d, 0o755); err != nil {
			return err
		}
	}
	overlay := func(lower []string) error {
		return unix.Mount("overlay", b.dir+"/root", "overlay", 0,
			"lowerdir="+strings.Join(lower, ":")+",upperdir="+b.dir+"/upper,workdir="+b.dir+"/work")
	}
	down := func(layers int) error {
		err := unix.Unmount(b.dir+"/root", 0)
		for i := 1; i <= layers; i++ {
			err = errors.Join(err, unix.Unmount(fmt.Sprintf("%s/at/%d", b.dir, i), 0))
		}
		return err
	}
	for i := 1; i <= 20; i++ {
		if err := os.Mkdir(fmt.Sprintf("%s/at/%d", b.dir, i), 0o755); err != nil {
			return err
		}
	}
	for _, layers := range []int{1, 6, 20} {
		var trees, mounted []string
		for i := 1; i <= layers; i++ {
			trees = append(trees, b.tree(i))
			mounted = append(mounted, fmt.Sprintf("%s/at/%d", b.dir, i))
		}
		up := false
		clear := func(n int) func() error {
			return func() error {
				if !up {
					up = true
					return nil
				}
				return down(n)
			}
		}
		dirs, err := least(b.n, clear(0), func() error { return overlay(trees) })
		if err != nil {
			return err
		}
		offDirs, err := least(1, nil, func() error { return down(0) })
		if err != nil {
			return err
		}
		up = false
		erofs, err := least(b.n, clear(layers), func() error {
			for i := 1; i <= layers; i++ {
				if err := unix.Mount(b.image(i), mounted[i-1], "erofs", unix.MS_RDONLY, ""); err != nil {
					return fmt.Errorf("cannot mount an EROFS image from its file (Linux 6.12): %w", err)
				}
			}
			return overlay(mounted)
		})
		if err != nil {
			return err
		}
		offErofs, err := least(1, nil, func() error { return down(layers) })
		if err != nil {
			return err
		}
		row(fmt.Sprintf("mount %d layers for a pod", layers), dirs, erofs)
		row(fmt.Sprintf("unmount %d layers (once)", layers), offDirs.Round(time.Microsecond), offErofs.Round(time.Microsecond))
	}
	return nil
}

// big mounts the large layer at at/NAME.
func (b *bench) big(name string) (string, error) {
	at := b.dir + "/at/" + name
	if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return at, unix.Mount(b.image(0), at, "erofs", unix.MS_RDONLY, "")
}

// evict makes the next reader of the files under path go to the disk. Names and
// inodes stay in memory, to the advantage of directories: dropping those would
// be at the cost of everybody on the machine.
func evict(path string) error {
	unix.Sync()
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// readAll reads every file under root, as a verification must.
func readAll(root string) error {
	h := sha256.New()
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return hashFile(h, p)
	})
}

func hashFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// reading walks and reads everything through either, the caches warm.
func (b *bench) reading(string) error {
	at, err := b.big("big")
	if err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }()
	dirs, err := least(3, nil, func() error { return readAll(b.tree(0)) })
	if err != nil {
		return err
	}
	erofs, err := least(3, nil, func() error { return readAll(at) })
	row("walk and read all, warm", dirs.Round(time.Millisecond), erofs.Round(time.Millisecond))
	return err
}

// cache looks whether a file that one pod has read is in memory for another
// one, which has mounts of its own.
func (b *bench) cache(string) error {
	file := ""
	stop := errors.New("found")
	err := filepath.WalkDir(b.tree(0), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil && fi.Size() > 4<<20 {
				file, _ = filepath.Rel(b.tree(0), p)
				return stop
			}
		}
		return err
	})
	if !errors.Is(err, stop) {
		return errors.Join(err, errors.New("the tree has no large file"))
	}
	one, err := b.big("one")
	if err != nil {
		return err
	}
	two, err := b.big("two")
	if err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(one, unix.MNT_DETACH); _ = unix.Unmount(two, unix.MNT_DETACH) }()
	if err := hashFile(io.Discard, filepath.Join(one, file)); err != nil {
		return err
	}
	shared, err := resident(filepath.Join(two, file))
	row("in memory for a second pod, of a file that a first one read", "100 %, the same pages", fmt.Sprintf("%.0f %%", 100*shared))
	return err
}

// resident is what part of a file is in the page cache.
func resident(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Munmap(m) }()
	pages := make([]byte, (len(m)+4095)/4096)
	if err := mincore(m, pages); err != nil {
		return 0, err
	}
	in := 0
	for _, p := range pages {
		in += int(p & 1)
	}
	return float64(in) / float64(len(pages)), nil
}

// verify compares the reading of everything from the disk.
func (b *bench) verify(string) error {
	dirs, err := least(3, func() error { return evict(b.tree(0)) }, func() error { return readAll(b.tree(0)) })
	if err != nil {
		return err
	}
	erofs, err := least(3, func() error { return evict(b.image(0)) }, func() error { return hashFile(sha256.New(), b.image(0)) })
	row("verify: hash everything, cold", dirs.Round(time.Millisecond), erofs.Round(time.Millisecond))
	return err
}

// links looks whether hard links are one inode still.
func (b *bench) links(string) error {
	dir := b.tree(99)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(dir+"/a", []byte("a"), 0o644), os.Link(dir+"/a", dir+"/b")); err != nil {
		return err
	}
	if _, err := run("mkfs.erofs", "-T0", b.image(99), dir); err != nil {
		return err
	}
	at := b.dir + "/at/links"
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(b.image(99), at, "erofs", unix.MS_RDONLY, ""); err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }()
	var one, two unix.Stat_t
	if err := errors.Join(unix.Stat(at+"/a", &one), unix.Stat(at+"/b", &two)); err != nil {
		return err
	}
	row("hard links", "kept", map[bool]string{true: "kept by mkfs.erofs", false: "lost"}[one.Ino == two.Ino && one.Nlink == 2])
	return nil
}

func (b *bench) remove(string) error {
	dirs, err := least(1, nil, func() error { return os.RemoveAll(b.tree(0)) })
	if err != nil {
		return err
	}
	erofs, err := least(1, nil, func() error { return os.Remove(b.image(0)) })
	row("remove", dirs.Round(time.Millisecond), erofs.Round(time.Microsecond))
	return err
}
