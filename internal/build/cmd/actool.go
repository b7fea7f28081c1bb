// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/archive"
	"github.com/rkt/rkt/internal/build/layer"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/ui/flags"
	"github.com/rkt/rkt/internal/ui/page"
)

func newActool(a *acbuild) *command {
	return &command{
		name: "actool", usage: "COMMAND [ARG…]", short: "work on ACIs as appc's actool did", alone: true, parse: asTheyAre,
		long: `Is what acbuild is if it is called actool:

  build [--overwrite] [--no-compression] [--owner-root] DIR OUT
          make an ACI of a directory with the file manifest and the directory rootfs
  validate [--type=appimage|layout|manifest] FILE…
          check ACIs, such directories, and manifests of images and pods
  cat-manifest [--pretty-print] ACI
          print the manifest of an ACI
  patch-manifest [OPTION…] IN [OUT]
          change the manifest of an ACI: see actool patch-manifest --help
  discover [--insecure] [--json] [--port=PORT] NAME…
          tell where the images of an appc name lie
  version
          print the version`,
		example: "  actool build --overwrite ./layout hello.aci\n  actool validate hello.aci\n  actool patch-manifest --exec=\"/bin/hello --verbose\" --replace hello.aci",
		run:     func(ctx context.Context, args []string) error { return a.actool(ctx, args) },
	}
}

// asTheyAre leaves flags to somebody else.
func asTheyAre(_ *pflag.FlagSet, args []string) ([]string, error) { return args, nil }

// tool is a command of actool's.
type tool struct {
	flags func(*pflag.FlagSet)
	args  func([]string) error
	run   func(ctx context.Context, args []string) error
	usage string
}

func (a *acbuild) tools() map[string]tool {
	return map[string]tool{
		"build": a.toolBuild(), "validate": a.toolValidate(), "cat-manifest": a.toolCat(),
		"patch-manifest": a.toolPatch(), "discover": a.toolDiscover(),
		"version": {usage: "", args: exactly(), run: func(context.Context, []string) error {
			_, err := fmt.Fprintf(a.Out, "actool version %s\n", Version)
			return err
		}},
	}
}

func (a *acbuild) actool(ctx context.Context, args []string) error {
	root := pflag.NewFlagSet("actool", pflag.ContinueOnError)
	debug := func(fs *pflag.FlagSet) {
		fs.BoolVar(&a.global.debug, "debug", a.global.debug, "print the chain of causes of an error")
	}
	debug(root)
	args, err := flags.First(root, args)
	if errors.Is(err, flags.ErrHelp) || err == nil && (len(args) == 0 || args[0] == "help") {
		if herr := page.Write(a.Out, pageOf(newActool(a))); herr != nil || err != nil || len(args) > 0 {
			return herr
		}
		return errReported
	}
	if err != nil {
		return err
	}
	t, ok := a.tools()[args[0]]
	if !ok {
		return hint.Wrap(fmt.Errorf("cannot find command %q: there is no such command", args[0]), "actool help lists the commands")
	}
	a.verb = "actool " + args[0]
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	if t.flags != nil {
		t.flags(fs)
	}
	debug(fs)
	rest, err := flags.Anywhere(fs, args[1:])
	if errors.Is(err, flags.ErrHelp) {
		return page.Write(a.Out, page.Page{Name: a.verb, Short: "see actool help", Usage: strings.TrimSpace(a.verb + " " + t.usage), Options: page.Options(fs)})
	}
	if err != nil {
		return err
	}
	if err := t.args(rest); err != nil {
		return hint.Wrap(fmt.Errorf("cannot parse arguments: %w", err), "usage: "+strings.TrimSpace(a.verb+" "+t.usage))
	}
	return t.run(ctx, rest)
}

func (a *acbuild) toolBuild() tool {
	var overwrite, plain, ownerRoot bool
	return tool{
		usage: "[OPTION…] DIR OUT", args: exactly("DIR", "OUT"),
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&overwrite, "overwrite", false, "replace OUT if it is there")
			fs.BoolVar(&plain, "no-compression", false, "do not compress it")
			fs.BoolVar(&ownerRoot, "owner-root", false, "whatever is the caller's becomes root's")
		},
		run: func(ctx context.Context, args []string) error {
			text, err := layout(args[0])
			if err != nil {
				return fmt.Errorf("cannot build an ACI of %q: %w", args[0], err)
			}
			epoch, err := layer.Epoch()
			if err != nil {
				return err
			}
			abs, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			s, err := merge.Open(filepath.Join(abs, "rootfs"))
			if err != nil {
				return err
			}
			defer s.Close()
			how := export.Packing{Latest: epoch, OwnIsRoot: ownerRoot, Notes: func(what, path string) { a.say("left out: %s %q", what, path) }}
			return output.ACIFile(ctx, args[1], output.Options{Overwrite: overwrite, Plain: plain}, func(out io.Writer) error {
				_, err := export.ACI(out, text, s, how)
				return err
			})
		},
	}
}

// layout checks a directory with manifest and rootfs, and reads the manifest.
func layout(dir string) ([]byte, error) {
	if fi, err := os.Lstat(filepath.Join(dir, "rootfs")); err != nil || !fi.IsDir() {
		return nil, errors.New("it has no directory rootfs")
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, cause(err)
	}
	for _, e := range list {
		if e.Name() != "manifest" && e.Name() != "rootfs" {
			return nil, fmt.Errorf("it has %q beside manifest and rootfs", e.Name())
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "manifest"))
	if err != nil {
		return nil, fmt.Errorf("it has no manifest: %w", cause(err))
	}
	_, err = aci.Parse(text)
	return text, err
}

func (a *acbuild) toolValidate() tool {
	kind := ""
	return tool{
		usage: "[--type=TYPE] FILE…", args: atLeast("FILE"),
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&kind, "type", "", "what they are: `TYPE` is appimage, layout or manifest; guessed without it")
		},
		run: func(ctx context.Context, args []string) error {
			failed := false
			for _, file := range args {
				if err := validate(ctx, kind, file); err != nil {
					a.report(fmt.Errorf("%s: invalid: %w", file, err))
					failed = true
					continue
				}
				a.say("%s: valid", file)
			}
			if failed {
				return errReported
			}
			return nil
		},
	}
}

func validate(ctx context.Context, kind, file string) error {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return err
	}
	if kind == "" {
		if kind, err = guess(file); err != nil {
			return err
		}
	}
	switch kind {
	case "layout":
		_, err := layout(file)
		return err
	case "appimage":
		return archive.Validate(ctx, helper, file)
	case "manifest":
		text, err := os.ReadFile(file)
		if err != nil {
			return cause(err)
		}
		var k struct {
			ACKind string `json:"acKind"`
		}
		if err := json.Unmarshal(text, &k); err != nil {
			return err
		}
		if k.ACKind == "PodManifest" {
			_, err = pod.ParseManifest(bytes.NewReader(text))
			return err
		}
		_, err = aci.Parse(text)
		return err
	}
	return fmt.Errorf("there is no type %q; there are appimage, layout and manifest", kind)
}

func guess(file string) (string, error) {
	fi, err := os.Stat(file)
	if err != nil {
		return "", cause(err)
	}
	if fi.IsDir() {
		return "layout", nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close()
	begin := make([]byte, 512)
	n, err := io.ReadFull(f, begin)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", cause(err)
	}
	if archive.Looks(begin[:n]) {
		return "manifest", nil
	}
	return "appimage", nil
}

func (a *acbuild) toolCat() tool {
	pretty := false
	return tool{
		usage: "[--pretty-print] ACI", args: exactly("ACI"),
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&pretty, "pretty-print", false, "print it on several lines")
		},
		run: func(ctx context.Context, args []string) error {
			helper, err := launch.HelperPath("fetch")
			if err != nil {
				return err
			}
			text, err := archive.Manifest(ctx, helper, args[0])
			if err == nil {
				_, err = aci.Parse(text)
			}
			if err != nil {
				return fmt.Errorf("cannot read %q: %w", args[0], err)
			}
			if pretty {
				var b bytes.Buffer
				if err := json.Indent(&b, text, "", "    "); err != nil {
					return err
				}
				text = b.Bytes()
			}
			_, err = fmt.Fprintf(a.Out, "%s\n", bytes.TrimSpace(text))
			return err
		},
	}
}

func (a *acbuild) toolDiscover() tool {
	var insecure, asJSON bool
	var port uint16
	return tool{
		usage: "[OPTION…] NAME…", args: atLeast("NAME"),
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&insecure, "insecure", false, "ask by http where https fails, and do not check certificates")
			fs.BoolVar(&asJSON, "json", false, "print JSON")
			fs.Uint16Var(&port, "port", 0, "ask `PORT` of the name's host instead of 443, and 80")
		},
		run: func(ctx context.Context, args []string) error {
			env, err := a.env(insecure)
			if err != nil {
				return err
			}
			env.Fetch.Progress, env.Fetch.DiscoveryPort = "", port
			failed := false
			for _, word := range args {
				if err := a.discover(ctx, env.Fetch, word, asJSON); err != nil {
					a.report(fmt.Errorf("cannot discover %q: %w", word, err))
					failed = true
				}
			}
			if failed {
				return errReported
			}
			return nil
		},
	}
}

func (a *acbuild) discover(ctx context.Context, opt fetch.Options, word string, asJSON bool) error {
	name, err := aci.ParseName(word)
	if err != nil {
		return err
	}
	d, err := fetch.Discover(ctx, opt, name)
	if err != nil {
		return err
	}
	if err := a.discovered(word, d, asJSON); err != nil {
		return err
	}
	if len(d.Endpoints) == 0 {
		return hint.Wrap(errors.New("keys are announced, but no image of that name and those labels"), "a label is given as NAME,LABEL=VALUE")
	}
	return nil
}

// discovered tells what is announced.
func (a *acbuild) discovered(word string, d fetch.Discovery, asJSON bool) error {
	if asJSON {
		type endpoint struct{ ACI, ASC string } // as appc's actool spells it
		var all struct {
			ACIEndpoints []endpoint
			PublicKeys   []string
		}
		for _, x := range d.Endpoints {
			all.ACIEndpoints = append(all.ACIEndpoints, endpoint{x.ACI, x.ASC})
		}
		all.PublicKeys = d.PublicKeys
		e := json.NewEncoder(a.Out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "    ")
		return e.Encode(all)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "== Discovery walk for %s ==\n", word)
	for _, e := range d.Endpoints {
		fmt.Fprintf(&b, "ACI: %s, ASC: %s\n", e.ACI, e.ASC)
	}
	if len(d.PublicKeys) > 0 {
		fmt.Fprintf(&b, "PublicKeys: %s\n", strings.Join(d.PublicKeys, ","))
	}
	_, err := io.WriteString(a.Out, b.String())
	return err
}
