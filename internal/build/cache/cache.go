// SPDX-License-Identifier: Apache-2.0

// Package cache keeps what builds made, so that the next one need not make it
// again: the tree of each instruction by the key of all that went into it, the
// same packed, digests of files, and the directories of RUN --mount=type=cache.
//
// On disk, below the cache's directory:
//
//	lock                    flock: shared while a build runs, exclusive to remove
//	work/<random>/          a build's own, flock'ed by it; what a killed one left is
//	                        removed by the next
//	layers/<key>            a link to what was made of that key:
//	trees/<random>/tree     what an instruction changed, in overlayfs's form
//	trees/<random>/made     when, and on which boot, it was made
//	trees/<random>/synced   it is on disk since
//	trees/<random>/packed-<n> the layer that it makes, and blob-<n>, n being the epoch
//	garbage/<random>        a tree of that name was replaced, and goes when no build runs
//	mounts/<id>/            directories of RUN --mount=type=cache
//	files                   digests of files, by path, size and times
//
// A link to nothing counts as none, and a tree, once it has its name, is neither
// changed nor moved while a build runs: another one may have it mounted. What was not synced counts only as
// long as the machine has not been booted again.
package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/linux/rmtree"
)

// Cache is a cache that a build uses. Its methods may be called at the same time.
type Cache struct {
	dir   string
	lock  *os.File
	work  string
	owner *os.File // the lock of work
	boot  string

	mu     sync.Mutex
	making map[string]*sync.Mutex // by key
	fresh  []string               // keys made by this build
	dirs   []string               // that are to be synced
	files  *digests
}

// Open opens the cache in dir, and makes it if it is missing. It waits for a
// removal that is under way.
func Open(dir string) (*Cache, error) {
	c := &Cache{dir: dir, making: map[string]*sync.Mutex{}}
	if err := c.open(); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("cannot open the build cache: %w", err)
	}
	return c, nil
}

func (c *Cache) open() (err error) {
	// Trees have other people's set-user-ID programs: nobody may get at them.
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	for _, d := range []string{"work", "layers", "trees", "garbage", "mounts"} {
		if err := os.Mkdir(filepath.Join(c.dir, d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := collect(c.dir); err != nil {
		return err
	}
	if c.lock, err = locked(c.dir, flock.Shared); err != nil {
		return err
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	c.boot = strings.TrimSpace(string(b))
	if err := c.sweep(); err != nil {
		return err
	}
	return c.makeWork()
}

func locked(dir string, how flock.Mode) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock.Lock(f, how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// collect removes replaced trees, unless a build runs that may have them mounted.
func collect(dir string) error {
	names, err := os.ReadDir(filepath.Join(dir, "garbage"))
	if err != nil || len(names) == 0 {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flock.TryLock(f, flock.Exclusive); err != nil {
		if errors.Is(err, flock.ErrBusy) {
			return nil
		}
		return err
	}
	for _, n := range names {
		if _, err := rmtree.Remove(filepath.Join(dir, "trees", n.Name())); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(dir, "garbage", n.Name())); err != nil {
			return err
		}
	}
	return nil
}

// makeWork makes the build's own directory. Its lock file is made elsewhere, so
// that no moment is without it.
func (c *Cache) makeWork() (err error) {
	all, err := os.Open(filepath.Join(c.dir, "work"))
	if err != nil {
		return err
	}
	defer all.Close()
	if err := flock.Lock(all, flock.Shared); err != nil { // sweep waits
		return err
	}
	if c.work, err = os.MkdirTemp(filepath.Join(c.dir, "work"), ""); err != nil {
		return err
	}
	if c.owner, err = os.OpenFile(filepath.Join(c.work, "lock"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	return flock.TryLock(c.owner, flock.Exclusive)
}

// sweep removes what killed builds left.
func (c *Cache) sweep() error {
	all, err := os.Open(filepath.Join(c.dir, "work"))
	if err != nil {
		return err
	}
	defer all.Close()
	if err := flock.Lock(all, flock.Exclusive); err != nil {
		return err
	}
	names, err := all.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(c.dir, "work", name)
		f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR, 0)
		if err == nil {
			err = flock.TryLock(f, flock.Exclusive)
			defer f.Close()
		}
		if errors.Is(err, flock.ErrBusy) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if _, err := rmtree.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// Close gives the cache up and removes what was only this build's.
func (c *Cache) Close() error {
	var err error
	if c.work != "" {
		_, err = rmtree.Remove(c.work)
		c.work = ""
	}
	for _, f := range []**os.File{&c.owner, &c.lock} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
	return err
}

// Work makes a new directory of this build's own, on the filesystem of the trees.
func (c *Cache) Work() (string, error) { return os.MkdirTemp(c.work, "") }

// made is the file of that name.
type made struct {
	Time time.Time `json:"time"`
	Boot string    `json:"boot"`
	What string    `json:"what"` // the instruction, for people
}

// Layer is a tree in the cache.
type Layer struct {
	Key  string
	dir  string // the tree's own
	Tree string // its absolute path
	Made time.Time
	// Empty: the tree has nothing in it.
	Empty bool
}

func (c *Cache) link(key string) string { return filepath.Join(c.dir, "layers", key) }

// Find looks a layer up.
func (c *Cache) Find(key string) (Layer, bool) {
	name, err := os.Readlink(c.link(key))
	if err != nil {
		return Layer{}, false
	}
	l, err := c.layer(key, filepath.Join(c.dir, "trees", filepath.Base(name)))
	if err != nil {
		return Layer{}, false
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Join(l.dir, "made"), now, now) // for Prune
	return l, true
}

// layer is the one whose tree is in dir.
func (c *Cache) layer(key, dir string) (Layer, error) {
	b, err := os.ReadFile(filepath.Join(dir, "made"))
	if err != nil {
		return Layer{}, err
	}
	var m made
	if err := json.Unmarshal(b, &m); err != nil {
		return Layer{}, err
	}
	if m.Boot != c.boot {
		if _, err := os.Lstat(filepath.Join(dir, "synced")); err != nil {
			return Layer{}, err
		}
	}
	l := Layer{Key: key, dir: dir, Tree: filepath.Join(dir, "tree"), Made: m.Time}
	l.Empty, err = empty(l.Tree)
	return l, err
}

func empty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	names, _ := f.Readdirnames(1)
	return len(names) == 0, nil
}

// Make gives the layer of key, from the cache unless again is set, else made by
// make: that fills upper, which it makes itself, and may use work, an empty
// directory beside it. hit says that it was there. What is for people is the
// instruction.
func (c *Cache) Make(key, what string, again bool, make func(upper, work string) error) (l Layer, hit bool, err error) {
	c.mu.Lock()
	one := c.making[key]
	if one == nil {
		one = new(sync.Mutex)
		c.making[key] = one
	}
	fresh := contains(c.fresh, key)
	c.mu.Unlock()
	one.Lock()
	defer one.Unlock()
	if !again || fresh {
		if l, ok := c.Find(key); ok {
			return l, true, nil
		}
	}
	dir, err := c.Work()
	if err != nil {
		return Layer{}, false, err
	}
	defer func() {
		if _, rerr := rmtree.Remove(dir); err == nil {
			err = rerr
		}
	}()
	entry, work := filepath.Join(dir, "entry"), filepath.Join(dir, "work")
	for _, d := range []string{entry, work} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return Layer{}, false, err
		}
	}
	if err := make(filepath.Join(entry, "tree"), work); err != nil {
		return Layer{}, false, err
	}
	b, err := json.Marshal(made{time.Now().UTC().Truncate(time.Second), c.boot, what})
	if err != nil {
		return Layer{}, false, err
	}
	if err := os.WriteFile(filepath.Join(entry, "made"), b, 0o600); err != nil {
		return Layer{}, false, err
	}
	if l, ok := c.Find(key); ok && !again {
		return l, true, nil // another build was first
	}
	// The key may lead to another build's tree by now, or to none yet: what was
	// made here is this build's layer all the same.
	placed, err := c.place(key, entry)
	if err != nil {
		return Layer{}, false, err
	}
	if l, err = c.layer(key, placed); err != nil {
		return Layer{}, false, fmt.Errorf("cannot read what was just put into the build cache: %w", err)
	}
	c.mu.Lock()
	c.fresh = append(c.fresh, key)
	c.dirs = append(c.dirs, l.dir)
	c.mu.Unlock()
	return l, false, nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// place gives an entry its name, the directory that it returns, and the key to it.
// Another build may do the same at the same time: the last one's key stays, and
// the others' trees are garbage once nobody builds.
func (c *Cache) place(key, entry string) (string, error) {
	work := filepath.Dir(entry)
	old, err := os.Readlink(c.link(key))
	if err == nil {
		// Before it is replaced, for a build may be killed between the two.
		if err := c.discard(old); err != nil {
			return "", err
		}
	}
	name := filepath.Base(c.work) + "-" + filepath.Base(work) // random, and nobody else's
	link := filepath.Join(work, "link")
	if err := os.Symlink("../trees/"+name, link); err != nil {
		return "", err
	}
	failpoint.Hit("cache/before-place")
	// The link first: a tree without one would never be found.
	err = unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, c.link(key), unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		err = unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, c.link(key), unix.RENAME_EXCHANGE)
		if err == nil {
			var other string
			if other, err = os.Readlink(link); err == nil && other != old {
				err = c.discard(other) // came after the look above
			}
		}
	}
	if err != nil {
		return "", &fs.PathError{Op: "rename", Path: link, Err: err}
	}
	failpoint.Hit("cache/placed")
	dir := filepath.Join(c.dir, "trees", name)
	return dir, os.Rename(entry, dir)
}

// discard marks the tree that a key's link led to as replaced.
func (c *Cache) discard(link string) error {
	return os.WriteFile(filepath.Join(c.dir, "garbage", filepath.Base(link)), nil, 0o600)
}

// Sync makes what this build made count after a power loss, too.
func (c *Cache) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.dirs) == 0 {
		return c.saveFiles()
	}
	if err := syncfs(c.dir); err != nil {
		return err
	}
	for _, dir := range c.dirs {
		f, err := os.Create(filepath.Join(dir, "synced"))
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return err
		}
	}
	c.dirs = nil
	return c.saveFiles()
}

// Entry is a layer in the list of the cache.
type Entry struct {
	Key  string
	dir  string
	What string
	Used time.Time
	Size int64 // bytes of disk
}

// List gives all layers, the one not used for the longest time first.
func List(dir string) ([]Entry, error) {
	names, err := os.ReadDir(filepath.Join(dir, "layers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the build cache: %w", err)
	}
	var list []Entry
	for _, n := range names {
		e := Entry{Key: n.Name()}
		if name, err := os.Readlink(filepath.Join(dir, "layers", e.Key)); err == nil {
			e.dir = filepath.Join(dir, "trees", filepath.Base(name))
		}
		if st, err := os.Stat(filepath.Join(e.dir, "made")); err == nil && e.dir != "" {
			e.Used = st.ModTime()
			var m made
			b, err := os.ReadFile(filepath.Join(e.dir, "made"))
			if err == nil {
				err = json.Unmarshal(b, &m)
			}
			if e.What = m.What; err != nil {
				e.What = "(unreadable)"
			}
		}
		list = append(list, e)
	}
	sortByUse(list)
	return list, nil
}

// Pruned tells what Prune removed.
type Pruned struct {
	Layers, Mounts int
	Freed          int64
}

// Prune removes the layers that were not used for the time unused, then, as long
// as the rest takes more than most bytes, those used longest ago; most below 0 is
// no bound. mounts removes the directories of cache mounts, too. It refuses while
// a build runs.
func Prune(dir string, unused time.Duration, most int64, mounts bool) (p Pruned, err error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		defer f.Close()
		err = flock.TryLock(f, flock.Exclusive)
	}
	if errors.Is(err, flock.ErrBusy) {
		return p, hint.Wrap(errors.New("cannot prune the build cache: a build is using it"), "try again when it has ended")
	}
	if err != nil {
		return p, fmt.Errorf("cannot prune the build cache: %w", err)
	}
	list, err := List(dir)
	if err != nil {
		return p, err
	}
	remove := func(path string) error {
		freed, err := rmtree.Remove(path)
		p.Freed += freed
		return err
	}
	drop := func(e Entry) error {
		// The link first: what it leads to must be whole as long as it is there.
		if err := os.Remove(filepath.Join(dir, "layers", e.Key)); err != nil {
			return err
		}
		p.Layers++
		if e.dir == "" {
			return nil
		}
		return remove(e.dir)
	}
	var kept []Entry
	now := time.Now()
	for _, e := range list {
		if now.Sub(e.Used) < unused {
			kept = append(kept, e)
			continue
		}
		if err := drop(e); err != nil {
			return p, fmt.Errorf("cannot prune the build cache: %w", err)
		}
	}
	if most >= 0 {
		if kept, err = shrink(kept, most, drop); err != nil {
			return p, fmt.Errorf("cannot prune the build cache: %w", err)
		}
	}
	if err := orphans(dir, kept, remove); err != nil {
		return p, fmt.Errorf("cannot prune the build cache: %w", err)
	}
	if mounts {
		names, err := os.ReadDir(filepath.Join(dir, "mounts"))
		if err != nil {
			return p, fmt.Errorf("cannot prune the build cache: %w", err)
		}
		for _, n := range names {
			if err := remove(filepath.Join(dir, "mounts", n.Name())); err != nil {
				return p, fmt.Errorf("cannot prune the build cache: %w", err)
			}
			p.Mounts++
		}
	}
	return p, nil
}

// shrink drops what was used longest ago until the rest takes no more than most.
func shrink(kept []Entry, most int64, drop func(Entry) error) ([]Entry, error) {
	var total int64
	for i := range kept {
		var err error
		if kept[i].Size, err = usage(kept[i].dir); err != nil {
			return nil, err
		}
		total += kept[i].Size
	}
	for len(kept) > 0 && total > most {
		if err := drop(kept[0]); err != nil {
			return nil, err
		}
		total -= kept[0].Size
		kept = kept[1:]
	}
	return kept, nil
}

// orphans removes trees that no key leads to, and the marks of garbage.
func orphans(dir string, kept []Entry, remove func(string) error) error {
	used := map[string]bool{}
	for _, e := range kept {
		used[filepath.Base(e.dir)] = true
	}
	for _, d := range []string{"trees", "garbage"} {
		names, err := os.ReadDir(filepath.Join(dir, d))
		if err != nil {
			return err
		}
		for _, n := range names {
			if d == "trees" && used[n.Name()] {
				continue
			}
			if err := remove(filepath.Join(dir, d, n.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
