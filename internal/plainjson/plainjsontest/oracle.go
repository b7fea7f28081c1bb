// SPDX-License-Identifier: Apache-2.0

// Package plainjsontest holds hand-written codecs against encoding/json.
package plainjsontest

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A Codec is how a type is written and read.
type Codec[T any] struct {
	Encode func(*T) ([]byte, error)
	Decode func([]byte) (T, error)
}

// Check fills values of T at random, in every field, and wants of the codec
// what encoding/json makes of them: the same text, and from that text the same
// value. A field that the codec forgot shows.
func (c Codec[T]) Check(t *testing.T) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		v := new(T)
		if i > 0 { // the first is the zero value
			fill(t, random, reflect.ValueOf(v).Elem())
		}
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		got, err := c.Encode(v)
		if err != nil {
			t.Fatalf("cannot encode: %v\n%s", err, want)
		}
		if got = bytes.TrimSuffix(got, []byte("\n")); !bytes.Equal(got, want) {
			t.Fatalf("encoded\n%s\nencoding/json makes\n%s", got, want)
		}
		for _, text := range [][]byte{want, spread(t, want)} {
			c.differ(t, text, true)
		}
	}
}

// Fuzz makes a fuzz target: for every document, the codec and encoding/json
// both refuse it, or read the same.
func (c Codec[T]) Fuzz(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		v := new(T)
		fill(f, random, reflect.ValueOf(v).Elem())
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range Documents() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) { c.differ(t, text, false) })
}

func (c Codec[T]) differ(t *testing.T, text []byte, must bool) {
	t.Helper()
	got, err := c.Decode(text)
	if !json.Valid(text) {
		if err == nil {
			t.Fatalf("accepted what is no JSON: %q", text)
		}
		return
	}
	if !plain(text, names(reflect.TypeFor[T](), map[reflect.Type]bool{})) {
		return // where the two are meant to differ
	}
	var want T
	wantErr := json.Unmarshal(text, &want)
	if (err == nil) != (wantErr == nil) || must && err != nil {
		t.Fatalf("error %v, of encoding/json %v\n%q", err, wantErr, text)
	}
	if err == nil {
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("encoding/json (-), codec (+) of %q\n%s", text, d)
		}
	}
}

// Documents are texts, JSON and not, on which readers are known to differ.
func Documents() []string {
	deep := strings.Repeat("[", 10000) + strings.Repeat("]", 10000)
	return []string{
		"", " ", "null", "nul", "{}", "{} ", "{}x", "{}{}", "[]", "{,}", `{"a":1,}`, `{"a" 1}`, `{a:1}`, `{"a":1 "b":2}`,
		`{"x":[1,2,]}`, `{"x":[,1]}`, `{"x":[1 2]}`, `{"x":[}`, `{"x":{]}`, `{"x":[{}],"y":[[],{}]}`, "\ufeff{}",
		`{"x":01}`, `{"x":-}`, `{"x":-0}`, `{"x":1.}`, `{"x":.5}`, `{"x":1e}`, `{"x":1E+9}`, `{"x":+1}`, `{"x":0x1}`, `{"x":1e999}`,
		`{"x":"\u12"}`, `{"x":"\u123g"}`, `{"x":"\ud800"}`, `{"x":"\ud83d\ude00"}`, `{"x":"\ud800\u0041"}`, `{"x":"\ud800\ud800\udc00"}`,
		`{"x":"\'"}`, `{"x":"\x41"}`, `{"x":"\/\b\f\n\r\t\\\""}`, "{\"x\":\"\n\"}", "{\"x\":\"\x00\"}", "{\"x\":\"\xff\xe2\x80\"}", `{"x":"`, `{"x":"\`,
		"{\"\xff\":1,\"\\ud800\":2}", "{\"x\":1}\x00", "{\v}", `{"x":truex}`, `{"x":tru}`, `{"x":False}`, `{"x":nulll}`,
		`{"x":` + deep[1:len(deep)-1] + `}`, `{"x":` + deep + `}`, "{\t\"x\"\r\n:\t[ ] }",
	}
}

// names are those of the fields of t and of all that it holds.
func names(t reflect.Type, seen map[reflect.Type]bool) (list []string) {
	if seen[t] {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return names(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				name = f.Name
			}
			list = append(append(list, name), names(f.Type, seen)...)
		}
	}
	return list
}

// plain tells whether valid JSON has no name twice in an object, and none that
// is one of known but for its case.
func plain(text []byte, known []string) bool {
	type level struct {
		object, value bool
		names         map[string]bool
	}
	stack := []*level{{}}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return true
		}
		if err != nil {
			return false
		}
		at := stack[len(stack)-1]
		if name, ok := token.(string); ok && at.object && !at.value {
			if at.names[name] {
				return false
			}
			at.names[name], at.value = true, true
			for _, k := range known {
				if name != k && strings.EqualFold(name, k) {
					return false
				}
			}
			continue
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			stack = append(stack, &level{object: token == json.Delim('{'), names: map[string]bool{}})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		stack[len(stack)-1].value = false
	}
}

// spread is the same document over many lines, with a field that nobody knows.
func spread(t testing.TB, text []byte) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, text, " ", "\t"); err != nil {
		t.Fatal(err)
	}
	field := `{"unknown to all":[{"x":[null,-1.5e3,"\u00e9"]},true],`
	if bytes.Equal(text, []byte("{}")) {
		field = strings.TrimSuffix(field, ",")
	}
	return bytes.Replace(b.Bytes(), []byte("{"), []byte(field), 1)
}

var (
	timeType = reflect.TypeFor[time.Time]()
	// marshaler that is a slice holds JSON as text.
	marshaler = reflect.TypeFor[json.Marshaler]()
)

func fill(t testing.TB, r *rand.Rand, v reflect.Value) {
	t.Helper()
	switch {
	case v.Type() == timeType:
		zone := time.UTC
		if r.IntN(2) == 0 {
			zone = time.FixedZone("", (r.IntN(48)-24)*1800)
		}
		v.Set(reflect.ValueOf(time.Unix(r.Int64N(4e9), r.Int64N(2)*r.Int64N(1e9)).In(zone)))
		return
	case v.Type().Implements(marshaler) && v.Kind() == reflect.Slice:
		raws := []string{"", "null", "12", ` { "set" : [ "<a>&", "\u2028` + "\u2028\u2029" + `\"" ] ,"x":-1.50E+3, "" : false } `, "[\n{}, [ ]]\t", "\"\xff\\\\\""}
		v.SetBytes([]byte(raws[r.IntN(len(raws))]))
		return
	case v.Type().Implements(marshaler) || reflect.PointerTo(v.Type()).Implements(marshaler):
		t.Fatalf("cannot fill a %s: teach plainjsontest", v.Type())
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if r.IntN(3) > 0 {
				fill(t, r, v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if r.IntN(4) > 0 {
			fill(t, r, v.Elem())
		}
	case reflect.Slice:
		n := r.IntN(4) // 0 is empty, which is not nil
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, r, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range r.IntN(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, r, key)
			key.SetString(key.String() + "é"[:i%3]) // sorts by bytes; half a rune sometimes
			fill(t, r, value)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(text(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(r.Uint64()) >> r.IntN(64))
	case reflect.Uint, reflect.Uint64:
		v.SetUint(r.Uint64() >> r.IntN(64))
	default:
		t.Fatalf("cannot fill a %s: teach plainjsontest", v.Type())
	}
}

func text(r *rand.Rand) string {
	parts := []string{"", "a", "/bin/sh", "docker://x:y", "<&>", "\"\\/", "\x00\x1f\x7f", "\b\f\n\r\t", "é€\U0001f600",
		"\u2028\u2029\u2027\ufffd", "\xff\xe2\x80\xa8\xe2\x80", "\xed\xa0\x80", `\u0041`}
	var b strings.Builder
	for range r.IntN(4) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return b.String()
}
