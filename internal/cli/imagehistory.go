// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/ui"
)

// stepJSON is a line of an image's history, newest first.
type stepJSON struct {
	Created   string `json:"created,omitempty"` // RFC 3339
	CreatedBy string `json:"created_by,omitempty"`
	Author    string `json:"author,omitempty"`
	Comment   string `json:"comment,omitempty"`
	Layer     string `json:"layer,omitempty"`   // digest of the blob; none if the step made no layer
	DiffID    string `json:"diff_id,omitempty"` // of the plain tar
	Size      int64  `json:"size"`              // of the blob, bytes
	TreeSize  int64  `json:"tree_size"`         // unpacked
	// Dependency is the name of the image that an ACI stands on.
	Dependency string `json:"dependency,omitempty"`
}

func newImageHistory(c *cli) *command {
	var (
		noLegend bool
		full     bool
		format   outputFormat
	)
	cmd := &command{
		usage: "[OPTION…] IMAGE",
		short: "show how a stored image was made",
		long: `Lists the layers of an image, the newest first, with what its builder wrote about
them: when, by which command, how large. Steps that only changed the
configuration have no layer. Of an ACI it lists the image and what it depends on.

All of it is what the image says of itself.`,
		example: "  rkt image history docker://busybox\n  rkt image history --full --json sha256-7c0a",
		args:    oneArg("the image"),
		words:   c.imageWords,
		run: func(args []string) error {
			st, recs, err := c.heldImages(false, args[0])
			if err != nil {
				return err
			}
			defer st.Close()
			rec := recs[0]
			steps, err := history(st, rec)
			if err != nil {
				return err
			}
			if format.json() {
				return ui.JSON(c.Out, steps, format.pretty())
			}
			return c.printHistory(steps, !noLegend, full)
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&noLegend, "no-legend", false, "leave the header out")
	fs.BoolVar(&full, "full", false, "print whole digests and commands, exact sizes and times")
	format.register(fs)
	return cmd
}

// history reads it, newest first.
func history(st *store.Store, rec image.Record) ([]stepJSON, error) {
	trees := map[image.Digest]int64{}
	for _, l := range rec.Layers {
		trees[l.DiffID] = l.TreeSize
	}
	raw, err := export.Document(st, rec.Manifest)
	if err != nil {
		return nil, err
	}
	if rec.Format == image.ACI {
		return historyOfACI(rec, raw)
	}
	m, err := ociconfig.ParseManifest(raw, rec.MediaType)
	if err != nil {
		return nil, err
	}
	config, err := export.Document(st, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	told, err := ociconfig.History(m, config)
	if err != nil {
		return nil, err
	}
	steps := make([]stepJSON, 0, len(told))
	for i := range told {
		s := &told[len(told)-1-i]
		j := stepJSON{CreatedBy: s.CreatedBy, Author: s.Author, Comment: s.Comment}
		if s.Created != nil {
			j.Created = s.Created.Format(time.RFC3339Nano)
		}
		if s.Layer != nil {
			j.Layer, j.DiffID, j.Size, j.TreeSize = string(s.Layer.Digest), string(s.DiffID), s.Layer.Size, trees[s.DiffID]
		}
		steps = append(steps, j)
	}
	return steps, nil
}

func historyOfACI(rec image.Record, raw []byte) ([]stepJSON, error) {
	m, err := aci.Parse(raw)
	if err != nil {
		return nil, err
	}
	j := stepJSON{Created: rec.Annotations["created"], Author: rec.Annotations["authors"], Comment: m.DisplayName()}
	if l, err := ownLayer(rec); err == nil {
		j.Layer, j.DiffID, j.Size, j.TreeSize = string(l.Blob), string(l.DiffID), l.Size, l.TreeSize
	}
	steps := []stepJSON{j}
	for i := range m.Dependencies {
		d := &m.Dependencies[len(m.Dependencies)-1-i] // the last one lies uppermost
		name := string(d.ImageName)
		if v, ok := d.Labels.Get("version"); ok {
			name += ":" + v
		}
		steps = append(steps, stepJSON{Dependency: name, DiffID: d.ImageID, Size: int64(min(d.Size, 1<<62))})
	}
	return steps, nil
}

// longestCommand is how much of a command a table shows.
const longestCommand = 60

func (c *cli) printHistory(steps []stepJSON, legend, full bool) error {
	var header []string
	if legend {
		header = []string{"LAYER", "CREATED", "SIZE", "UNPACKED", "CREATED BY"}
	}
	t, now := ui.NewTable(c.Out, header), time.Now()
	for _, s := range steps {
		layer, created, by := s.Layer, s.Created, s.CreatedBy
		size, unpacked := strconv.FormatInt(s.Size, 10), strconv.FormatInt(s.TreeSize, 10)
		if by == "" {
			by = s.Comment
		}
		if s.Dependency != "" {
			layer, by = s.DiffID, "depends on "+s.Dependency
		}
		if !full {
			if d, err := image.ParseDigest(layer); err == nil {
				layer = d.ID().Short()
			}
			if at, err := time.Parse(time.RFC3339Nano, created); err == nil {
				created = ui.Ago(at, now)
			}
			if r := []rune(by); len(r) > longestCommand {
				by = string(r[:longestCommand-1]) + "…"
			}
			size, unpacked = ui.Size(s.Size), ui.Size(s.TreeSize)
		}
		if layer == "" {
			layer, size, unpacked = "-", "-", "-"
		}
		if created == "" {
			created = "-"
		}
		if by == "" {
			by = "-"
		}
		t.Row(layer, created, size, unpacked, by)
	}
	return t.Flush()
}
