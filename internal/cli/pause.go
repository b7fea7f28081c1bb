// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func newPause(c *cli) *command {
	return c.pausing("have running pods stand still", `Stops all processes of each pod's apps where they are, until rkt resume, and
prints its UUID. They keep their memory and their connections, and can still be
stopped or killed; rkt list and rkt status show the pod as paused. A pod that is
paused already is fine.`, "pause", launch.Pause)
}

func newResume(c *cli) *command {
	return c.pausing("let paused pods go on", `Lets the processes of each pod go on where rkt pause has stopped them, and prints
its UUID. A pod that is not paused is fine.`, "resume", launch.Resume)
}

func (c *cli) pausing(short, long, verb string, do func(*lifecycle.Pod) error) *command {
	var file uuidFile
	cmd := &command{
		usage:   "[OPTION…] UUID…",
		short:   short,
		long:    long,
		example: "  rkt " + verb + " 5bc080ca",
		args:    file.args(someArgs("a pod's UUID")),
		words:   c.podWords,
		run: func(args []string) error {
			if err := c.needRoot(); err != nil {
				return err
			}
			uuids, err := file.uuids(args)
			if err != nil {
				return err
			}
			failed := failures{c: c}
			for _, u := range uuids {
				failed.add(c.pause(u, verb, do))
			}
			return failed.err()
		},
	}
	file.register(cmd.flags())
	return cmd
}

func (c *cli) pause(uuid, verb string, do func(*lifecycle.Pod) error) error {
	p, err := c.openPod(uuid)
	if err != nil {
		return err
	}
	state, err := p.State()
	if err != nil {
		return err
	}
	if state != lifecycle.StateRunning {
		return fmt.Errorf("cannot %s pod %s: it is %s, not running", verb, p.ID(), state)
	}
	if err := p.Noted(startLimit, func(e contract.Events) bool { return e.Init != 0 }); err != nil {
		return err
	}
	if err := do(p); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "%q\n", p.ID())
	return err
}

// isPaused: the pod runs, and its processes stand still.
func isPaused(p *lifecycle.Pod, state lifecycle.State) bool {
	if state != lifecycle.StateRunning {
		return false
	}
	doc, err := p.Contract()
	return err == nil && doc.Cgroup != "" && cgroup.Frozen(doc.Cgroup)
}
