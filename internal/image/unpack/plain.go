// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"context"
	"crypto/sha512"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Plain writes to w what r holds, decompressed if need be, under the limits of a
// layer.
func Plain(ctx context.Context, r io.Reader, w io.Writer, opt Options) error {
	opt.Limits = opt.Limits.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	plain, err := decompress(r, opt)
	if err != nil {
		return err
	}
	s := startStream(ctx, plain, sha512.New(), opt.Limits)
	if _, err := io.Copy(w, s); err != nil {
		cancel()
		plain.abort()
		return fmt.Errorf("cannot decompress: %w", err)
	}
	return plain.finish()
}

// Gzip writes to w what r holds, compressed: always the same bytes for the same
// content, as long as the library is the same.
func Gzip(r io.Reader, w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	z.ModTime, z.OS = time.Time{}, 255 // unknown
	if _, err := io.Copy(z, r); err != nil {
		return fmt.Errorf("cannot compress: %w", err)
	}
	return z.Close()
}
