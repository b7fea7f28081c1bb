// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow bounds what a zstd frame may make us allocate.
const maxWindow = 128 << 20

// plainReader decompresses r, from its start, if it begins like a compressed
// stream; it returns nil, and r at its start, if not.
func plainReader(r io.ReadSeeker) (io.Reader, error) {
	head := make([]byte, 6)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	starts := func(magic string) bool { return bytes.HasPrefix(head[:n], []byte(magic)) }
	switch {
	case starts("\x1f\x8b"):
		return gzip.NewReader(r)
	case starts("\x28\xb5\x2f\xfd"):
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	case starts("BZh"):
		return bzip2.NewReader(r), nil
	case starts("\xfd7zXZ\x00"):
		return xz.NewReader(r)
	}
	return nil, nil //nolint:nilnil // documented: not compressed
}
