// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/ui/flags"
)

func newAnnotation(*acbuild) []*command {
	return pair("annotation", "an annotation",
		&command{usage: "NAME VALUE", long: "Adds an annotation, or changes the one of that name. In OCI mode it is the\nmanifest's.", example: "  acbuild annotation add authors \"A. U. Thor\"",
			args: exactly("NAME", "VALUE"), edit: edits(func(d manifest.Document, args []string) error { return d.AddAnnotation(args[0], args[1]) })},
		&command{usage: "NAME", example: "  acbuild annotation remove authors",
			args: exactly("NAME"), edit: edits(func(d manifest.Document, args []string) error { return d.RemoveAnnotation(args[0]) })})
}

func newLabel(*acbuild) []*command {
	return pair("label", "a label",
		&command{usage: "NAME VALUE", long: "Adds a label, or changes the one of that name. In OCI mode it is the\nconfiguration's.", example: "  acbuild label add version 1.2",
			args: exactly("NAME", "VALUE"), edit: edits(func(d manifest.Document, args []string) error { return d.AddLabel(args[0], args[1]) })},
		&command{usage: "NAME", example: "  acbuild label remove version",
			args: exactly("NAME"), edit: edits(func(d manifest.Document, args []string) error { return d.RemoveLabel(args[0]) })})
}

func newEnvironment(*acbuild) []*command {
	return pair("environment", "an environment variable",
		&command{usage: "NAME VALUE", long: "Adds a variable, or changes the one of that name.", example: "  acbuild environment add REDUCE_WORKER_DEBUG true",
			args: exactly("NAME", "VALUE"), edit: edits(func(d manifest.Document, args []string) error { return d.AddEnvironment(args[0], args[1]) })},
		&command{usage: "NAME", example: "  acbuild environment remove REDUCE_WORKER_DEBUG",
			args: exactly("NAME"), edit: edits(func(d manifest.Document, args []string) error { return d.RemoveEnvironment(args[0]) })})
}

func newPort(*acbuild) []*command {
	var count uint
	var activated bool
	return pair("port", "a port",
		&command{usage: "[OPTION…] NAME PROTOCOL PORT", example: "  acbuild port add http tcp 80\n  acbuild port add data tcp 6000 --count=10",
			long: "Says that the image listens on a port; PROTOCOL is tcp or udp. An OCI image's port is\nexposed, and the annotation coreos.com/acbuild/port/NAME keeps its name.",
			args: exactly("NAME", "PROTOCOL", "PORT"),
			flags: func(fs *pflag.FlagSet) {
				fs.UintVar(&count, "count", 1, "how many ports from PORT on: `N`")
				fs.BoolVar(&activated, "socket-activated", false, "the app is handed its socket (appc)")
			},
			edit: edits(func(d manifest.Document, args []string) error {
				p, err := manifest.ParsePort(args[0], args[1], args[2])
				if err != nil {
					return err
				}
				if count > 1 {
					p.Count = count
				}
				p.SocketActivated = activated
				return d.AddPort(p)
			})},
		&command{usage: "NAME|PORT", example: "  acbuild port remove http",
			args: exactly("NAME"), edit: edits(func(d manifest.Document, args []string) error { return d.RemovePort(args[0]) })})
}

func newMount(*acbuild) []*command {
	var readOnly bool
	return pair("mount", "a mount point",
		&command{usage: "[OPTION…] NAME PATH", example: "  acbuild mount add html /usr/share/nginx/html",
			long: "Says that the image wants a volume at PATH. An OCI image's is a volume, and the\nannotation coreos.com/acbuild/mount/NAME keeps its name.",
			args: exactly("NAME", "PATH"),
			flags: func(fs *pflag.FlagSet) {
				fs.BoolVar(&readOnly, "read-only", false, "the app does not write there (appc)")
			},
			edit: edits(func(d manifest.Document, args []string) error {
				return d.AddMount(manifest.Mount{Name: args[0], Path: args[1], ReadOnly: readOnly})
			})},
		&command{usage: "NAME|PATH", example: "  acbuild mount remove html",
			args: exactly("NAME"), edit: edits(func(d manifest.Document, args []string) error { return d.RemoveMount(args[0]) })})
}

func newDependency(*acbuild) []*command {
	var d manifest.Dependency
	return pair("dependency", "a dependency",
		&command{usage: "[OPTION…] NAME[:VERSION]", example: "  acbuild dependency add example.com/base:1.0\n  acbuild dependency add example.com/base --label=os=linux --image-id=sha512-…",
			long: "Says that the image stands on another ACI (appc).",
			args: exactly("NAME"),
			flags: func(fs *pflag.FlagSet) {
				d = manifest.Dependency{}
				fs.StringVar(&d.ID, "image-id", "", "its image `ID`")
				fs.Uint64Var(&d.Size, "size", 0, "how long its file is, in `BYTES`")
				flags.Each(fs, "label", "NAME=VALUE", "a label that it must have; may be given again", func(s string) error {
					name, value, ok := strings.Cut(s, "=")
					if !ok {
						return fmt.Errorf("%q is not NAME=VALUE", s)
					}
					d.Labels = append(d.Labels, manifest.Label{Name: name, Value: value})
					return nil
				})
			},
			edit: edits(func(doc manifest.Document, args []string) error {
				dep := d
				name, version, ok := strings.Cut(args[0], ":")
				if dep.Name = name; ok {
					dep.Labels = append([]manifest.Label{{Name: "version", Value: version}}, dep.Labels...)
				}
				return doc.AddDependency(dep)
			})},
		&command{usage: "NAME", example: "  acbuild dependency remove example.com/base",
			args: exactly("NAME"), edit: edits(func(d manifest.Document, args []string) error {
				name, _, _ := strings.Cut(args[0], ":")
				return d.RemoveDependency(name)
			})})
}

// maxIsolator is how long an isolator's value may be.
const maxIsolator = 1 << 20

func newIsolator(a *acbuild) []*command {
	return pair("isolator", "an isolator",
		&command{usage: "NAME FILE", example: "  echo '{\"limit\":\"100M\"}' | acbuild isolator add resource/memory -",
			long: "Adds an isolator whose value is the JSON in FILE, - for standard input (appc).",
			args: exactly("NAME", "FILE"), edit: edits(func(d manifest.Document, args []string) error {
				value, err := a.input(args[1], maxIsolator)
				if err != nil {
					return err
				}
				return d.AddIsolator(args[0], value)
			})},
		&command{usage: "NAME", example: "  acbuild isolator remove resource/memory",
			args: exactly("NAME"), edit: edits(func(d manifest.Document, args []string) error { return d.RemoveIsolator(args[0]) })})
}
