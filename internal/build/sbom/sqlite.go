// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of a database in SQLite's form. What its pages say is not believed: no
// page is read twice, so neither a loop nor a shared page makes work without end.
const (
	maxSQLite = 1 << 30  // bytes of the file
	maxRow    = 64 << 20 // bytes of one row
	maxDepth  = 32       // of a tree of pages
	maxSchema = 1000     // tables and indexes
)

var errSQLite = errors.New("it is no whole SQLite database")

// sqlite reads tables of a database file (sqlite.org/fileformat.html): rows in
// their order, and nothing else. A write-ahead log is none of its business.
type sqlite struct {
	r            io.ReaderAt
	page, usable int64
	pages        int64
	seen         map[int64]bool
}

func openSQLite(r io.ReaderAt, size int64) (*sqlite, error) {
	head := make([]byte, 100)
	if size > maxSQLite {
		return nil, fmt.Errorf("it is longer than %d bytes", maxSQLite)
	}
	if _, err := r.ReadAt(head, 0); err != nil || string(head[:16]) != "SQLite format 3\x00" {
		return nil, errSQLite
	}
	page := int64(binary.BigEndian.Uint16(head[16:]))
	if page == 1 {
		page = 65536
	}
	d := &sqlite{r: r, page: page, usable: page - int64(head[20]), seen: map[int64]bool{}}
	if page < 512 || page&(page-1) != 0 || d.usable < 480 {
		return nil, errSQLite
	}
	d.pages = size / page
	return d, nil
}

// read reads one page, by its number from 1 on.
func (d *sqlite) read(n int64) ([]byte, error) {
	if n < 1 || n > d.pages || d.seen[n] {
		return nil, errSQLite
	}
	d.seen[n] = true
	b := make([]byte, d.page)
	if _, err := d.r.ReadAt(b, (n-1)*d.page); err != nil {
		return nil, errSQLite
	}
	return b[:d.usable], nil
}

// rows calls f with each row of the table called name; ok is false if there is none.
func (d *sqlite) rows(name string, f func(row [][]byte) error) (ok bool, err error) {
	root, n := int64(0), 0
	err = d.walk(1, 0, func(row [][]byte) error {
		if n++; n > maxSchema {
			return errSQLite
		}
		if len(row) >= 4 && string(row[0]) == "table" && string(row[1]) == name {
			root = integer(row[3])
		}
		return nil
	})
	if err != nil || root == 0 {
		return false, err
	}
	return true, d.walk(root, 0, f)
}

// walk calls f with each row below page n.
func (d *sqlite) walk(n int64, depth int, f func(row [][]byte) error) error {
	b, err := d.read(n)
	if err != nil {
		return err
	}
	at := 0
	if n == 1 {
		at = 100
	}
	leaf, cells := b[at] == 0x0d, at+12
	if !leaf && b[at] != 0x05 || depth > maxDepth {
		return errSQLite
	}
	if leaf {
		cells = at + 8
	}
	for i := range int(binary.BigEndian.Uint16(b[at+3:])) {
		where := cells + 2*i
		if where+2 > len(b) {
			return errSQLite
		}
		cell := int(binary.BigEndian.Uint16(b[where:]))
		if cell+4 > len(b) {
			return errSQLite
		}
		if leaf {
			err = d.cell(b[cell:], f)
		} else {
			err = d.walk(int64(binary.BigEndian.Uint32(b[cell:])), depth+1, f)
		}
		if err != nil {
			return err
		}
	}
	if leaf {
		return nil
	}
	return d.walk(int64(binary.BigEndian.Uint32(b[at+8:])), depth+1, f)
}

// cell reads the row in a leaf's cell, with what of it lies on other pages.
func (d *sqlite) cell(b []byte, f func(row [][]byte) error) error {
	size, n := varint(b)
	_, m := varint(b[n:]) // the row's number
	if n == 0 || m == 0 || size > maxRow {
		return errSQLite
	}
	b = b[n+m:]
	local, usable := int64(size), d.usable
	if local > usable-35 {
		least := (usable-12)*32/255 - 23
		if local = least + (int64(size)-least)%(usable-4); local > usable-35 {
			local = least
		}
		if local+4 > int64(len(b)) {
			return errSQLite
		}
		next := int64(binary.BigEndian.Uint32(b[local:]))
		payload := append(make([]byte, 0, min(size, uint64(d.pages*d.page))), b[:local]...)
		for uint64(len(payload)) < size {
			page, err := d.read(next)
			if err != nil {
				return err
			}
			next = int64(binary.BigEndian.Uint32(page))
			payload = append(payload, page[4:min(uint64(len(page)), 4+size-uint64(len(payload)))]...)
		}
		b = payload
	} else if local > int64(len(b)) {
		return errSQLite
	}
	row, err := record(b[:size])
	if err != nil {
		return err
	}
	return f(row)
}

// record splits a row into its columns, as they lie there; one that is null, or a
// row's number, is nil.
func record(b []byte) (row [][]byte, err error) {
	head, n := varint(b)
	if n == 0 || head > uint64(len(b)) || head < uint64(n) {
		return nil, errSQLite
	}
	kinds, values := b[n:head], b[head:]
	for len(kinds) > 0 {
		kind, n := varint(kinds)
		if n == 0 {
			return nil, errSQLite
		}
		kinds = kinds[n:]
		size := uint64(0)
		switch {
		case kind >= 12:
			size = (kind - 12) / 2
		case kind >= 1 && kind <= 7:
			size = []uint64{0, 1, 2, 3, 4, 6, 8, 8}[kind]
		case kind >= 10:
			return nil, errSQLite
		}
		if size > uint64(len(values)) {
			return nil, errSQLite
		}
		switch kind {
		case 0:
			row = append(row, nil)
		case 9:
			row = append(row, []byte{1})
		default:
			row = append(row, values[:size:size])
		}
		values = values[size:]
	}
	return row, nil
}

// integer reads a column that is one.
func integer(b []byte) (n int64) {
	if len(b) > 8 {
		return 0
	}
	for _, c := range b {
		n = n<<8 | int64(c)
	}
	return n
}

// varint reads a number of SQLite's and tells how long it is; 0 is not at all.
func varint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 8 {
		c := b[n]
		n++
		if v = v<<7 | uint64(c&0x7f); c < 0x80 {
			return v, n
		}
	}
	if n == 8 && len(b) > 8 {
		return v<<8 | uint64(b[8]), 9
	}
	return 0, 0
}
