// SPDX-License-Identifier: Apache-2.0

package plainjson

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// A Writer appends values to a document; the zero Writer is an empty one. It
// sets commas by itself, and leaves it to the caller that a Key goes before
// each value in an object and that what begins ends. Strings are escaped as
// encoding/json does it, with <, > and & as \u003c, \u003e and \u0026.
//
// A method Opt… writes a field, and nothing if its value is empty.
type Writer struct {
	b   []byte
	err error
}

// NewWriter has room for size bytes before it must grow.
func NewWriter(size int) *Writer { return &Writer{b: make([]byte, 0, size)} }

// Bytes is the document, or why a Raw or Time could not be part of it.
func (w *Writer) Bytes() ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return w.b, nil
}

// comma goes before a value or key, unless it is the first or follows a key:
// only these leave one of [{: as the last byte.
func (w *Writer) comma() {
	if n := len(w.b); n > 0 {
		switch w.b[n-1] {
		case '{', '[', ':':
		default:
			w.b = append(w.b, ',')
		}
	}
}

// Begin starts an object with '{', an array with '['.
func (w *Writer) Begin(bracket byte) {
	w.comma()
	w.b = append(w.b, bracket)
}

// End ends an object with '}', an array with ']'.
func (w *Writer) End(bracket byte) { w.b = append(w.b, bracket) }

// Key names the value that is written next. It gives w, for that.
func (w *Writer) Key(name string) *Writer {
	w.String(name)
	w.b = append(w.b, ':')
	return w
}

// Null writes null.
func (w *Writer) Null() {
	w.comma()
	w.b = append(w.b, "null"...)
}

// Bool writes true or false.
func (w *Writer) Bool(v bool) {
	w.comma()
	w.b = strconv.AppendBool(w.b, v)
}

// Int writes a number.
func (w *Writer) Int(v int64) {
	w.comma()
	w.b = strconv.AppendInt(w.b, v, 10)
}

// Uint writes a number.
func (w *Writer) Uint(v uint64) {
	w.comma()
	w.b = strconv.AppendUint(w.b, v, 10)
}

// Time writes RFC 3339 with as many fractional digits as there are. A year of
// other than four digits is an error.
func (w *Writer) Time(t time.Time) {
	b, err := t.MarshalJSON()
	w.Raw(b)
	if err != nil {
		w.err = err
	}
}

// Raw writes text that is JSON, without its insignificant space and with the
// escapes of String; empty text is null. Other text is an error.
func (w *Writer) Raw(text []byte) {
	if len(text) == 0 {
		w.Null()
		return
	}
	r := NewReader(text)
	r.skip()
	if err := r.End(); err != nil {
		if w.err == nil {
			w.err = err
		}
		return
	}
	w.comma()
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
			w.b = append(w.b, c)
		case quoted && c == '\\':
			i++
			w.b = append(w.b, c, text[i])
		case c == '<' || c == '>' || c == '&':
			w.escape(rune(c))
		case !quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
		case c == 0xe2 && i+2 < len(text) && text[i+1] == 0x80 && text[i+2]&^1 == 0xa8:
			w.escape(0x2000 + rune(text[i+2]-0x80))
			i += 2
		default:
			w.b = append(w.b, c)
		}
	}
}

// escape writes \uXXXX.
func (w *Writer) escape(c rune) {
	const hex = "0123456789abcdef"
	w.b = append(w.b, '\\', 'u', hex[c>>12&15], hex[c>>8&15], hex[c>>4&15], hex[c&15])
}

// String writes a string. What is no UTF-8 in it becomes U+FFFD.
func (w *Writer) String(s string) {
	w.comma()
	w.b = append(w.b, '"')
	done := 0 // of s
	for i := 0; i < len(s); {
		c, size := rune(s[i]), 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRuneInString(s[i:])
		}
		plain := c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' &&
			c != '\u2028' && c != '\u2029' && (c != utf8.RuneError || size > 1)
		if !plain {
			w.b = append(w.b, s[done:i]...)
			done = i + size
			switch c {
			case '"', '\\':
				w.b = append(w.b, '\\', byte(c))
			case '\b':
				w.b = append(w.b, `\b`...)
			case '\f':
				w.b = append(w.b, `\f`...)
			case '\n':
				w.b = append(w.b, `\n`...)
			case '\r':
				w.b = append(w.b, `\r`...)
			case '\t':
				w.b = append(w.b, `\t`...)
			default:
				w.escape(c)
			}
		}
		i += size
	}
	w.b = append(w.b, s[done:]...)
	w.b = append(w.b, '"')
}

// Each writes an array, nil as null.
func Each[T any](w *Writer, list []T, element func(*T, *Writer)) {
	if list == nil {
		w.Null()
		return
	}
	w.Begin('[')
	for i := range list {
		element(&list[i], w)
	}
	w.End(']')
}

// OptEach is Each as a field, left out if the list is empty.
func OptEach[T any](w *Writer, name string, list []T, element func(*T, *Writer)) {
	if len(list) > 0 {
		Each(w.Key(name), list, element)
	}
}

// Strings writes an array, nil as null.
func (w *Writer) Strings(list []string) {
	Each(w, list, func(s *string, w *Writer) { w.String(*s) })
}

// EachOf writes an object, sorted by name, nil as null.
func EachOf[T any](w *Writer, m map[string]T, value func(*Writer, T)) {
	if m == nil {
		w.Null()
		return
	}
	w.Begin('{')
	for _, k := range slices.Sorted(maps.Keys(m)) {
		value(w.Key(k), m[k])
	}
	w.End('}')
}

// StringMap is EachOf strings.
func (w *Writer) StringMap(m map[string]string) { EachOf(w, m, (*Writer).String) }

// OptString leaves out "".
func (w *Writer) OptString(name, v string) {
	if v != "" {
		w.Key(name).String(v)
	}
}

// OptBool leaves out false.
func (w *Writer) OptBool(name string, v bool) {
	if v {
		w.Key(name).Bool(v)
	}
}

// OptStrings leaves out an empty list.
func (w *Writer) OptStrings(name string, list []string) {
	if len(list) > 0 {
		w.Key(name).Strings(list)
	}
}

// OptInts leaves out an empty list.
func (w *Writer) OptInts(name string, list []int) {
	OptEach(w, name, list, func(n *int, w *Writer) { w.Int(int64(*n)) })
}

// OptStringMap leaves out an empty map.
func (w *Writer) OptStringMap(name string, m map[string]string) {
	if len(m) > 0 {
		w.Key(name).StringMap(m)
	}
}
