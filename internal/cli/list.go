// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/ui"
)

func newList(c *cli) *command {
	var (
		noLegend, full bool
		format         outputFormat
	)
	cmd := &command{
		usage: "[OPTION…]",
		short: "list pods",
		long: `Lists the pods of the data directory, sorted by UUID, one line per app; the first
line of a pod carries what is the pod's own. A pod that has no manifest, or none
that can be read, shows "-" instead of apps; what is wrong with it is said on
standard error, and the exit status is 0 all the same.

NETWORKS has the names of the pod's networks with its addresses there, also of a
pod that has ended; it is empty for pods with the host's network or none.

In JSON, all times are nanoseconds since the epoch.`,
		example: "  rkt list\n  rkt list --no-legend --full | cut -f1\n  rkt list --json",
		args:    noArgs,
		run: func([]string) error {
			return c.list(noLegend, full, format)
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&noLegend, "no-legend", false, "leave the header out")
	fs.BoolVar(&full, "full", false, "print whole UUIDs, image IDs and times")
	format.register(fs)
	return cmd
}

func (c *cli) list(noLegend, full bool, format outputFormat) error {
	dir, err := c.global.dataDir()
	if err != nil {
		return err
	}
	pods, err := lifecycle.List(dir)
	if err != nil {
		return err
	}
	looks := lookAll(pods, format.json())
	for _, l := range looks {
		if l.err != nil && !errors.Is(l.err, lifecycle.ErrNotFound) {
			c.report(l.err)
		}
	}
	// What was removed since we listed is not there.
	looks = slices.DeleteFunc(looks, func(l looked) bool { return errors.Is(l.err, lifecycle.ErrNotFound) })
	if format.json() {
		all := make([]podJSON, len(looks))
		for i := range looks {
			all[i] = looks[i].json
		}
		return ui.JSON(c.Out, all, format.pretty())
	}
	table, now := ui.NewTable(c.Out, listHeader(noLegend, full)), time.Now()
	for i := range looks {
		looks[i].view.rows(table, full, now)
	}
	return table.Flush()
}

// looked is what lookAll found out about one pod; err may be set beside the rest.
type looked struct {
	view podView
	json podJSON
	err  error
}

// lookAll looks at pods, on all processors: it is system calls, mostly.
func lookAll(pods []*lifecycle.Pod, json bool) []looked {
	all := make([]looked, len(pods))
	var next atomic.Int64
	var done sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8, 1+len(pods)/32) {
		done.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(pods) {
					return
				}
				l := &all[i]
				l.view, l.err = look(pods[i])
				if json && !errors.Is(l.err, lifecycle.ErrNotFound) {
					var err error
					l.json, err = l.view.json(pods[i])
					l.err = errors.Join(l.err, err)
				}
			}
		})
	}
	done.Wait()
	return all
}

func listHeader(noLegend, full bool) []string {
	switch {
	case noLegend:
		return nil
	case full:
		return []string{"UUID", "APP", "IMAGE NAME", "IMAGE ID", "STATE", "CREATED", "STARTED", "NETWORKS"}
	}
	return []string{"UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS"}
}

// rows adds a pod to the table of `list`.
func (v *podView) rows(t *ui.Table, full bool, now time.Time) {
	id, created, started := v.id.Short(), ui.Ago(v.created, now), ""
	if !v.events.Started.IsZero() {
		started = ui.Ago(v.events.Started, now)
	}
	if full {
		id, created = string(v.id), ui.Full(v.created)
		if !v.events.Started.IsZero() {
			started = ui.Full(v.events.Started)
		}
	}
	apps := []pod.RuntimeApp{}
	if v.manifest != nil {
		apps = v.manifest.Apps
	}
	for i := range max(1, len(apps)) {
		app, name, imageID := "-", "-", "-"
		if len(apps) > 0 {
			app, name, imageID = apps[i].Name, imageName(&apps[i]), shortImageID(apps[i].Image.ID)
		}
		cells := []string{id, app, name, imageID, v.shown(), created, started, v.addresses()}
		if i > 0 {
			cells = []string{"", app, name, imageID, "", "", "", ""}
		}
		if !full {
			cells = append(cells[:3], cells[4:]...)
		}
		t.Row(cells...)
	}
}

// shortImageID is "sha512-" and twelve digits: 19 characters.
func shortImageID(id image.ID) string {
	if id == "" {
		return "-"
	}
	return id.Short()
}
