// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// defaultStopTimeout is how long a pod has to end when it is asked to.
const defaultStopTimeout = 10 * time.Second

func newStop(c *cli) *command {
	var (
		force   bool
		timeout time.Duration
		file    uuidFile
	)
	cmd := &command{
		usage: "[OPTION…] UUID…",
		short: "stop running pods",
		long: `Asks each pod to end, waits for it, and kills it if it has not ended in time. Its
UUID is printed when it has. That a pod has ended already is no failure.

The pod itself gives its apps no longer than the --stop-timeout it was run with; a
longer --timeout here does not change that.`,
		example: "  rkt stop 5bc080ca\n  rkt stop --timeout=1m --uuid-file=/run/web.uuid\n  rkt stop --force 5bc080ca",
		args:    file.args(someArgs("a pod's UUID")),
		words:   c.podWords,
		run: func(args []string) error {
			uuids, err := file.uuids(args)
			if err != nil {
				return err
			}
			failed := failures{c: c}
			for _, u := range uuids {
				failed.add(c.stop(u, force, timeout))
			}
			return failed.err()
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&force, "force", false, "kill at once")
	each(fs, "timeout", "DURATION", "how long to wait before the pod is killed", func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return errors.New("want a duration such as 30s")
		}
		timeout = d
		return nil
	}).DefValue = defaultStopTimeout.String()
	timeout = defaultStopTimeout
	file.register(fs)
	return cmd
}

func (c *cli) stop(uuid string, force bool, timeout time.Duration) error {
	p, err := c.openPod(uuid)
	if err != nil {
		return err
	}
	state, err := p.State()
	if err != nil {
		return err
	}
	switch {
	case state.Ended():
		c.say(fmt.Sprintf("pod %q is already stopped", p.ID()))
		return nil
	case state != lifecycle.StateRunning:
		return fmt.Errorf("cannot stop pod %s: it is %s, not running", p.ID(), state)
	}
	if err := p.Noted(startLimit, func(e contract.Events) bool { return e.Init != 0 }); err != nil {
		return err
	}
	if !force {
		err := stopAndWait(p, false, timeout)
		if err == nil {
			_, err = fmt.Fprintf(c.Out, "%q\n", p.ID())
			return err
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		c.say(fmt.Sprintf("pod %s did not end within %v, killing it", p.ID(), timeout))
	}
	// What is killed ends at once, unless the kernel holds it.
	err = stopAndWait(p, true, 30*time.Second)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cannot stop pod %s: it was killed and has not ended", p.ID())
	}
	if err == nil {
		_, err = fmt.Fprintf(c.Out, "%q\n", p.ID())
	}
	return err
}

// stopAndWait signals the pod and waits for its end. That it ended before the
// signal is no failure.
func stopAndWait(p *lifecycle.Pod, force bool, timeout time.Duration) error {
	if err := launch.Stop(p, force); err != nil {
		if state, serr := p.State(); errors.Is(serr, lifecycle.ErrNotFound) || serr == nil && state.Ended() {
			return nil
		}
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.Wait(ctx)
}
