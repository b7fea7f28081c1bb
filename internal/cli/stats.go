// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/ui"
)

func newStats(c *cli) *command {
	var (
		once     bool
		interval = 2 * time.Second
		format   outputFormat
	)
	cmd := &command{
		usage: "[OPTION…] [UUID…]",
		short: "show what running pods use",
		long: `Shows what the pods named, or all that run, use of processors, memory and block
devices, and how many processes and threads they have. On a terminal the table
is drawn anew every other second until it is interrupted; elsewhere it is
printed once. Of a pod of several apps the first line, with the app "*", is the
pod as a whole.

CPU% is of one processor, since the last look (a quarter of a second the first
time); PRESSURE is the percentage of the last ten seconds in which something in
it waited for processors, memory and block devices. THROTTLED is how long its
CPU limit has held it back. "-" is what nobody counts: READ and WRITE are known
for pods with a limit of block I/O, and without a limit of memory MEMORY is what
its processes have resident, in which what they share counts for each.

In JSON, the numbers are bytes and nanoseconds since the start, and what is not
known is missing.`,
		example: "  rkt stats\n  rkt stats --once 5bc080ca\n  rkt stats --json",
		run: func(args []string) error {
			return c.stats(args, once, interval, format)
		},
		words: c.podWords,
	}
	fs := cmd.flags()
	fs.BoolVar(&once, "once", false, "print once, on a terminal too")
	each(fs, "interval", "DURATION", "time between two looks", func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 100*time.Millisecond {
			return errors.New("want a duration such as 5s, of 100ms at least")
		}
		interval = d
		return nil
	}).DefValue = "2s"
	format.register(fs)
	return cmd
}

// podStats is one look at a running pod.
type podStats struct {
	id    pod.UUID
	at    time.Time
	doc   *contract.Pod
	usage cgroup.Usage
	apps  []cgroup.Usage // as in doc
}

type podStatsJSON struct {
	Name   string         `json:"name"` // the UUID
	At     int64          `json:"at"`
	Limits *limitsJSON    `json:"limits,omitempty"`
	Usage  *usageJSON     `json:"usage"`
	Apps   []appStatsJSON `json:"apps"`
}

type appStatsJSON struct {
	Name   string      `json:"name"`
	Limits *limitsJSON `json:"limits,omitempty"`
	Usage  *usageJSON  `json:"usage"`
}

func (c *cli) stats(uuids []string, once bool, interval time.Duration, format outputFormat) error {
	if format.json() {
		all, err := c.lookAtUsage(uuids)
		if err != nil {
			return err
		}
		list := []podStatsJSON{}
		for i := range all {
			list = append(list, all[i].json())
		}
		return ui.JSON(c.Out, list, format.pretty())
	}
	before, err := c.lookAtUsage(uuids)
	if err != nil {
		return err
	}
	const first = 250 * time.Millisecond
	live := !once && ui.IsTerminal(c.Out)
	for pause := first; ; pause = interval {
		if len(before) > 0 || live {
			time.Sleep(pause)
		}
		now, err := c.lookAtUsage(uuids)
		if err != nil {
			return err
		}
		if live {
			if _, err := io.WriteString(c.Out, "\x1b[H\x1b[2J"); err != nil {
				return err
			}
		}
		if err := c.printStats(before, now); err != nil || !live {
			return err
		}
		before = now
	}
}

// lookAtUsage looks at the pods named, which must run, or at all that do.
func (c *cli) lookAtUsage(uuids []string) (all []podStats, err error) {
	var pods []*lifecycle.Pod
	if len(uuids) == 0 {
		dir, err := c.global.dataDir()
		if err != nil {
			return nil, err
		}
		if pods, err = lifecycle.List(dir, lifecycle.Run); err != nil {
			return nil, err
		}
	}
	for _, uuid := range uuids {
		p, err := c.openPod(uuid)
		if err != nil {
			return nil, err
		}
		pods = append(pods, p)
	}
	for _, p := range pods {
		state, err := p.State()
		switch {
		case len(uuids) == 0 && (errors.Is(err, lifecycle.ErrNotFound) || err == nil && state != lifecycle.StateRunning):
			continue
		case err != nil:
			return nil, err
		case state != lifecycle.StateRunning:
			return nil, fmt.Errorf("cannot show what pod %s uses: it is %s", p.ID(), state)
		}
		doc, err := p.Contract()
		if errors.Is(err, lifecycle.ErrNotFound) && len(uuids) == 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		s := podStats{id: p.ID(), at: time.Now(), doc: doc, usage: podUsage(doc)}
		for i := range doc.Apps {
			s.apps = append(s.apps, appUsage(doc, doc.Apps[i].Name))
		}
		all = append(all, s)
	}
	return all, nil
}

func (s *podStats) json() podStatsJSON {
	j := podStatsJSON{Name: string(s.id), At: s.at.UnixNano(), Limits: podLimitsJSON(s.doc), Usage: newUsageJSON(s.usage), Apps: []appStatsJSON{}}
	for i := range s.doc.Apps {
		j.Apps = append(j.Apps, appStatsJSON{s.doc.Apps[i].Name, newLimitsJSON(s.doc.Apps[i].Limits), newUsageJSON(s.apps[i])})
	}
	return j
}

func (c *cli) printStats(before, now []podStats) error {
	table := ui.NewTable(c.Out, []string{"UUID", "APP", "CPU%", "CPU", "THROTTLED", "MEMORY", "LIMIT", "PIDS", "READ", "WRITE", "PRESSURE"})
	for i := range now {
		s := &now[i]
		was := s
		for j := range before {
			if before[j].id == s.id && len(before[j].apps) == len(s.apps) {
				was = &before[j]
			}
		}
		span := s.at.Sub(was.at)
		id := s.id.Short()
		if len(s.apps) > 1 {
			table.Row(statsRow(id, "*", was.usage, s.usage, span, s.doc.Limits.Memory)...)
			id = ""
		}
		for j := range s.apps {
			limit := s.doc.Apps[j].Limits.Memory
			if l := s.doc.Limits.Memory; l > 0 && (limit == 0 || l < limit) && len(s.apps) == 1 {
				limit = l
			}
			table.Row(statsRow(id, s.doc.Apps[j].Name, was.apps[j], s.apps[j], span, limit)...)
			id = ""
		}
	}
	return table.Flush()
}

func statsRow(id, app string, was, u cgroup.Usage, span time.Duration, limit int64) []string {
	percent := "-"
	if was.CPU >= 0 && u.CPU >= was.CPU && span > 0 {
		percent = strconv.FormatFloat(100*float64(u.CPU-was.CPU)/float64(span), 'f', 1, 64)
	}
	size := func(n int64) string {
		if n < 0 {
			return "-"
		}
		return ui.Size(n)
	}
	duration := func(d time.Duration) string {
		if d < 0 {
			return "-"
		}
		return d.Round(time.Millisecond).String()
	}
	most, pids := "-", "-"
	if limit > 0 {
		most = ui.Size(limit)
	}
	if u.PIDs >= 0 {
		pids = strconv.FormatInt(u.PIDs, 10)
	}
	var pressure []string
	for _, p := range []float64{u.PressureCPU, u.PressureMem, u.PressureDisk} {
		word := "-"
		if p >= 0 {
			word = strconv.FormatFloat(p, 'f', 0, 64)
		}
		pressure = append(pressure, word)
	}
	return []string{id, app, percent, duration(u.CPU), duration(u.Throttled), size(u.Memory), most, pids, size(u.Read), size(u.Write), strings.Join(pressure, "/")}
}
