// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/ui/flags"
)

// edits makes the function of a command that changes the manifest alone.
func edits(f func(d manifest.Document, args []string) error) func(context.Context, *workspace.Workspace, []string) error {
	return func(_ context.Context, w *workspace.Workspace, args []string) error {
		err := f(w.Doc, args)
		var none *manifest.NoWordError
		if errors.As(err, &none) {
			return hint.Wrap(fmt.Errorf("cannot change the image: %w", err), "the build's mode is for acbuild begin --build-mode to say")
		}
		return err
	}
}

func newSets(a *acbuild) []*command {
	return []*command{
		{
			name: "set-name", usage: "NAME", short: "set the image's name (appc)",
			long:    "Sets the name of an ACI: an AC Identifier, such as example.com/app. OCI images are\nnamed by where they are put; see set-tag.",
			example: "  acbuild set-name example.com/hello",
			args:    exactly("NAME"),
			edit:    edits(func(d manifest.Document, args []string) error { return d.SetName(args[0]) }),
		},
		{
			name: "set-tag", usage: "TAG", short: "set the image's name in a layout (oci)",
			long:    "Sets the name that the image gets in the layouts and archives that it is written to,\nif the output names none: latest, if nothing is set.",
			example: "  acbuild set-tag v1.2",
			args:    exactly("TAG"),
			edit: func(_ context.Context, w *workspace.Workspace, args []string) error {
				if w.State.Mode != workspace.OCI {
					return hint.Wrap(errors.New("cannot set a tag: ACIs have none"), "acbuild label add version VERSION")
				}
				if args[0] == "" || strings.ContainsAny(args[0], " \t\n/@") {
					return fmt.Errorf("cannot set tag %q: that is none", args[0])
				}
				w.State.Tag = args[0]
				return nil
			},
		},
		{
			name: "set-exec", usage: "-- CMD [ARG…]", short: "set what the image runs",
			long:    "Sets the command of an ACI, the entry point of an OCI image. In OCI mode the command,\nwhich would be its arguments, is removed.",
			example: "  acbuild set-exec -- /bin/hello --port=5000",
			parse:   flags.First, args: atLeast("CMD"),
			edit: edits(func(d manifest.Document, args []string) error { return d.SetExec(args) }),
		},
		{
			name: "set-user", usage: "USER", short: "set the user that the image runs as",
			long: "Sets the user: a name that the image knows, or a number.", example: "  acbuild set-user www-data",
			args: exactly("USER"), edit: edits(func(d manifest.Document, args []string) error { return d.SetUser(args[0]) }),
		},
		{
			name: "set-group", usage: "GROUP", short: "set the group that the image runs as",
			long: "Sets the group: a name that the image knows, or a number.", example: "  acbuild set-group 33",
			args: exactly("GROUP"), edit: edits(func(d manifest.Document, args []string) error { return d.SetGroup(args[0]) }),
		},
		{
			name: "set-supp-groups", usage: "GID…", short: "set the image's supplementary groups (appc)",
			long: "Sets the numbers of the groups beside the group itself, in place of those that were\nset.", example: "  acbuild set-supp-groups 400 500",
			args: atLeast("GID"),
			edit: edits(func(d manifest.Document, args []string) error {
				gids := []int{}
				for _, word := range args {
					n, err := strconv.ParseUint(word, 10, 31)
					if err != nil {
						return fmt.Errorf("cannot set supplementary groups: %q is no number of a group", word)
					}
					gids = append(gids, int(n))
				}
				return d.SetSupplementaryGroups(gids)
			}),
		},
		{
			name: "set-working-directory", usage: "DIR", short: "set the working directory",
			long: "Sets the directory that the image starts in.", example: "  acbuild set-working-directory /srv",
			args: exactly("DIR"), edit: edits(func(d manifest.Document, args []string) error { return d.SetWorkingDirectory(args[0]) }),
		},
		{
			name: "set-event-handler", usage: "pre-start|post-stop CMD [ARG…]", short: "set what runs before or after the app (appc)",
			long:    "Sets the command of an event, in place of the one that was set.",
			example: "  acbuild set-event-handler pre-start -- /bin/check --all",
			parse:   flags.First, args: atLeast("the event", "CMD"),
			edit: edits(func(d manifest.Document, args []string) error {
				exec := args[1:]
				if exec[0] == "--" {
					exec = exec[1:]
				}
				return d.SetEventHandler(args[0], exec)
			}),
		},
	}
}

// pair makes the two commands of a thing that is added and removed.
func pair(noun, what string, add, remove *command) []*command {
	add.name, remove.name = noun+" add", noun+" remove"
	if add.short == "" {
		add.short = "add " + what + " to the image"
	}
	if remove.short == "" {
		remove.short = "remove " + what + " from the image"
	}
	if remove.long == "" {
		remove.long = "Removes it. If there is none, the exit status is 2."
	}
	return []*command{add, remove}
}
