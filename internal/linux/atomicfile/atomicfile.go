// SPDX-License-Identifier: Apache-2.0

// Package atomicfile replaces a file's content in one step: a reader, and
// whoever comes after a crash, sees the old content or the new, never a part.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rkt/rkt/internal/failpoint"
)

// TempPrefix begins the names of temporary files, which lie in the target's
// directory. A kill may leave one; whoever holds the directory's lock may
// remove all that begin so.
const TempPrefix = ".tmp-"

// Write puts data into path with exactly mode (whatever the umask), durably:
// temporary file, fsync, rename, fsync of the directory. On error path is as
// it was, unless only the directory's fsync went wrong.
func Write(path string, data []byte, mode fs.FileMode) error { return write(path, data, mode, true) }

// WriteFast is Write without fsync, for the start path: atomic to every reader,
// but a crash of the machine, as opposed to one of the process, may leave the
// new name with empty content.
func WriteFast(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, false)
}

func write(path string, data []byte, mode fs.FileMode, durable bool) error {
	f, err := create(filepath.Dir(path), mode)
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	err = fill(f, data, mode, durable)
	if err == nil {
		failpoint.Hit("atomicfile/before-rename")
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("cannot write %q: %w", path, cause(err))
	}
	failpoint.Hit("atomicfile/after-rename")
	if durable {
		return SyncDir(filepath.Dir(path))
	}
	return nil
}

// create makes a new temporary file. os.CreateTemp would do but for the mode.
func create(dir string, mode fs.FileMode) (*os.File, error) {
	for {
		name := filepath.Join(dir, TempPrefix+strconv.FormatUint(rand.Uint64(), 36))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
		if !errors.Is(err, fs.ErrExist) {
			return f, cause(err)
		}
	}
}

func fill(f *os.File, data []byte, mode fs.FileMode, durable bool) (err error) {
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if durable {
		return f.Sync()
	}
	return nil
}

// SyncDir makes the names in dir durable: what was created, renamed or removed
// there before the call.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err == nil {
		err = d.Sync()
		if cerr := d.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return fmt.Errorf("cannot sync directory %q: %w", dir, cause(err))
	}
	return nil
}

// cause drops the temporary name from an error: the caller's message already
// names the file that matters.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	if le := (*os.LinkError)(nil); errors.As(err, &le) {
		return le.Err
	}
	return err
}
