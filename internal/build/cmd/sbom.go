// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"io"

	"github.com/rkt/rkt/internal/build/compose"
	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/sbom"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/image/export"
)

// writeSBOM writes what the image consists of.
func (a *acbuild) writeSBOM(ctx context.Context, w *workspace.Workspace, path string, overwrite bool, opt compose.Options) error {
	s, err := compose.Stack(w)
	if err != nil {
		return err
	}
	defer s.Close()
	name := "image"
	if doc, ok := w.Doc.(*manifest.AppC); ok {
		name = doc.M.DisplayName()
	} else if w.State.Tag != "" {
		name = w.State.Tag
	}
	return export.File(ctx, path, overwrite, func(out io.Writer) error {
		return sbom.Write(out, s, name, opt.Created(w), "acbuild-"+Version)
	})
}
