// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/aci"
)

func newLayer(*acbuild) *command {
	return &command{
		name: "layer", short: "put a new layer on top (oci)",
		long:    "What follows goes into a layer of its own. Layers that change nothing are not written.",
		example: "  acbuild layer", args: exactly(), files: true,
		edit: func(_ context.Context, w *workspace.Workspace, _ []string) error {
			if w.State.Mode != workspace.OCI {
				return hint.Wrap(errors.New("cannot add a layer: ACIs have none"), "acbuild begin --build-mode=oci")
			}
			return w.NewLayer()
		},
	}
}

func newReplaceManifest(a *acbuild) *command {
	return &command{
		name: "replace-manifest", usage: "FILE", short: "replace the image's manifest",
		long:    "Replaces the manifest of an ACI, the configuration of an OCI image, by the one in FILE,\n- for standard input. Which layers an OCI image has stays acbuild's to say.",
		example: "  acbuild replace-manifest ./manifest.json",
		args:    exactly("FILE"),
		edit: func(_ context.Context, w *workspace.Workspace, args []string) error {
			raw, err := a.input(args[0], aci.MaxManifest)
			if err != nil {
				return err
			}
			old, ok := w.Doc.(*manifest.OCI)
			if !ok {
				doc, err := manifest.ParseAppC(raw)
				if err == nil {
					w.Doc = doc
				}
				return err
			}
			var top map[string]json.RawMessage
			if err := json.Unmarshal(raw, &top); err != nil {
				return fmt.Errorf("cannot read image configuration: %w", err)
			}
			if top == nil {
				return errors.New("cannot read image configuration: it is no object")
			}
			top["rootfs"], top["history"] = old.Top["rootfs"], old.Top["history"]
			if top["history"] == nil {
				delete(top, "history")
			}
			if raw, err = json.Marshal(top); err != nil {
				return err
			}
			doc, err := manifest.ParseOCI(raw, old.Annotations)
			if err == nil {
				w.Doc = doc
			}
			return err
		},
	}
}

func newCatManifest(a *acbuild) *command {
	var pretty bool
	file := "config"
	return &command{
		name: "cat-manifest", usage: "[OPTION…]", short: "print the image's manifest",
		long:    "Prints the manifest of an ACI; of an OCI image the configuration, or with\n--file=manifest the annotations, which are what its manifest says beside its layers.",
		example: "  acbuild cat-manifest --pretty-print",
		args:    exactly(),
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&pretty, "pretty-print", false, "print it on several lines")
			fs.StringVar(&file, "file", file, "which `DOCUMENT` of an OCI image: config or manifest")
		},
		view: func(_ context.Context, w *workspace.Workspace, _ []string) error {
			var text []byte
			var err error
			switch d := w.Doc.(type) {
			case *manifest.AppC:
				text, err = d.Encode(pretty)
			case *manifest.OCI:
				switch file {
				case "config":
					text, err = d.Encode(pretty)
				case "manifest":
					v := map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "annotations": d.Annotations}
					if text, err = json.Marshal(v); pretty {
						text, err = json.MarshalIndent(v, "", "    ")
					}
				default:
					return fmt.Errorf("cannot print document %q: want config or manifest", file)
				}
			}
			if err == nil {
				_, err = fmt.Fprintf(a.Out, "%s\n", text)
			}
			return err
		},
	}
}

func newEnd(a *acbuild) *command {
	return &command{
		name: "end", short: "end the build and remove it",
		long:    "Removes all of the build. What was written stays.",
		example: "  acbuild end", args: exactly(), alone: true, need: byBuild,
		run: func(context.Context, []string) error { return workspace.End(a.global.workPath) },
	}
}

func newAbort(a *acbuild) *command {
	return &command{
		name: "abort", short: "end the build and remove it, as end does",
		long:    "Removes all of the build, as acbuild end does.",
		example: "  acbuild abort", args: exactly(), alone: true, need: byBuild,
		run: func(context.Context, []string) error { return workspace.End(a.global.workPath) },
	}
}
