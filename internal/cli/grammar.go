// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/spf13/pflag"
)

// wish is what the command line of `run` or `prepare` asks for: a request that
// only lacks its images, and what is not prepare's business.
type wish struct {
	prepare.Request
	images []string // as typed; images[i] is Apps[i]'s
	// signatures are the files given for images, by their index.
	signatures map[int]string

	podManifest  string // path
	uuidFileSave string
	pullPolicy   string // "" is not given: new
	flavor       flavorFlags
	timing       bool
	quiet        bool

	manager manager

	// took, if there is one, is told of each flag, image and block of arguments,
	// with the words that it consists of, when it has been read.
	took func(words []string) error

	net netFlag
	dns dnsFlag
	env envFlags
}

// parse reads rkt's grammar:
//
//	[POD-FLAG…] IMAGE [APP-FLAG…] [-- ARG… [---]] [IMAGE …]
//
// An app's flag belongs to the image before it; a pod's flag may stand anywhere.
// Between "--" and "---" everything is the app's. It is a parser; nothing is
// left over.
func (w *wish) parse(fs *pflag.FlagSet, args []string) (_ []string, err error) {
	blocks := 0 // images whose arguments have been read
	for len(args) > 0 {
		switch {
		case args[0] == "":
			args = args[1:]
		case args[0] == "--":
			if len(w.Apps) == 0 {
				return nil, errors.New(`cannot parse "--": an image must come before its arguments`)
			}
			if blocks == len(w.Apps) {
				return nil, errors.New(`cannot parse "--": an image takes one block of arguments`)
			}
			blocks = len(w.Apps)
			app := &w.Apps[len(w.Apps)-1]
			rest := args[1:]
			for len(rest) > 0 && rest[0] != "---" {
				app.Args, rest = append(app.Args, rest[0]), rest[1:]
			}
			if len(rest) > 0 {
				rest = rest[1:] // the ---
			}
			if args, err = w.taken(args, rest); err != nil {
				return nil, err
			}
		case args[0] == "---":
			return nil, hint.Wrap(errors.New(`cannot parse "---": it ends arguments, and none have begun`), `"--" begins them`)
		case isFlag(args[0]):
			rest, err := takeFlag(fs, args)
			if err != nil {
				return nil, err
			}
			if args, err = w.taken(args, rest); err != nil {
				return nil, err
			}
		default:
			w.images = append(w.images, args[0])
			w.Apps = append(w.Apps, prepare.AppRequest{})
			if args, err = w.taken(args, args[1:]); err != nil {
				return nil, err
			}
		}
	}
	return nil, w.check(fs)
}

// taken tells of the words between args and its end, rest, which it returns.
func (w *wish) taken(args, rest []string) ([]string, error) {
	if w.took == nil {
		return rest, nil
	}
	return rest, w.took(args[:len(args)-len(rest)])
}

// check looks at flags that do not go together.
func (w *wish) check(fs *pflag.FlagSet) error {
	if w.podManifest != "" {
		if len(w.images) > 0 {
			return fmt.Errorf("cannot use image %q: --pod-manifest says which images there are", w.images[0])
		}
		for _, name := range []string{"volume", "mount", "port", "inherit-env", "set-env", "set-env-file", "no-store", "store-only", "sysctl"} {
			if f := fs.Lookup(name); f != nil && f.Changed {
				return fmt.Errorf("cannot use --%s: it does not go with --pod-manifest", name)
			}
		}
		if len(w.Isolators) > 0 {
			return fmt.Errorf("cannot limit the pod by %s: it does not go with --pod-manifest, which has isolators of its own", w.Isolators[0].Name)
		}
		if w.pullPolicy == "update" {
			return errors.New("cannot use --pull-policy=update: it does not go with --pod-manifest")
		}
	} else if len(w.images) == 0 {
		return hint.Wrap(errors.New("cannot make a pod: no image is given"), "name one or more images, or a manifest with --pod-manifest=FILE")
	}
	if w.Options.Interactive && len(w.images) > 1 {
		return fmt.Errorf("cannot use --interactive: it takes one image, not %d", len(w.images))
	}
	if w.quiet && w.timing {
		return errors.New("cannot use --timing: it does not go with --quiet")
	}
	return nil
}

// app is a flag of the image before it.
func (w *wish) app(fs *pflag.FlagSet, name, typ, usage string, set func(a *prepare.AppRequest, value string) error) *pflag.Flag {
	return each(fs, name, typ, usage, func(value string) error {
		if len(w.Apps) == 0 {
			return fmt.Errorf("cannot use --%s: it must follow an image", name)
		}
		return set(&w.Apps[len(w.Apps)-1], value)
	})
}
