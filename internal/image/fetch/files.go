// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/linux/safepath"
)

// local opens what an image on this machine is read from, with the rights of
// whoever started rkt, for a helper that has none: an archive's file, or a
// socket over which it asks for a layout's. Close f when the helper has it.
func local(r ref.Ref) (f *os.File, err error) {
	if r.Kind != ref.OCILayout {
		return regular(r.Path)
	}
	dir, err := unix.Open(r.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("%q is not an OCI image layout: %w", r.Path, err),
			"for what \"docker save\" wrote, use docker-archive:FILE")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(dir)
		return nil, fmt.Errorf("cannot make socket: %w", err)
	}
	go func() {
		serveFiles(pair[0], dir)
		_, _ = unix.Close(pair[0]), unix.Close(dir)
	}()
	return os.NewFile(uintptr(pair[1]), r.Path), nil
}

// regular opens a regular file.
func regular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo must not hold us up
	if err != nil {
		return nil, plainCause(err)
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, errors.Join(err, errors.New("it is not a regular file"))
	}
	return f, nil
}

// serveFiles opens files of the layout in dir for whoever asks at the other end
// of conn, until that is closed.
func serveFiles(conn, dir int) {
	name := make([]byte, wire.MaxName+1)
	for {
		n, _, err := unix.Recvfrom(conn, name, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		fd, err := layoutFile(dir, string(name[:n]))
		var errno unix.Errno
		if err != nil && !errors.As(err, &errno) {
			errno = unix.EIO
		}
		var rights []byte
		if err == nil {
			rights = unix.UnixRights(fd)
		}
		err = unix.Sendmsg(conn, binary.NativeEndian.AppendUint32(nil, uint32(errno)), rights, nil, 0)
		if rights != nil {
			_ = unix.Close(fd)
		}
		if err != nil {
			return
		}
	}
}

// layoutFile opens a file of a layout, be it a link, as long as that stays in
// the layout: the helper must not get what the user did not mean.
func layoutFile(dir int, name string) (int, error) {
	if name != "index.json" {
		rest, _ := strings.CutPrefix(name, "blobs/")
		algo, hexa, _ := strings.Cut(rest, "/")
		if _, err := image.ParseDigest(algo + ":" + hexa); err != nil || rest == name {
			return -1, unix.ENOENT
		}
	}
	fd, err := safepath.OpenInRoot(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.ENODEV
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
