// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// object is a mapping that is read field by field. Fields that nobody asked
// for are errors in the end, so that nothing is dropped. The first error of a
// whole document is kept in reader; after it everything reads as absent.
type object struct {
	*reader
	path string
	m    map[string]any
	read map[string]bool
}

type reader struct{ err error }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) object(path string, v any) *object {
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		r.fail("%s is not a mapping", path)
	}
	return &object{r, path, m, map[string]bool{}}
}

func (o *object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

// get returns a field; null is as good as absent.
func (o *object) get(key string) any {
	o.read[key] = true
	if o.err != nil {
		return nil
	}
	return o.m[key]
}

func (o *object) has(key string) bool { return o.m[key] != nil }

// done refuses the fields that were not read.
func (o *object) done() {
	for _, key := range slices.Sorted(maps.Keys(o.m)) {
		if !o.read[key] {
			o.fail("%s is not supported", o.at(key))
		}
	}
}

// refuse names fields that would need enforcement; null and empty values ask
// for nothing.
func (o *object) refuse(keys ...string) {
	for _, key := range keys {
		switch v := o.get(key).(type) {
		case nil:
		case bool:
			if v {
				o.fail("%s is not supported", o.at(key))
			}
		case string:
			if v != "" {
				o.fail("%s is not supported", o.at(key))
			}
		case []any:
			if len(v) > 0 {
				o.fail("%s is not supported", o.at(key))
			}
		case map[string]any:
			if len(v) > 0 {
				o.fail("%s is not supported", o.at(key))
			}
		default:
			o.fail("%s is not supported", o.at(key))
		}
	}
}

// ignore names fields that ask nothing of a machine that runs the pod.
func (o *object) ignore(keys ...string) {
	for _, key := range keys {
		o.read[key] = true
	}
}

func (o *object) text(key string) string {
	v := o.get(key)
	s, ok := v.(string)
	if !ok && v != nil {
		o.fail("%s is not a string", o.at(key))
	}
	return s
}

// oneOf refuses a text that is neither absent nor among the words.
func (o *object) oneOf(key string, words ...string) string {
	s := o.text(key)
	if s != "" && !slices.Contains(words, s) {
		o.fail("%s: %q is not supported", o.at(key), s)
	}
	return s
}

func (o *object) boolean(key string) *bool {
	v := o.get(key)
	if v == nil {
		return nil
	}
	b, ok := v.(bool)
	if !ok {
		o.fail("%s is neither true nor false", o.at(key))
	}
	return &b
}

func (o *object) on(key string) bool { b := o.boolean(key); return b != nil && *b }

func (o *object) number(key string, least, most int64) *int64 {
	v := o.get(key)
	if v == nil {
		return nil
	}
	n, ok := whole(v)
	if !ok || n < least || n > most {
		o.fail("%s is not a whole number from %d to %d", o.at(key), least, most)
	}
	return &n
}

func whole(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	}
	return 0, false
}

func (o *object) child(key string) *object { return o.reader.object(o.at(key), o.get(key)) }

func (o *object) list(key string) []any {
	v := o.get(key)
	l, ok := v.([]any)
	if !ok && v != nil {
		o.fail("%s is not a list", o.at(key))
	}
	return l
}

// each calls f with every mapping of a list.
func (o *object) each(key string, f func(*object)) {
	for i, v := range o.list(key) {
		c := o.reader.object(o.at(key)+"["+strconv.Itoa(i)+"]", v)
		f(c)
		c.done()
	}
}

func (o *object) texts(key string) []string {
	l := o.list(key)
	if l == nil {
		return nil
	}
	out := make([]string, 0, len(l))
	for i, v := range l {
		s, ok := v.(string)
		if !ok {
			o.fail("%s[%d] is not a string", o.at(key), i)
		}
		out = append(out, s)
	}
	return out
}

func (o *object) textMap(key string) map[string]string {
	c := o.child(key)
	if len(c.m) == 0 {
		return nil
	}
	out := make(map[string]string, len(c.m))
	for _, k := range slices.Sorted(maps.Keys(c.m)) {
		out[k] = c.text(k)
	}
	return out
}
