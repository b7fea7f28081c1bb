// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Plain writes to w what the blob holds, decompressed by the helper: rkt itself
// has no decompressor. What comes is a stranger's; the caller proves it.
func Plain(ctx context.Context, helper string, blob *os.File, w io.Writer) error {
	return filter(ctx, helper, "plain", blob, w)
}

// Gzip writes to w what r holds, compressed by the helper.
func Gzip(ctx context.Context, helper string, r io.Reader, w io.Writer) error {
	return filter(ctx, helper, "gzip", r, w)
}

// filter runs the helper as a filter.
func filter(ctx context.Context, helper, verb string, in io.Reader, w io.Writer) error {
	var said bytes.Buffer
	cmd := command(ctx, helper, verb)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, w, &said
	err := cmd.Run()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if errors.Is(err, os.ErrNotExist) {
		return helperError(helper, err)
	}
	if message := strings.TrimPrefix(strings.TrimSpace(said.String()), "fetch: "); err != nil && message != "" {
		return fmt.Errorf("%s", message)
	}
	return err
}
