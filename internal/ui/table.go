// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"text/tabwriter"
	"unicode/utf8"
)

// Table prints rows in columns as rkt always has: cells a tab stop apart, so
// that both people and `cut` can read them. Every cell passes through Escape.
type Table struct {
	out *bufio.Writer // tabwriter writes cell by cell
	w   *tabwriter.Writer
	err error
}

// NewTable returns a table that prints to w when it is flushed. Without a
// header (nil) the rows stand alone.
func NewTable(w io.Writer, header []string) *Table {
	out := bufio.NewWriterSize(w, 32<<10)
	t := &Table{out: out, w: tabwriter.NewWriter(out, 0, 8, 1, '\t', 0)}
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
	if err := t.w.Flush(); err != nil {
		return err
	}
	return t.out.Flush()
}

// JSON prints v and a newline; pretty indents it by tabs, as rkt does. The text
// of strings stays as it is (no HTML escapes).
func JSON(w io.Writer, v any, pretty bool) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if pretty {
		e.SetIndent("", "\t")
	}
	if err := e.Encode(v); err != nil {
		return err
	}
	return WriteJSON(w, b.Bytes())
}

// WriteJSON prints a JSON document. On a terminal, what Escape would escape is
// written as JSON's own escapes, which mean the same; elsewhere every byte is as
// it was.
func WriteJSON(w io.Writer, doc []byte) error {
	if IsTerminal(w) {
		doc = escapeJSON(doc)
	}
	_, err := w.Write(doc)
	return err
}

// escapeJSON: in a valid document such characters are within strings, and C0
// controls, but for the white space between tokens, are escaped already. A byte
// that is not UTF-8 has no JSON escape; it becomes U+FFFD, as decoders read it.
func escapeJSON(doc []byte) []byte {
	var b bytes.Buffer
	for i := 0; i < len(doc); {
		r, n := utf8.DecodeRune(doc[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\ufffd`)
		case r == 0x7f || r < ' ' && r != '\n' && r != '\t' || steers(r):
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(lowerHex[r>>shift&15])
			}
		default:
			b.Write(doc[i : i+n])
		}
		i += n
	}
	return b.Bytes()
}
