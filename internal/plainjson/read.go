// SPDX-License-Identifier: Apache-2.0

// Package plainjson reads and writes JSON (RFC 8259) without reflection, for
// the few documents on rkt's start path: encoding/json spends up to 0.3 ms on
// the first value of each type in a process, and a start is several processes.
// Types say field by field, next to their definition, how they are read and
// written.
//
// It agrees with encoding/json byte for byte in what it writes, and in what it
// takes, but for this: names of fields must be spelled exactly, and a name that
// is there twice stands for its last value alone.
package plainjson

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays may be nested.
const MaxDepth = 10000

// A Reader takes one document apart, front to back. Its methods take the next
// value, which must be of the kind that they name, or null: that gives the zero
// value, a nil slice, map or pointer. After the first error all give zero
// values; End tells the error.
//
// In a young process it is not work that costs but memory touched first: some
// 5 µs a page, and each size of allocation has pages of its own. So the strings
// it returns are parts of one copy of the document, and lists of strings parts
// of one array; whoever keeps one of them keeps all.
type Reader struct {
	data  string
	words []string // of all lists of strings so far
	off   int      // of the next byte that is not white space
	depth int
	err   error
}

// NewReader reads a copy of data.
func NewReader(data []byte) *Reader {
	r := &Reader{data: string(data)}
	r.space()
	return r
}

// End checks that the document is over, and gives the first error there was.
func (r *Reader) End() error {
	if r.err == nil && r.off < len(r.data) {
		r.unexpected("after the document")
	}
	return r.err
}

// Object goes through the fields of an object. The loop's body reads the value
// of each name it knows; those that it leaves are skipped, and so is all that
// follows a break.
func (r *Reader) Object() func(yield func(name string) bool) {
	return func(yield func(name string) bool) {
		if r.Null() || !r.open('{') {
			return
		}
		for more := r.more('}', true); more; more = r.more('}', false) {
			name := r.quoted()
			if !r.char(':', "after a field's name") {
				return
			}
			value := r.off
			if yield != nil && !yield(name) {
				yield = nil
			}
			if r.off == value {
				r.skip()
			}
		}
	}
}

// array goes through the elements of an array; each must be read.
func (r *Reader) array(element func()) {
	if !r.open('[') {
		return
	}
	for more := r.more(']', true); more; more = r.more(']', false) {
		element()
	}
}

// List reads an array, element by element.
func List[T any](r *Reader, element func(*Reader) T) []T {
	if r.Null() {
		return nil
	}
	list := []T{}
	r.array(func() { list = append(list, element(r)) })
	return list
}

// Map reads an object, value by value.
func Map[T any](r *Reader, value func(*Reader) T) map[string]T {
	if r.Null() {
		return nil
	}
	m := map[string]T{}
	for name := range r.Object() {
		m[name] = value(r)
	}
	return m
}

// Pointer reads a value that may be null.
func Pointer[T any](r *Reader, value func(*Reader) T) *T {
	if r.Null() {
		return nil
	}
	v := value(r)
	return &v
}

// Strings reads an array of strings.
func (r *Reader) Strings() []string {
	if r.Null() {
		return nil
	}
	if r.words == nil {
		r.words = make([]string, 0, 64)
	}
	start := len(r.words)
	r.array(func() { r.words = append(r.words, r.String()) })
	return slices.Clip(r.words[start:])
}

// Ints reads an array of whole numbers.
func (r *Reader) Ints() []int { return List(r, (*Reader).Int) }

// StringMap reads an object whose values are strings.
func (r *Reader) StringMap() map[string]string { return Map(r, (*Reader).String) }

// Null takes a null, if one comes next.
func (r *Reader) Null() bool { return r.at() == 'n' && r.word("null") }

// Bool reads true or false.
func (r *Reader) Bool() bool {
	switch r.at() {
	case 't':
		return r.word("true")
	case 'f':
		r.word("false")
	case 'n':
		r.word("null")
	default:
		r.unexpected("where true or false is wanted")
	}
	return false
}

// Int reads a whole number, without fraction and exponent.
func (r *Reader) Int() int {
	n, err := strconv.Atoi(r.whole())
	r.notNumber(err)
	return n
}

// Int64 is Int for numbers of that size on all machines.
func (r *Reader) Int64() int64 {
	n, err := strconv.ParseInt(r.whole(), 10, 64)
	r.notNumber(err)
	return n
}

// Uint64 is Uint for numbers of that size on all machines.
func (r *Reader) Uint64() uint64 {
	n, err := strconv.ParseUint(r.whole(), 10, 64)
	r.notNumber(err)
	return n
}

// Uint reads a whole number that has no sign.
func (r *Reader) Uint() uint {
	n, err := strconv.ParseUint(r.whole(), 10, 0)
	r.notNumber(err)
	return uint(n)
}

// whole is the text of a number; "0" for null.
func (r *Reader) whole() string {
	if r.Null() || r.err != nil {
		return "0"
	}
	start := r.off
	r.number()
	return strings.TrimRight(r.data[start:r.off], " \t\r\n")
}

func (r *Reader) notNumber(err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("before byte %d: not a whole number, or out of range: %w", r.off, errors.Unwrap(err))
	}
}

// String reads a string. What is no UTF-8 in it, and half a surrogate pair, is
// replaced by U+FFFD.
func (r *Reader) String() string {
	if r.Null() {
		return ""
	}
	return r.quoted()
}

// Raw gives the next value, whatever it is, as a copy of its text: "null" for
// null.
func (r *Reader) Raw() []byte {
	start := r.off
	r.skip()
	if r.err != nil {
		return nil
	}
	return []byte(strings.TrimRight(r.data[start:r.off], " \t\r\n"))
}

// Time reads a string in RFC 3339.
func (r *Reader) Time() (t time.Time) {
	if text := r.Raw(); r.err == nil {
		if err := t.UnmarshalJSON(text); err != nil {
			r.err = fmt.Errorf("before byte %d: %w", r.off, err)
		}
	}
	return t
}

// at is the next byte, 0 after the end or an error.
func (r *Reader) at() byte {
	if r.err != nil || r.off >= len(r.data) {
		return 0
	}
	return r.data[r.off]
}

func (r *Reader) space() {
	for r.off < len(r.data) {
		switch r.data[r.off] {
		case ' ', '\t', '\r', '\n':
			r.off++
		default:
			return
		}
	}
}

func (r *Reader) unexpected(where string) {
	if r.err != nil {
		return
	}
	if r.off >= len(r.data) {
		r.err = fmt.Errorf("at byte %d: unexpected end", len(r.data))
		return
	}
	r.err = fmt.Errorf("at byte %d: unexpected %q %s", r.off, r.data[r.off:min(r.off+1, len(r.data))], where)
}

// char takes one byte and the space after it.
func (r *Reader) char(c byte, where string) bool {
	if r.at() != c || r.err != nil {
		r.unexpected(where)
		return false
	}
	r.off++
	r.space()
	return true
}

func (r *Reader) open(c byte) bool {
	where := "where an object is wanted"
	if c == '[' {
		where = "where an array is wanted"
	}
	if r.depth >= MaxDepth && r.err == nil {
		r.err = fmt.Errorf("at byte %d: nested deeper than %d", r.off, MaxDepth)
	}
	if !r.char(c, where) {
		return false
	}
	r.depth++
	return true
}

// more takes the comma before the next field or element, or the end.
func (r *Reader) more(end byte, first bool) bool {
	if r.at() == end {
		r.depth--
		return !r.char(end, "")
	}
	return r.err == nil && (first || r.char(',', "after a value"))
}

func (r *Reader) word(w string) bool {
	for i := range len(w) {
		if r.at() != w[i] {
			r.unexpected("in " + w)
			return false
		}
		r.off++
	}
	r.space()
	return true
}

func (r *Reader) digits() {
	if c := r.at(); c < '0' || c > '9' {
		r.unexpected("in a number")
	}
	for c := r.at(); c >= '0' && c <= '9'; c = r.at() {
		r.off++
	}
}

func (r *Reader) number() {
	if r.at() == '-' {
		r.off++
	}
	if r.at() == '0' {
		r.off++
	} else {
		r.digits()
	}
	if r.at() == '.' {
		r.off++
		r.digits()
	}
	if c := r.at(); c == 'e' || c == 'E' {
		r.off++
		if c := r.at(); c == '+' || c == '-' {
			r.off++
		}
		r.digits()
	}
	r.space()
}

// skip takes any value.
func (r *Reader) skip() {
	switch r.at() {
	case '{':
		r.Object()(nil)
	case '[':
		r.array(r.skip)
	case '"':
		r.quoted()
	case 't':
		r.word("true")
	case 'f':
		r.word("false")
	case 'n':
		r.word("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		r.number()
	default:
		r.unexpected("where a value is wanted")
	}
}

// quoted takes a string; the result is part of the document if it may be.
func (r *Reader) quoted() string {
	if r.at() != '"' {
		r.unexpected("where a string is wanted")
		return ""
	}
	r.off++
	start := r.off
	for r.off < len(r.data) {
		switch c := r.data[r.off]; {
		case c == '"':
			s := r.data[start:r.off]
			r.off++
			r.space()
			return s
		case c < ' ':
			r.unexpected("in a string")
			return ""
		case c == '\\' || c >= utf8.RuneSelf:
			return r.unquote(start)
		}
		r.off++
	}
	r.unexpected("")
	return ""
}

// unquote takes the rest of a string that starts at start.
func (r *Reader) unquote(start int) string {
	s := append(make([]byte, 0, 256), r.data[start:r.off]...) // mostly on the stack
	for r.off < len(r.data) {
		switch c := r.data[r.off]; {
		case c == '"':
			r.off++
			r.space()
			return string(s)
		case c < ' ':
			r.unexpected("in a string")
			return ""
		case c == '\\':
			r.off++
			s = r.escape(s)
			if r.err != nil {
				return ""
			}
		case c < utf8.RuneSelf:
			s = append(s, c)
			r.off++
		default:
			c, size := utf8.DecodeRuneInString(r.data[r.off:])
			s = utf8.AppendRune(s, c)
			r.off += size
		}
	}
	r.unexpected("")
	return ""
}

// escape takes what follows a backslash.
func (r *Reader) escape(s []byte) []byte {
	c := r.at()
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r.off++
		u := r.hex4()
		if !utf16.IsSurrogate(u) {
			return utf8.AppendRune(s, u)
		}
		if rest := r.data[r.off:]; len(rest) > 1 && rest[0] == '\\' && rest[1] == 'u' {
			at := r.off
			r.off += 2
			if pair := utf16.DecodeRune(u, r.hex4()); pair != utf8.RuneError {
				return utf8.AppendRune(s, pair)
			}
			r.off = at // the second one stands for itself
		}
		return utf8.AppendRune(s, utf8.RuneError)
	default:
		r.unexpected("after a backslash")
		return s
	}
	r.off++
	return append(s, c)
}

func (r *Reader) hex4() (u rune) {
	for range 4 {
		c := rune(r.at())
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			r.unexpected(`after \u`)
			return utf8.RuneError
		}
		u = u<<4 | c
		r.off++
	}
	return u
}
