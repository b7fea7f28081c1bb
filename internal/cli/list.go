// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
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

NETWORKS is empty for pods that have the host's network or none.

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
	var (
		table *ui.Table
		all   = []podJSON{}
		now   = time.Now()
	)
	if !format.json() {
		table = ui.NewTable(c.Out, listHeader(noLegend, full))
	}
	for _, p := range pods {
		v, err := look(p)
		if errors.Is(err, lifecycle.ErrNotFound) {
			continue // removed since we listed
		}
		if err != nil {
			c.report(err)
		}
		if !format.json() {
			v.rows(table, full, now)
			continue
		}
		j, err := v.json(p)
		if errors.Is(err, lifecycle.ErrNotFound) {
			continue
		}
		if err != nil {
			c.report(err)
		}
		all = append(all, j)
	}
	if format.json() {
		return ui.JSON(c.Out, all, format.pretty())
	}
	return table.Flush()
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
		cells := []string{id, app, name, imageID, string(v.state), created, started, ""}
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
