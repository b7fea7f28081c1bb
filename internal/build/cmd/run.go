// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/compose"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/ui/flags"
)

// defaultPath is what appc wants of an app's environment.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func newRun(a *acbuild) *command {
	var insecure bool
	dir, with, network := "", engine.Native, engine.NetworkHost
	return &command{
		name: "run", usage: "[OPTION…] -- CMD [ARG…]", short: "run a command in the image",
		long: `Runs a command, as root of the image, and keeps what it writes. Its status is
acbuild's. The build stays open if it fails, with what it wrote until then.

The command sees the image's environment, the host's name servers, and, unless --net
says otherwise, the host's network. What an ACI depends on lies under it and is
fetched if need be. --engine=native, the default, runs it as rkt's native flavor runs
apps; chroot only changes its root, for machines where nothing else can be had. There
is no systemd-nspawn engine any more.

An ordinary user's command is run in a user namespace, with the users that the user
has ids for (docs/rootless.md).`,
		example: "  acbuild run -- apt-get install -y nginx\n  acbuild run --engine=chroot --working-dir=/src -- make install",
		parse:   flags.First, args: atLeast("CMD"), files: true, need: always,
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&dir, "working-dir", "", "run it in `DIR` of the image")
			fs.StringVar(&with, "engine", with, "how it is run: `ENGINE` is native or chroot, which is no isolation")
			fs.StringVar(&network, "net", network, "its `NETWORK`: host, none or default")
			fs.BoolVar(&insecure, "insecure", false, "fetch dependencies that nothing vouches for")
		},
		edit: func(ctx context.Context, w *workspace.Workspace, args []string) error {
			switch with {
			case engine.Native, engine.Chroot:
			case "systemd-nspawn":
				return hint.Wrap(errors.New("cannot run a command by engine systemd-nspawn: there is none"), "--engine=native, the default, isolates as well and needs no systemd")
			default:
				return fmt.Errorf("cannot run a command by engine %q: want native or chroot", with)
			}
			if with == engine.Chroot && a.global.user {
				return hint.Wrap(errors.New("cannot run a command by engine chroot as an unprivileged user: it shows the host's /proc and /dev, which takes root"), "--engine=native, the default, does without")
			}
			if b := w.State.Base; b != nil && b.User {
				return hint.Wrap(fmt.Errorf("cannot run a command in the image: whom the files of %q belong to is lost on a user with one id", b.Name), userns.SubIDs)
			}
			lower, err := a.dependencies(ctx, w, insecure)
			if err != nil {
				return err
			}
			return a.runStep(ctx, w, engine.Step{Lower: lower, Argv: args, Dir: dir, Engine: with, Network: network})
		},
	}
}

// dependencies are the trees that the image stands on and does not have itself.
func (a *acbuild) dependencies(ctx context.Context, w *workspace.Workspace, insecure bool) ([]string, error) {
	doc, ok := w.Doc.(*manifest.AppC)
	if !ok || len(doc.M.Dependencies) == 0 {
		return nil, nil
	}
	env, err := a.env(insecure)
	if err != nil {
		return nil, err
	}
	return compose.Dependencies(ctx, env, doc.M.Dependencies)
}

func (a *acbuild) runStep(ctx context.Context, w *workspace.Workspace, s engine.Step) error {
	s.Lower = append(s.Lower, w.Lower(w.Top())...)
	s.Upper = w.Layer(w.Top())
	tmp := filepath.Join(w.Dir, "tmp")
	var err error
	if len(s.Lower) == 0 {
		empty := filepath.Join(tmp, "empty")
		if err := os.MkdirAll(empty, 0o755); err != nil {
			return fmt.Errorf("cannot run a command: %w", cause(err))
		}
		s.Lower = []string{empty}
	}
	if s.Work, err = os.MkdirTemp(tmp, "run-"); err != nil {
		return fmt.Errorf("cannot run a command: %w", cause(err))
	}
	defer os.RemoveAll(s.Work)
	s.Env = w.Doc.Environment()
	if !slices.ContainsFunc(s.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		s.Env = append(s.Env, defaultPath)
	}
	if s.Dir == "" {
		s.Dir = w.Doc.WorkingDirectory()
	}
	if s.Network != engine.NetworkNone {
		if _, err := os.Stat("/etc/resolv.conf"); err == nil {
			s.Mounts = append(s.Mounts, engine.Mount{Target: "/etc/resolv.conf", Source: "/etc/resolv.conf", ReadOnly: true})
		}
	}
	if s.Network == engine.NetworkDefault {
		if err := a.needOwnDir("run a command on network default"); err != nil {
			return err
		}
		s.UserNetwork = a.userNetwork()
		if s.DataDir, err = a.global.dataDir(); err != nil {
			return err
		}
	}
	s.Stdin, s.Stdout, s.Stderr = a.In, a.Out, a.Err
	status, err := engine.Run(ctx, s)
	if err != nil {
		return err
	}
	if status != 0 {
		return &exitError{status: status}
	}
	return nil
}
