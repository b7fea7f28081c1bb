// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/build/archive"
	"github.com/rkt/rkt/internal/build/compose"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/pod/launch"
)

// modify runs one command on a file: in a build of its own, which nobody sees
// and which is gone at the end. The file is replaced by one rename, or stays.
func (a *acbuild) modify(ctx context.Context, c *command, args []string) (err error) {
	word, mode := a.global.modifyAppC, workspace.AppC
	if a.global.modifyOCI != "" {
		if word != "" {
			return errors.New("cannot use --modify-appc with --modify-oci")
		}
		word, mode = a.global.modifyOCI, workspace.OCI
	}
	start, t, err := modified(mode, word)
	if err != nil {
		return err
	}
	if mode == workspace.AppC && !c.files {
		return a.patch(ctx, c, args, word, t.Path)
	}
	if mode == workspace.OCI && t.Name == "" {
		if t.Name, err = soleName(ctx, t); err != nil {
			return fmt.Errorf("cannot change %q: %w", word, err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(t.Path), ".acbuild-modify-")
	if err != nil {
		return fmt.Errorf("cannot change %q: %w", word, cause(err))
	}
	defer os.RemoveAll(dir)
	env, err := a.env(true)
	if err != nil {
		return err
	}
	env.Fetch.Progress = ""
	if err := a.begin(ctx, env, dir, mode, start); err != nil {
		return err
	}
	w, err := workspace.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Destroy()) }()
	if c.view != nil {
		return c.view(ctx, w, args)
	}
	if err := a.change(ctx, w, c, args); err != nil {
		return err
	}
	opt, err := a.options()
	if err != nil {
		return err
	}
	o := output.Options{Overwrite: true, Packing: opt.Packing()}
	if mode == workspace.AppC {
		return a.rewriteACI(ctx, w, t, o, opt)
	}
	im, err := compose.OCI(ctx, w, opt)
	if err != nil {
		return err
	}
	defer im.Close()
	_, err = output.Write(ctx, im.Image, t, o)
	return err
}

// soleName is what the one image in a layout or an archive is called there.
func soleName(ctx context.Context, t output.Target) (string, error) {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return "", err
	}
	var text []byte
	switch t.Kind {
	case output.Layout:
		text, err = os.ReadFile(filepath.Join(t.Path, "index.json"))
	case output.DockerArchive:
		text, err = archive.Document(ctx, helper, t.Path, "manifest.json")
	default:
		text, err = archive.Document(ctx, helper, t.Path, "index.json")
	}
	if err != nil {
		return "", cause(err)
	}
	if t.Kind == output.DockerArchive {
		var list []struct{ RepoTags []string }
		if err := json.Unmarshal(text, &list); err != nil || len(list) != 1 || len(list[0].RepoTags) == 0 {
			return "", err
		}
		return list[0].RepoTags[0], nil
	}
	var index struct {
		Manifests []struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(text, &index); err != nil || len(index.Manifests) != 1 {
		return "", err
	}
	return index.Manifests[0].Annotations["org.opencontainers.image.ref.name"], nil
}

// modified says what a build of the file begins with, and where it is written.
func modified(mode workspace.Mode, word string) (start string, t output.Target, err error) {
	if mode == workspace.AppC {
		abs, err := filepath.Abs(word)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return "", t, fmt.Errorf("cannot change %q: %w", word, cause(err))
		}
		return abs, output.Target{Kind: output.ACI, Path: abs}, nil
	}
	if !strings.HasPrefix(word, "oci:") && !strings.HasPrefix(word, "oci-archive:") && !strings.HasPrefix(word, "docker-archive:") {
		kind := "oci-archive:"
		if fi, err := os.Stat(word); err == nil && fi.IsDir() {
			kind = "oci:"
		}
		word = kind + word
	}
	r, err := ref.Parse(word)
	if err != nil {
		return "", t, err
	}
	if _, err := os.Stat(r.Path); err != nil {
		return "", t, fmt.Errorf("cannot change %q: %w", word, cause(err))
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", t, err
	}
	r = r.Abs(cwd)
	return r.String(), output.Target{Kind: output.Kind(r.Kind), Path: r.Path, Name: r.Inner}, nil
}
