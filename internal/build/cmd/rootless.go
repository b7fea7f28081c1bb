// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"errors"
	"fmt"
	"os"

	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/rootless"
)

// need is whether a command takes root: of the machine, or, for an ordinary user,
// of a user namespace (docs/decisions/0009-rootless.md).
type need int

const (
	never need = iota
	// byBuild: if the build has files of several owners. All commands that open a
	// build are so at least.
	byBuild
	// owners: a build begins, in which the user's subordinate ids, if there are
	// any, can be owners.
	owners
	always
)

// root makes an ordinary user's acbuild root of a user namespace for the command,
// if it needs that: acbuild is executed again, with the same process id, and
// starts anew. Nothing may be under way yet.
func (a *acbuild) root(c *command, args []string) error {
	if !a.global.user || a.global.inside {
		return nil
	}
	n := c.need
	if c.edit != nil || c.view != nil {
		n = max(n, byBuild)
	}
	switch {
	case c.needs != nil && c.needs(args):
		n = always
	case n == byBuild && a.global.modifying():
		if n = never; c.files || a.global.modifyOCI != "" {
			n = owners
		}
	case n == byBuild:
		owned, err := workspace.Owned(a.global.workPath)
		if err != nil {
			return err
		}
		if n = never; owned {
			n = always
		}
	}
	switch {
	case n == always && a.script > 0:
		return hint.Wrap(fmt.Errorf("cannot %s as an unprivileged user: the script that runs this one began without a user namespace", c.name), userns.SubIDs)
	case n == always:
		return a.become(c.name)
	case n == owners && a.script == 0:
		return a.mayBecome(c.name)
	}
	return nil
}

// become needs a namespace.
func (a *acbuild) become(what string) error {
	join, err := launch.HelperPath("join")
	if err == nil {
		err = rootless.Become(join, os.Args)
	}
	return fmt.Errorf("cannot %s as an unprivileged user: %w", what, err)
}

// mayBecome can do without: no file of the build has an owner then.
func (a *acbuild) mayBecome(what string) error {
	switch some, err := rootless.SubIDs(); {
	case err != nil:
		return fmt.Errorf("cannot %s as an unprivileged user: %w", what, err)
	case !some:
		return nil
	}
	join, err := launch.HelperPath("join")
	if err == nil {
		err = rootless.Attempt(join, os.Args)
	}
	if errors.Is(err, rootless.ErrNone) {
		return nil
	}
	return fmt.Errorf("cannot %s as an unprivileged user: %w", what, err)
}

// ownDir is the data directory, made if it is missing, if it is the caller's to
// write; else "".
func (a *acbuild) ownDir() (string, error) {
	dir, err := a.global.dataDir()
	if err != nil || !a.global.user {
		return dir, err
	}
	own, err := rootless.Owns(dir)
	if err != nil || !own {
		return "", err
	}
	return dir, rootless.MakeDir(dir)
}

// needOwnDir refuses a data directory of somebody else's.
func (a *acbuild) needOwnDir(what string) error {
	dir, err := a.ownDir()
	if err != nil || dir != "" {
		return err
	}
	if dir, err = a.global.dataDir(); err != nil {
		return err
	}
	return hint.Wrap(fmt.Errorf("cannot %s as an unprivileged user in %s: it needs root", what, dir),
		"for builds of your own choose a --dir of your own")
}

// userNetwork is the program that carries an ordinary user's network "default".
func (a *acbuild) userNetwork() engine.UserNetwork {
	if !a.global.user {
		return engine.UserNetwork{}
	}
	program, err := rootless.NetworkProgram()
	return engine.UserNetwork{Program: program, Lack: err}
}

// needScript is become for a script that has a run in it.
func (a *acbuild) needScript(file string) error {
	if !a.global.user || a.global.inside {
		return nil
	}
	if file == "-" { // it has been read
		return hint.Wrap(errors.New("run needs a user namespace, and ids of your own to begin with"), "put the script into a file")
	}
	return a.become("script")
}
