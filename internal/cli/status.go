// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/ui"
)

func newStatus(c *cli) *command {
	var (
		wait, ready waitFlag
		file        uuidFile
		format      outputFormat
	)
	cmd := &command{
		usage: "[OPTION…] UUID",
		short: "show the state of a pod",
		long: `Prints what is known about a pod, one key=value a line: state, created, started,
networks, then, of a pod that runs or ran, pid, private-users (FIRST:COUNT of the
host's users and groups, for a pod with its own) and exited, and once it has ended
app-NAME with the exit status of each app whose end was seen (128+n if signal n
ended it). Then, where there is something to say: limits and limits-NAME, those
in force for the pod and for each app; usage and usage-NAME, what they use, while
the pod runs; and oom-NAME, how many processes of an app the kernel has killed
for want of memory (of an app that was one of them, app-NAME is 137). Sizes are
bytes.

--wait waits for the end of the pod first, --wait-ready until its apps have started.
Either takes a duration ("10s") for which to wait at most: if it passes, nothing
is printed and the command fails. Alone, or with a negative duration, they wait
for as long as it takes; "false" or 0 does not wait.

In JSON, all times are nanoseconds since the epoch.`,
		example: "  rkt status 5bc080ca\n  rkt status --wait=10s --uuid-file=/run/web.uuid\n  rkt status --wait-ready --json 5bc080ca",
		args:    file.args(oneArg("a pod's UUID")),
		run: func(args []string) error {
			uuids, err := file.uuids(args)
			if err != nil {
				return err
			}
			p, err := c.openPod(uuids[0])
			if err != nil {
				return err
			}
			if err := ready.wait(p, "start", waitReady); err != nil {
				return err
			}
			if err := wait.wait(p, "end", (*lifecycle.Pod).Wait); err != nil {
				return err
			}
			return c.status(p, format)
		},
		words: c.podWords,
	}
	flags := cmd.flags()
	each(flags, "wait", "DURATION", "wait until the pod has ended", wait.set).NoOptDefVal = "true"
	each(flags, "wait-ready", "DURATION", "wait until the pod has started", ready.set).NoOptDefVal = "true"
	file.register(flags)
	format.register(flags)
	return cmd
}

func (c *cli) status(p *lifecycle.Pod, format outputFormat) error {
	if state, err := p.State(); err == nil && state == lifecycle.StateRunning {
		if err := p.Noted(startLimit, func(e contract.Events) bool { return e.Init != 0 }); err != nil {
			return err
		}
	}
	v, err := look(p)
	if err != nil {
		return err
	}
	if format.json() {
		j, err := v.json(p)
		if err != nil {
			return err
		}
		if v.state == lifecycle.StateRunning {
			if err := j.use(p); err != nil {
				return err
			}
		}
		return ui.JSON(c.Out, j, format.pretty())
	}
	var b strings.Builder
	line := func(key, value string) { b.WriteString(key + "=" + ui.Escape(value) + "\n") }
	line("state", v.shown())
	line("created", ui.Full(v.created))
	if !v.events.Started.IsZero() {
		line("started", ui.Full(v.events.Started))
	}
	if ran(v.state) {
		line("networks", v.addresses())
		if v.events.Init != 0 {
			line("pid", strconv.Itoa(v.events.Init))
		}
		if u := v.events.Users; u.Private() {
			line("private-users", pod.FormatUsers(u.First, u.Count))
		}
		line("exited", strconv.FormatBool(v.state != lifecycle.StateRunning))
		if v.state != lifecycle.StateRunning && v.manifest != nil {
			for _, a := range v.manifest.Apps {
				if e := v.events.Apps[a.Name]; e.Ended {
					line("app-"+ui.Escape(a.Name), strconv.Itoa(e.Status))
				}
			}
		}
	}
	if err := v.resources(p, line); err != nil {
		return err
	}
	_, err = io.WriteString(c.Out, b.String())
	return err
}

// resources are the lines about limits, and of a pod that runs its usage.
func (v *podView) resources(p *lifecycle.Pod, line func(key, value string)) error {
	if !ran(v.state) && v.state != lifecycle.StatePrepared || v.manifest == nil {
		return nil
	}
	j, err := v.json(p)
	if err == nil && v.state == lifecycle.StateRunning {
		err = j.use(p)
	}
	if err != nil {
		return err
	}
	optional := func(key, value string) {
		if value != "" {
			line(key, value)
		}
	}
	optional("limits", j.Limits.words())
	optional("usage", j.Usage.words())
	for i := range j.Apps {
		a := &j.Apps[i]
		optional("limits-"+ui.Escape(a.Name), a.Limits.words())
		optional("usage-"+ui.Escape(a.Name), a.Usage.words())
		if a.OOMKills > 0 {
			line("oom-"+ui.Escape(a.Name), strconv.Itoa(a.OOMKills))
		}
	}
	return nil
}

// use fills in what a running pod uses.
func (j *podJSON) use(p *lifecycle.Pod) error {
	c, err := p.Contract()
	if err != nil {
		return err
	}
	j.Usage = newUsageJSON(podUsage(c))
	for i := range j.Apps {
		u := appUsage(c, j.Apps[i].Name)
		j.Apps[i].Usage = newUsageJSON(u)
		j.Apps[i].OOMKills = max(j.Apps[i].OOMKills, int(u.OOMKills))
	}
	return nil
}

// waitFlag is --wait and --wait-ready: how long, 0 not at all, <0 for ever.
type waitFlag time.Duration

func (w *waitFlag) set(s string) error {
	switch s {
	case "true":
		*w = -1
		return nil
	case "false", "0":
		*w = 0
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("want a duration such as 10s, true or false")
	}
	*w = waitFlag(d)
	return nil
}

// wait runs wait for that long; what names the event.
func (w waitFlag) wait(p *lifecycle.Pod, what string, wait func(*lifecycle.Pod, context.Context) error) error {
	if w == 0 {
		return nil
	}
	ctx := context.Background()
	if w > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, time.Duration(w))
		defer cancel()
	}
	err := wait(p, ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cannot wait for pod %s: it did not %s within %v", p.ID(), what, time.Duration(w))
	}
	return err
}

// waitReady returns when all apps of the pod have started, be it that they have
// ended since.
func waitReady(p *lifecycle.Pod, ctx context.Context) error {
	const longest = 200 * time.Millisecond
	for pause := 2 * time.Millisecond; ; pause = min(pause*3/2, longest) {
		v, err := look(p)
		if err != nil {
			return err
		}
		if v.ready() {
			return nil
		}
		if v.state.Ended() {
			return fmt.Errorf("cannot wait for pod %s: it is %s and not all of it started", p.ID(), v.state)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (v *podView) ready() bool {
	if v.manifest == nil || v.events.Init == 0 {
		return false
	}
	for _, a := range v.manifest.Apps {
		if e := v.events.Apps[a.Name]; e.PID == 0 && !e.Ended {
			return false
		}
	}
	return true
}
