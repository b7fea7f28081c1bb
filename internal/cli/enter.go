// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// defaultCommand is what enter runs. rkt's was /bin/bash, which most images of
// today do not have; every image with a shell at all has this one.
const defaultCommand = "/bin/sh"

func newEnter(c *cli) *command {
	var (
		app  string
		file uuidFile
	)
	c.parse = flagsFirst
	cmd := &command{
		usage: "[OPTION…] UUID [COMMAND [ARG…]]",
		short: "run a command in a running pod",
		long: `Runs a command beside an app of a running pod and becomes it: in the app's root
and namespaces, as its user, with its environment, capabilities and system call
filter. Without a command it is ` + defaultCommand + `. What follows the UUID is not read as
options of rkt.

--app is needed in a pod of more than one app.`,
		example: "  rkt enter 5bc080ca\n  rkt enter --app=etcd 5bc080ca etcdctl endpoint health",
		words:   c.podWords,
		run: func(args []string) error {
			uuids, err := file.uuids(nil)
			if err != nil {
				return err
			}
			if uuids == nil {
				if len(args) == 0 {
					return hint.Wrap(errors.New("cannot parse arguments: a pod's UUID is missing"), "`rkt list` shows the pods")
				}
				uuids, args = args[:1], args[1:]
			}
			return c.enter(uuids[0], app, args)
		},
	}
	fs := cmd.flags()
	fs.StringVar(&app, "app", "", "the app `NAME`")
	file.register(fs)
	return cmd
}

// startLimit is how long a verb waits for a pod that is just starting.
const startLimit = 2 * time.Second

func (c *cli) enter(uuid, app string, argv []string) error {
	if !c.global.user {
		return c.enterAsRoot(uuid, app, argv)
	}
	return c.join(uuid, func() error { return c.enterAsRoot(uuid, app, argv) })
}

// enterAsRoot is for who is root where the pod is.
func (c *cli) enterAsRoot(uuid, app string, argv []string) error {
	p, err := c.openPod(uuid)
	if err != nil {
		return err
	}
	state, err := p.State()
	if err != nil {
		return err
	}
	if state != lifecycle.StateRunning {
		return fmt.Errorf("cannot enter pod %s: it is %s, not running", p.ID(), state)
	}
	m, err := p.Manifest()
	if err != nil {
		return err
	}
	switch {
	case app == "" && len(m.Apps) == 1:
		app = m.Apps[0].Name
	case app == "":
		names := ""
		for _, a := range m.Apps {
			names += " " + a.Name
		}
		return hint.Wrap(fmt.Errorf("cannot enter pod %s: it has %d apps", p.ID(), len(m.Apps)), "choose one with --app; there are:"+names)
	case !slices.ContainsFunc(m.Apps, func(a pod.RuntimeApp) bool { return a.Name == app }):
		return noSuchApp(p, m, app)
	}
	if len(argv) == 0 {
		c.say(fmt.Sprintf("no command is given, running %q", defaultCommand))
		argv = []string{defaultCommand}
	}
	if err := p.Noted(startLimit, func(e contract.Events) bool { return e.Apps[app].PID != 0 || e.Apps[app].Ended }); err != nil {
		return err
	}
	return launch.Enter(p, app, argv)
}
