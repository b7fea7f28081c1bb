// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/rkt/rkt/internal/rootless"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// person is whose rkt this is.
type person struct {
	user   bool // an ordinary user's
	inside bool // and root of a user namespace of theirs by now
}

func whose() person {
	_, inside, user := rootless.User()
	return person{user: user, inside: inside}
}

// needRoot is for verbs that mount, give files owners or look at those of pods.
// An ordinary user becomes root of a user namespace for that, if the data
// directory is the user's own: rkt is executed again, with the same process id,
// and starts anew. Nothing may be under way yet.
func (c *cli) needRoot() error {
	return c.become(rootless.Become, c.refuse)
}

func (c *cli) refuse(dir string) error {
	return hint.Wrap(fmt.Errorf("cannot %s as an unprivileged user in %s: it needs root", c.verb, dir),
		"members of group rkt may fetch, list and remove images there; for pods of your own choose a --dir of your own")
}

// ownRoot is needRoot for verbs that members of group rkt may use in a directory
// of root's as well.
func (c *cli) ownRoot() error {
	return c.become(rootless.Become, func(string) error { return nil })
}

// join is needRoot for a verb that is about a running pod, in the pod's own user
// namespace; then does the rest.
func (c *cli) join(uuid string, then func() error) error {
	if c.global.inside {
		return then()
	}
	p, err := c.openPod(uuid)
	if err != nil {
		return err
	}
	state, err := p.State()
	if err != nil {
		return err
	}
	if state != lifecycle.StateRunning {
		return then() // which says so
	}
	pid := 0
	if err := p.Noted(startLimit, func(e contract.Events) bool { pid = e.Init; return pid != 0 }); err != nil {
		return err
	}
	return c.become(func(join string, argv []string) error { return rootless.Join(join, pid, argv) }, c.refuse)
}

func (c *cli) become(how func(join string, argv []string) error, otherwise func(dir string) error) error {
	if !c.global.user || c.global.inside {
		return nil
	}
	dir, err := c.global.dataDir()
	if err != nil {
		return err
	}
	if own, err := rootless.Owns(dir); err != nil || !own {
		if err != nil {
			return err
		}
		return otherwise(dir)
	}
	if err := rootless.MakeDir(dir); err != nil {
		return err
	}
	join, err := launch.HelperPath("join")
	if err != nil {
		return err
	}
	return fmt.Errorf("cannot %s as an unprivileged user: %w", c.verb, how(join, os.Args))
}

// userNetwork tells o what an ordinary user has for networks.
func (c *cli) userNetwork(o *prepare.Options) {
	if !c.global.user {
		return
	}
	program, err := rootless.NetworkProgram()
	o.User = &prepare.UserNetwork{Program: program, Lack: err, Warn: c.say}
}
