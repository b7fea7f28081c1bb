// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// maxRecord bounds what is read of one file in a pod directory.
const maxRecord = 16 << 20

// read returns a file of the pod directory wherever the pod is now. It makes
// the four system calls itself: os.File would add four more for its poller, and
// `rkt list` reads thousands.
func (p *Pod) read(name string) (b []byte, err error) {
	err = p.retry(func() (err error) {
		b, err = readFile(filepath.Join(p.path(), name))
		return err
	})
	return b, err
}

func readFile(path string) ([]byte, error) {
	fail := func(op string, err error) ([]byte, error) {
		return nil, &fs.PathError{Op: op, Path: path, Err: err}
	}
	// NONBLOCK: a fifo put there must not hold us.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail("open", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail("stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxRecord {
		return fail("read", errors.New("not a file of reasonable size"))
	}
	b := make([]byte, 0, st.Size+1)
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, 512)
		}
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fail("read", err)
		case n == 0:
			return b, nil
		}
		if b = b[:len(b)+n]; len(b) > maxRecord {
			return fail("read", errors.New("not a file of reasonable size"))
		}
	}
}

// mtime is a file's, the zero time if there is no such file.
func (p *Pod) mtime(name string) (time.Time, error) {
	var st fs.FileInfo
	err := p.retry(func() (err error) {
		st, err = os.Lstat(filepath.Join(p.path(), name))
		return err
	})
	switch {
	case err == nil:
		return st.ModTime(), nil
	case errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist):
		return time.Time{}, err
	}
	return time.Time{}, nil
}

// Manifest is the pod manifest. Until the pod is prepared there may be none:
// fs.ErrNotExist.
func (p *Pod) Manifest() (*pod.Manifest, error) {
	b, err := p.ManifestBytes()
	if err != nil {
		return nil, err
	}
	return pod.DecodeManifest(b)
}

// ManifestBytes is the pod manifest as it was written.
func (p *Pod) ManifestBytes() ([]byte, error) {
	b, err := p.read(ManifestFile)
	if err == nil && len(b) == 0 {
		err = fs.ErrNotExist // so far only the lock
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read manifest of pod %s: %w", p.id, err)
	}
	return b, nil
}

// Wrote tells that the caller, who holds the lock, has written c as the
// document for stage1.
func (p *Pod) Wrote(c *contract.Pod) { p.written = c }

// Contract is the document for stage1. The caller does not change it.
func (p *Pod) Contract() (*contract.Pod, error) {
	if p.written != nil {
		return p.written, nil
	}
	b, err := p.read(contract.File)
	if err != nil {
		return nil, fmt.Errorf("cannot read contract of pod %s: %w", p.id, err)
	}
	c, err := contract.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("cannot parse contract of pod %s: %w", p.id, err)
	}
	if c.Version != contract.Version {
		return nil, fmt.Errorf("cannot use contract of pod %s: version %d, this rkt knows %d", p.id, c.Version, contract.Version)
	}
	return c, nil
}

// Stage1 is the path of the manifest of the flavor the pod was prepared for.
func (p *Pod) Stage1() (string, error) {
	c, err := p.Contract()
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(c.Flavor) {
		return "", fmt.Errorf("cannot use flavor of pod %s: %q is not an absolute path", p.id, c.Flavor)
	}
	return c.Flavor, nil
}

// Events is what stage1 told of the pod's life so far; empty for a pod that did
// not start.
func (p *Pod) Events() (contract.Events, error) {
	b, err := p.read(contract.EventsFile)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotFound)) {
		return contract.Events{}, fmt.Errorf("cannot read events of pod %s: %w", p.id, err)
	}
	return contract.ParseEvents(string(b)), nil
}

// Networks is what the pod was given of networks; empty for one that was not
// attached to any.
func (p *Pod) Networks() (*contract.NetworkState, error) {
	b, err := p.read(contract.NetworkFile)
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNotFound) {
		return &contract.NetworkState{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read networks of pod %s: %w", p.id, err)
	}
	s, err := contract.DecodeNetworkState(b)
	if err != nil {
		return nil, fmt.Errorf("cannot parse networks of pod %s: %w", p.id, err)
	}
	return s, nil
}

// Noted waits until the pod's events are enough for the caller, at most for
// limit: a start is noted some milliseconds after the app began to run. It gives
// up at once on a pod that does not run.
func (p *Pod) Noted(limit time.Duration, enough func(contract.Events) bool) error {
	for until := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		e, err := p.Events()
		if err != nil || enough(e) || time.Now().After(until) {
			return err
		}
		if state, err := p.State(); err != nil || state != StateRunning {
			return err
		}
	}
}

// PID is the host's pid of the pod's first process, of a pod that runs or ran.
// Before that it is fs.ErrNotExist.
func (p *Pod) PID() (int, error) {
	e, err := p.Events()
	if err == nil && e.Init == 0 {
		err = fmt.Errorf("cannot read pid of pod %s: %w", p.id, fs.ErrNotExist)
	}
	return e.Init, err
}

// Created is when the pod was created; the zero time if that was never
// finished.
func (p *Pod) Created() (time.Time, error) { return p.mtime(ManifestFile) }

// Started is when the pod started; the zero time if it did not.
func (p *Pod) Started() (time.Time, error) {
	e, err := p.Events()
	return e.Started, err
}

// Finished is when the last app ended, or for a pod that was killed, when it
// was marked by gc; the zero time if neither is known.
func (p *Pod) Finished() (time.Time, error) {
	e, err := p.Events()
	if err != nil {
		return time.Time{}, err
	}
	var last time.Time
	for _, a := range e.Apps {
		if a.Ended && a.Finished.After(last) {
			last = a.Finished
		}
	}
	if last.IsZero() && p.phase == ExitedGarbage {
		var st unix.Stat_t
		if err := unix.Lstat(p.path(), &st); err == nil {
			last = time.Unix(st.Ctim.Unix())
		}
	}
	return last, nil
}

// AppFinished is when app ended; the zero time if it did not.
func (p *Pod) AppFinished(app string) (time.Time, error) {
	e, err := p.Events()
	return e.Apps[app].Finished, err
}

// ExitStatuses are those of the apps that ended, by name; 128+n is signal n.
func (p *Pod) ExitStatuses() (map[string]int, error) {
	e, err := p.Events()
	if err != nil {
		return nil, err
	}
	m := make(map[string]int, len(e.Apps))
	for name, a := range e.Apps {
		if a.Ended {
			m[name] = a.Status
		}
	}
	return m, nil
}
