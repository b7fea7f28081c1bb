// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rkt/rkt/internal/build/archive"
	"github.com/rkt/rkt/internal/build/compose"
	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/pod/launch"
)

// patch runs a command that concerns the manifest alone on the ACI in a file:
// all else is copied as it is, which takes nobody's privilege.
func (a *acbuild) patch(ctx context.Context, c *command, args []string, word, path string) error {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return err
	}
	fail := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("cannot change %q: %w", word, err)
	}
	text, err := archive.Manifest(ctx, helper, path)
	if err != nil {
		return fail(err)
	}
	doc, err := manifest.ParseAppC(text)
	if err != nil {
		return fail(err)
	}
	w := &workspace.Workspace{State: workspace.State{Mode: workspace.AppC, Layers: 1}, Doc: doc}
	if c.view != nil {
		return c.view(ctx, w, args)
	}
	if err := a.editDocument(ctx, w, c, args); err != nil {
		return err
	}
	doc, ok := w.Doc.(*manifest.AppC)
	if !ok {
		return fail(errors.New("it is no ACI any more"))
	}
	if text, err = doc.Encode(false); err != nil {
		return fail(err)
	}
	return output.ACIFile(ctx, path, output.Options{Overwrite: true}, func(out io.Writer) error {
		_, err := archive.Rewrite(ctx, helper, path, out, func([]byte) ([]byte, error) { return text, nil })
		return err
	})
}

// rewriteACI replaces an ACI by what became of it.
func (a *acbuild) rewriteACI(ctx context.Context, w *workspace.Workspace, t output.Target, o output.Options, opt compose.Options) error {
	return output.ACIFile(ctx, t.Path, o, func(out io.Writer) error {
		_, err := compose.ACI(out, w, opt)
		return err
	})
}
