// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"encoding/json"
	"io"
	"text/tabwriter"
)

// Table prints rows in columns as rkt always has: cells a tab stop apart, so
// that both people and `cut` can read them. Every cell passes through Escape.
type Table struct {
	w   *tabwriter.Writer
	err error
}

// NewTable returns a table that prints to w when it is flushed. Without a
// header (nil) the rows stand alone.
func NewTable(w io.Writer, header []string) *Table {
	t := &Table{w: tabwriter.NewWriter(w, 0, 8, 1, '\t', 0)}
	if header != nil {
		t.Row(header...)
	}
	return t
}

// Row adds a row.
func (t *Table) Row(cells ...string) {
	for i, c := range cells {
		if i > 0 {
			t.write("\t")
		}
		t.write(Escape(c))
	}
	t.write("\n")
}

func (t *Table) write(s string) {
	if t.err == nil {
		_, t.err = io.WriteString(t.w, s)
	}
}

// Flush prints the table and returns the first error of all its writing.
func (t *Table) Flush() error {
	if t.err != nil {
		return t.err
	}
	return t.w.Flush()
}

// JSON prints v and a newline; pretty indents it by tabs, as rkt does. The text
// of strings stays as it is (no HTML escapes).
func JSON(w io.Writer, v any, pretty bool) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if pretty {
		e.SetIndent("", "\t")
	}
	return e.Encode(v)
}
