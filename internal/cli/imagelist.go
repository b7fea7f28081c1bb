// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/ui"
)

// imageJSON is rkt's: times in nanoseconds since the epoch, the size in bytes.
type imageJSON struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	ImportTime   int64    `json:"import_time"`
	LastUsedTime int64    `json:"last_used_time"`
	Size         int64    `json:"size"`
	OwnSize      int64    `json:"own_size"`    // what removing the image would free
	SharedSize   int64    `json:"shared_size"` // what other images need as well
	Names        []string `json:"names"`       // all of them; rkt had one
	Trust        string   `json:"trust"`       // "digest", "signature", "" for none
}

type imageField struct {
	name, header string
	cell         func(i *imageRow, full bool, now time.Time) string
	compare      func(a, b *imageRow) int // nil: not to be sorted by
}

// imageRow is an image with what its record does not say.
type imageRow struct {
	image.Record
	used   time.Time
	shared int64 // of size, what other images need as well
}

func imageFields() []imageField {
	return []imageField{
		{"id", "ID", func(i *imageRow, full bool, _ time.Time) string {
			if full {
				return string(i.ID)
			}
			return i.ID.Short()
		}, nil},
		{"name", "NAME", func(i *imageRow, _ bool, _ time.Time) string { return i.name() },
			func(a, b *imageRow) int { return strings.Compare(a.name(), b.name()) }},
		sizeField("size", "SIZE", (*imageRow).size),
		sizeField("own", "OWN", func(i *imageRow) int64 { return i.size() - i.shared }),
		sizeField("shared", "SHARED", func(i *imageRow) int64 { return i.shared }),
		{"importtime", "IMPORT TIME", func(i *imageRow, full bool, now time.Time) string { return when(i.Imported, full, now) },
			func(a, b *imageRow) int { return a.Imported.Compare(b.Imported) }},
		{"lastused", "LAST USED", func(i *imageRow, full bool, now time.Time) string { return when(i.used, full, now) },
			func(a, b *imageRow) int { return a.used.Compare(b.used) }},
	}
}

// sizeField is a column of bytes.
func sizeField(name, header string, of func(*imageRow) int64) imageField {
	return imageField{name, header, func(i *imageRow, full bool, _ time.Time) string {
		if full {
			return strconv.FormatInt(of(i), 10)
		}
		return ui.Size(of(i))
	}, func(a, b *imageRow) int { return cmp.Compare(of(a), of(b)) }}
}

// defaultFields are rkt's.
func defaultFields() []string { return []string{"id", "name", "size", "importtime", "lastused"} }

func when(t time.Time, full bool, now time.Time) string {
	if full {
		return ui.Full(t)
	}
	return ui.Ago(t, now)
}

// name is the newest name the image was fetched by.
func (i *imageRow) name() string {
	if len(i.Names) == 0 {
		return "--"
	}
	return ref.Display(i.Names[0])
}

// size is what the image takes on disk if it shares nothing: blobs and trees.
func (i *imageRow) size() int64 {
	var n int64
	i.parts(func(_ string, size int64) { n += size })
	return n
}

// parts calls f for each blob and each tree of the image once.
func (i *imageRow) parts(f func(key string, size int64)) {
	for k, l := range i.Layers {
		earlier := i.Layers[:k]
		if !slices.ContainsFunc(earlier, func(x image.Layer) bool { return x.Blob == l.Blob }) {
			f("blob "+string(l.Blob), l.Size)
		}
		if !slices.ContainsFunc(earlier, func(x image.Layer) bool { return x.DiffID == l.DiffID }) {
			f("tree "+string(l.DiffID), l.TreeSize)
		}
	}
	for _, l := range i.Parts { // kept packed alone
		f("blob "+string(l.Blob), l.Size)
	}
}

// share finds out what images have in common.
func share(rows []*imageRow) {
	users := map[string]int{}
	for _, r := range rows {
		r.parts(func(key string, _ int64) { users[key]++ })
	}
	for _, r := range rows {
		r.parts(func(key string, size int64) {
			if users[key] > 1 {
				r.shared += size
			}
		})
	}
}

func newImageList(c *cli) *command {
	var (
		all      = imageFields()
		fields   []imageField
		sortBy   = field(all, "importtime")
		reverse  bool
		noLegend bool
		full     bool
		format   outputFormat
		names    = fieldNames(all, func(imageField) bool { return true })
		sorts    = fieldNames(all, func(f imageField) bool { return f.compare != nil })
	)
	for _, name := range defaultFields() {
		fields = append(fields, field(all, name))
	}
	cmd := &command{
		usage: "[OPTION…]",
		short: "list stored images",
		long: `Lists the images in the store. SIZE counts an image's layers, as stored and as
unpacked; layers that images share are counted for each of them: SHARED is how much
of it others need as well, OWN what removing the image would free, once no pod is
made from it. LAST USED is when a pod was made from the image, or it was fetched.

In JSON all fields are there, times are nanoseconds since the epoch and sizes
bytes.`,
		example: "  rkt image list\n  rkt image list --fields=id,name --sort=name --no-legend --full\n  rkt image list --json",
		args:    noArgs,
		run: func([]string) error {
			rows, err := c.imageRows()
			if err != nil {
				return err
			}
			slices.SortStableFunc(rows, func(a, b *imageRow) int {
				if reverse {
					a, b = b, a
				}
				return sortBy.compare(a, b)
			})
			if format.json() {
				return ui.JSON(c.Out, imagesJSON(rows), format.pretty())
			}
			return c.printImages(rows, fields, !noLegend, full)
		},
	}
	fs := cmd.flags()
	each(fs, "fields", "FIELD,…", "columns to print, of "+names, func(s string) error {
		fields = nil
		for _, name := range strings.Split(s, ",") {
			f := field(all, name)
			if f.name == "" {
				return fmt.Errorf("there is no field %q; there are %s", name, names)
			}
			fields = append(fields, f)
		}
		return nil
	}).DefValue = strings.Join(defaultFields(), ",")
	each(fs, "sort", "FIELD", "field to sort by, of "+sorts, func(s string) error {
		f := field(all, s)
		if f.compare == nil {
			return errors.New("want one of " + sorts)
		}
		sortBy = f
		return nil
	}).DefValue = "importtime"
	each(fs, "order", "ORDER", "asc or desc", func(s string) error {
		if s != "asc" && s != "desc" {
			return errors.New("want asc or desc")
		}
		reverse = s == "desc"
		return nil
	}).DefValue = "asc"
	fs.BoolVar(&noLegend, "no-legend", false, "leave the header out")
	fs.BoolVar(&full, "full", false, "print whole IDs, exact sizes and times")
	format.register(fs)
	return cmd
}

func field(all []imageField, name string) imageField {
	for _, f := range all {
		if f.name == name {
			return f
		}
	}
	return imageField{}
}

func fieldNames(all []imageField, wanted func(imageField) bool) string {
	var names []string
	for _, f := range all {
		if wanted(f) {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ",")
}

func (c *cli) imageRows() ([]*imageRow, error) {
	_, st, err := c.openStore()
	if err != nil || st == nil {
		return nil, err
	}
	defer st.Close()
	images, err := st.List()
	if err != nil {
		return nil, err
	}
	rows := make([]*imageRow, 0, len(images))
	for _, rec := range images {
		used, err := st.LastUsed(rec.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue // removed since we listed
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, &imageRow{Record: rec, used: used})
	}
	share(rows)
	return rows, nil
}

func (c *cli) printImages(rows []*imageRow, fields []imageField, legend, full bool) error {
	var header []string
	if legend {
		for _, f := range fields {
			header = append(header, f.header)
		}
	}
	t, now := ui.NewTable(c.Out, header), time.Now()
	for _, r := range rows {
		cells := make([]string, len(fields))
		for i, f := range fields {
			cells[i] = f.cell(r, full, now)
		}
		t.Row(cells...)
	}
	return t.Flush()
}

func imagesJSON(rows []*imageRow) []imageJSON {
	list := make([]imageJSON, 0, len(rows))
	for _, r := range rows {
		names := r.Names
		if names == nil {
			names = []string{}
		}
		list = append(list, imageJSON{string(r.ID), r.name(), r.Imported.UnixNano(), r.used.UnixNano(), r.size(), r.size() - r.shared, r.shared, names, string(r.Trust)})
	}
	return list
}
