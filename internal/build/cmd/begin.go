// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/compose"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
)

func newBegin(a *acbuild) *command {
	var insecure bool
	mode := string(workspace.AppC)
	return &command{
		name: "begin", usage: "[OPTION…] [START]", short: "begin a build",
		long: `Begins a build in the work path, which has one at a time. START says with what:

  nothing               an empty image
  ./DIR, /DIR           a root; an OCI layout if the directory is one
  ./FILE.aci            an App Container Image
  ./FILE                the tar of a root, compressed or not
  oci:DIR[:NAME]        an image in an OCI layout; likewise oci-archive: and docker-archive:
  docker://REF          an image of a registry
  HOST/NAME[:VERSION]   an appc name, found by discovery, or https://….aci

What comes from elsewhere takes what rkt fetch takes: a digest in its name, a
signature by a key that rkt trust knows, or --insecure. Files of this machine are
the caller's to answer for.

--build-mode says in which words the image is described, whatever it began as; what
it is written as is for acbuild write to say.

Images from elsewhere are kept in rkt's store. The build of an ordinary user who has
no subordinate ids (docs/rootless.md) keeps them itself; it can begin with OCI and
Docker images, whose layers stay as they are, with roots, and with nothing.`,
		example: `  acbuild begin
  acbuild begin ./rootfs
  acbuild begin --build-mode=oci docker://debian@sha256:…
  acbuild begin --insecure docker://alpine`,
		args: atMost("START"), alone: true, need: owners,
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&insecure, "insecure", false, "take images that nothing vouches for, over connections that nobody vouches for")
			fs.StringVar(&mode, "build-mode", mode, "`MODE` of the build: appc or oci")
		},
		run: func(ctx context.Context, args []string) error {
			m := workspace.Mode(mode)
			if m != workspace.AppC && m != workspace.OCI {
				return fmt.Errorf("cannot begin a build in mode %q: want appc or oci", mode)
			}
			start := ""
			if len(args) > 0 {
				if start = args[0]; start == "" {
					return errors.New("cannot begin a build: START is empty")
				}
				if strings.HasPrefix(start, "~") {
					return hint.Wrap(fmt.Errorf("cannot begin with %q: only a shell knows what ~ is", start), "give the whole path")
				}
			}
			env, err := a.env(insecure)
			if err != nil {
				return err
			}
			return a.begin(ctx, env, a.global.workPath, m, start)
		},
	}
}

// begin begins a build; on an error there is none.
func (a *acbuild) begin(ctx context.Context, env compose.Env, path string, m workspace.Mode, start string) error {
	w, err := workspace.Create(path, m)
	if err != nil {
		return err
	}
	if err := compose.Begin(ctx, env, w, start); err != nil {
		return errors.Join(err, w.Destroy())
	}
	w.Close()
	return nil
}
