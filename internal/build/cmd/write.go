// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/compose"
	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/ui/flags"
)

// writing are the flags of write and push.
type writing struct {
	overwrite, plain, insecure bool
	toStore                    bool
	storeName                  string
	sign, sbom, provenance     string
}

// unnamed is --to-store without a value.
const unnamed = "\x00"

func newWrite(a *acbuild) *command {
	var f writing
	return &command{
		name: "write", usage: "[OPTION…] [OUT]", short: "write the image",
		long: `Writes the image, and prints its ID: of an OCI image that of its manifest, of an ACI
that of its tar. The build stays open. OUT is one of

  FILE.aci, aci:FILE        an App Container Image
  oci:DIR[:NAME]            an OCI layout; --overwrite adds to one that is there
  oci-archive:FILE[:NAME]   a layout in a tar
  docker-archive:FILE[:NAME]  as of docker save
  docker://REF              a registry, see acbuild push
  FILE                      in mode appc an ACI, in mode oci an OCI archive

Either mode writes every form. What a form has no word for is refused by name: OCI
images have no isolators and no dependencies. An ACI takes a name: acbuild set-name.

The time of the image is that of the build's last change, so a build that nobody
changed is the same image when it is written again. The same build made again gives
the same image if SOURCE_DATE_EPOCH is set: it is the time of the image and of all
files that are newer.

--sign signs an ACI with an OpenPGP key, into OUT.asc: KEY is a file with an armored
secret key, or gpg:USER for a key of gpg's. An OCI image in a layout or a registry is
signed with a key in cosign's form (KEY is its file, its password in
COSIGN_PASSWORD), or with any private key in PEM.`,
		example: "  acbuild write hello.aci\n  acbuild write --overwrite oci:./images:hello\n  acbuild write --to-store=example.com/hello:1.2\n  acbuild write --sign=cosign.key docker://registry.example.com/hello:1.2",
		args:    atMost("OUT"), alone: true,
		needs: func(args []string) bool { return f.toStore || len(args) > 0 && output.IsStore(args[0]) },
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&f.overwrite, "overwrite", false, "replace OUT if it is there")
			fs.BoolVar(&f.plain, "no-compression", false, "do not compress an ACI")
			fs.BoolVar(&f.insecure, "insecure", false, "do not check a registry's certificate, and do without TLS")
			fs.StringVar(&f.sign, "sign", "", "sign the image with `KEY`")
			fs.StringVar(&f.sbom, "sbom", "", "write what the image consists of, in SPDX, to `FILE`")
			fs.StringVar(&f.provenance, "provenance", "", "write how the image was made, as an in-toto statement, to `FILE`")
			flags.Each(fs, "to-store", "NAME", "put the image into rkt's store, under the name of a registry's image if one is given", func(s string) error {
				f.toStore, f.storeName = true, strings.TrimPrefix(s, unnamed)
				if f.storeName == "" {
					return nil
				}
				_, err := output.Name(f.storeName)
				return err
			}).NoOptDefVal = unnamed
		},
		view: func(ctx context.Context, w *workspace.Workspace, args []string) error {
			if len(args) == 0 && !f.toStore && f.sbom == "" {
				return errors.New("cannot write the image: OUT is missing")
			}
			var targets []output.Target
			if len(args) == 1 {
				t, err := target(w, args[0])
				if err != nil {
					return err
				}
				targets = append(targets, t)
			}
			if f.toStore {
				word := "store"
				if f.storeName != "" {
					word += ":" + f.storeName
				}
				t, err := output.Parse(word)
				if err != nil {
					return err
				}
				targets = append(targets, t)
			}
			return a.write(ctx, w, targets, f)
		},
	}
}

func newPush(a *acbuild) *command {
	var f writing
	return &command{
		name: "push", usage: "[OPTION…] REF", short: "write the image to a registry",
		long:    "Writes the image to a registry: REF is docker://HOST/NAME[:TAG], without docker:// if\none likes. Layers that the registry has are not sent. Credentials are those of rkt's\nconfiguration, or of docker's or podman's login.",
		example: "  acbuild push registry.example.com/hello:1.2",
		args:    exactly("REF"), alone: true,
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&f.insecure, "insecure", false, "do not check the registry's certificate, and do without TLS")
			fs.StringVar(&f.sign, "sign", "", "sign the image with `KEY`, see acbuild write")
			fs.StringVar(&f.sbom, "sbom", "", "write what the image consists of, in SPDX, to `FILE`")
			fs.StringVar(&f.provenance, "provenance", "", "write how the image was made, as an in-toto statement, to `FILE`")
		},
		view: func(ctx context.Context, w *workspace.Workspace, args []string) error {
			word := args[0]
			if !strings.HasPrefix(word, "docker://") {
				word = "docker://" + word
			}
			t, err := output.Parse(word)
			if err != nil {
				return err
			}
			return a.write(ctx, w, []output.Target{t}, f)
		},
	}
}

// target reads OUT.
func target(w *workspace.Workspace, word string) (output.Target, error) {
	kind, _, prefixed := strings.Cut(word, ":")
	fi, err := os.Stat(word)
	switch {
	case word == "":
		return output.Target{}, errors.New("cannot write the image: OUT is empty")
	case prefixed && !strings.Contains(kind, "/") && (err != nil):
	case strings.HasSuffix(word, ".aci"):
		return output.Target{Kind: output.ACI, Path: word}, nil
	case err == nil && fi.IsDir():
		return output.Target{}, hint.Wrap(fmt.Errorf("cannot write %q: it is a directory", word), "oci:"+word+" writes a layout")
	case w.State.Mode == workspace.AppC:
		return output.Target{Kind: output.ACI, Path: word}, nil
	default:
		return output.Target{Kind: output.Archive, Path: word}, nil
	}
	return output.Parse(word)
}

// write writes the image to all targets.
func (a *acbuild) write(ctx context.Context, w *workspace.Workspace, targets []output.Target, f writing) error {
	if err := w.Check(); err != nil {
		return err
	}
	opt, err := a.options()
	if err != nil {
		return err
	}
	env, err := a.env(f.insecure)
	if err != nil {
		return err
	}
	signer, err := a.signer(f.sign, env, targets)
	if err != nil {
		return err
	}
	if f.provenance != "" && len(targets) == 0 {
		return errors.New("cannot say how the image was made: nothing is written, so it has no digest")
	}
	if f.sbom != "" {
		if err := a.writeSBOM(ctx, w, f.sbom, f.overwrite, opt); err != nil {
			return err
		}
	}
	var subjects []subject
	var im *compose.Image
	defer func() {
		if im != nil {
			im.Close()
		}
	}()
	for _, t := range targets {
		o := output.Options{Overwrite: f.overwrite, Plain: f.plain, Packing: opt.Packing(), Fetch: env.Fetch, OpenStore: a.openStore, Scratch: filepath.Join(w.Dir, "tmp")}
		doc, isAppC := w.Doc.(*manifest.AppC)
		if t.Kind == output.ACI && isAppC {
			id, err := a.writeACI(ctx, w, doc, t, o, opt, signer)
			if err != nil {
				return err
			}
			subjects = append(subjects, subjectOf(doc.M.DisplayName(), id))
			continue
		}
		if im == nil {
			if im, err = compose.OCI(ctx, w, opt); err != nil {
				return err
			}
		}
		if t.Kind == output.ACI && w.State.Base != nil && w.State.Base.User {
			return hint.Wrap(errors.New("cannot write an ACI: whom the files of the image it began with belong to is lost on an ordinary user"), "do it as root, or write an OCI image")
		}
		if t.Name == "" && (t.Kind == output.Layout || t.Kind == output.Archive) {
			if t.Name = w.State.Tag; t.Name == "" {
				t.Name = "latest"
			}
		}
		if signer != nil {
			o.Sign = signer.image
		}
		written, err := output.Write(ctx, im.Image, t, o)
		if err == nil && signer != nil && t.Kind == output.ACI {
			err = signer.file(ctx, t.Path, f.overwrite)
		}
		if err != nil {
			return err
		}
		subjects = append(subjects, subjectOf(cmp.Or(t.Name, t.Path, t.Ref.String()), written.ID))
		if _, err := fmt.Fprintln(a.Out, written.ID); err != nil {
			return err
		}
	}
	if f.provenance != "" {
		return a.writeProvenance(ctx, w, f, subjects, opt.Epoch, signer)
	}
	return nil
}

// writeACI writes a build in appc's words as what it is.
func (a *acbuild) writeACI(ctx context.Context, w *workspace.Workspace, doc *manifest.AppC, t output.Target, o output.Options, opt compose.Options, s *signer) (id image.ID, err error) {
	if doc.M.Name == manifest.Unnamed {
		return "", hint.Wrap(errors.New("cannot write an ACI: it has no name"), "acbuild set-name NAME")
	}
	if doc.M.App == nil || len(doc.M.App.Exec) == 0 {
		a.say("the image does not say what it runs: acbuild set-exec")
	}
	err = output.ACIFile(ctx, t.Path, o, func(out io.Writer) (err error) {
		id, err = compose.ACI(out, w, opt)
		return err
	})
	if err == nil && s != nil {
		err = s.file(ctx, t.Path, o.Overwrite)
	}
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintln(a.Out, id)
	return id, err
}
