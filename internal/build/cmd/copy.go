// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/place"
	"github.com/rkt/rkt/internal/build/workspace"
)

const copying = `A directory that is there is added to; files are replaced. No directory takes the
place of a file, and no file that of a directory. Directories that are missing are
made. Links in the image lead nowhere but into it. Modes, times and extended
attributes are kept; owner and group become root's, unless --keep-owner. If anything
goes wrong the image is as it was.`

func (a *acbuild) placing(keep *bool) place.Options {
	return place.Options{KeepOwner: *keep, Notes: func(what, path string) { a.say("left out: %s %q", what, path) }}
}

func newCopy(a *acbuild) *command {
	var keep bool
	return &command{
		name: "copy", usage: "SRC DST", short: "copy a file or directory into the image",
		long:    "Copies the file or directory SRC to the path DST of the image, which is what it is\ncalled there.\n\n" + copying,
		example: "  acbuild copy ./hello /bin/hello\n  acbuild copy ./html /usr/share/nginx/html",
		args:    exactly("SRC", "DST"), files: true,
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&keep, "keep-owner", false, "keep owner and group of files")
		},
		edit: func(ctx context.Context, w *workspace.Workspace, args []string) error {
			return w.Root().Copy(ctx, args[0], args[1], a.placing(&keep))
		},
	}
}

func newCopyToDir(a *acbuild) *command {
	var keep bool
	return &command{
		name: "copy-to-dir", usage: "SRC… DIR", short: "copy files and directories into a directory of the image",
		long:    "Copies each SRC into the directory DIR of the image, under its own name.\n\n" + copying,
		example: "  acbuild copy-to-dir ./a.conf ./b.conf /etc/app",
		args:    atLeast("SRC", "DIR"), files: true,
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&keep, "keep-owner", false, "keep owner and group of files")
		},
		edit: func(ctx context.Context, w *workspace.Workspace, args []string) error {
			return w.Root().CopyInto(ctx, args[:len(args)-1], args[len(args)-1], a.placing(&keep))
		},
	}
}
