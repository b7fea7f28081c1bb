// SPDX-License-Identifier: Apache-2.0

package plainjson_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/plainjson"
	"github.com/rkt/rkt/internal/plainjson/plainjsontest"
)

type sample struct {
	Text string            `json:"x"`
	Int  int64             `json:"i"`
	Uint uint              `json:"u"`
	Bool bool              `json:"b"`
	Map  map[string]string `json:"m"`
	List []string          `json:"l"`
	Ints []int             `json:"n"`
	Raw  image.Raw         `json:"r"`
}

func read(b []byte) (s sample, err error) {
	r := plainjson.NewReader(b)
	for name := range r.Object() {
		switch name {
		case "x":
			s.Text = r.String()
		case "i":
			s.Int = r.Int64()
		case "u":
			s.Uint = r.Uint()
		case "b":
			s.Bool = r.Bool()
		case "m":
			s.Map = r.StringMap()
		case "l":
			s.List = r.Strings()
		case "n":
			s.Ints = r.Ints()
		case "r":
			s.Raw = r.Raw()
		}
	}
	return s, r.End()
}

func write(s *sample) ([]byte, error) {
	var w plainjson.Writer
	w.Begin('{')
	w.Key("x").String(s.Text)
	w.Key("i").Int(s.Int)
	w.Key("u").Uint(uint64(s.Uint))
	w.Key("b").Bool(s.Bool)
	w.Key("m").StringMap(s.Map)
	w.Key("l").Strings(s.List)
	plainjson.Each(w.Key("n"), s.Ints, func(n *int, w *plainjson.Writer) { w.Int(int64(*n)) })
	w.Key("r").Raw(s.Raw)
	w.End('}')
	return w.Bytes()
}

func codec() plainjsontest.Codec[sample] {
	return plainjsontest.Codec[sample]{Encode: write, Decode: read}
}

func TestCodec(t *testing.T)  { codec().Check(t) }
func FuzzReader(f *testing.F) { codec().Fuzz(f) }

// TestDocuments: whatever is known or not of a document, it is JSON or it is not.
func TestDocuments(t *testing.T) {
	for _, s := range plainjsontest.Documents() {
		r := plainjson.NewReader([]byte(s))
		raw := r.Raw()
		if err := r.End(); (err == nil) != json.Valid([]byte(s)) {
			t.Errorf("%.60q: error %v, valid %v", s, err, json.Valid([]byte(s)))
		} else if err == nil && string(raw) != strings.TrimSpace(s) {
			t.Errorf("%.60q: raw text is %.60q", s, raw)
		}
	}
}

// FuzzRaw: text is taken, compacted and escaped as encoding/json does it.
func FuzzRaw(f *testing.F) {
	for _, s := range plainjsontest.Documents() {
		f.Add([]byte(s))
	}
	f.Add([]byte(" [ \"<\u2028\\\"\xe2\x80\" , \"&\xe2\x80\xa9>\\\\\" ] "))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) == 0 {
			return
		}
		want, wantErr := json.Marshal(json.RawMessage(text))
		var w plainjson.Writer
		w.Raw(text)
		got, err := w.Bytes()
		if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("%q: %q, %v; encoding/json %q, %v", text, got, err, want, wantErr)
		}
	})
}

// FuzzString: strings too.
func FuzzString(f *testing.F) {
	f.Add("a<b>\u2028\xff\"\\\x00\x7f\U0001f600")
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var w plainjson.Writer
		w.String(s)
		if got, err := w.Bytes(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q, %v; encoding/json %q", got, err, want)
		}
	})
}

func TestSkipping(t *testing.T) {
	r := plainjson.NewReader([]byte(`{"a":[1,{"b":"}"}],"c":"d","e":{"f":2},"g":3}`))
	var seen []string
	for name := range r.Object() {
		seen = append(seen, name)
		if name == "e" {
			break
		}
	}
	if err := r.End(); err != nil || strings.Join(seen, " ") != "a c e" {
		t.Errorf("%q, %v", seen, err)
	}
}

// TestLastWins: of a name that is there twice, nothing of the first stays.
func TestLastWins(t *testing.T) {
	s, err := read([]byte(`{"x":"1","m":{"a":"1"},"l":["1","2"],"x":"2","m":{"b":"2"},"l":["3"]}`))
	if err != nil || s.Text != "2" || len(s.Map) != 1 || len(s.List) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                     "at byte 0: unexpected end",
		`{"x":`:                "at byte 5: unexpected end",
		`{"x":1}`:              `at byte 5: unexpected "1" where a string is wanted`,
		`{"x":"a"} b`:          `at byte 10: unexpected "b" after the document`,
		`{"i":1.5}`:            "before byte 8: not a whole number, or out of range: invalid syntax",
		`{"u":-1}`:             "before byte 7: not a whole number, or out of range: invalid syntax",
		`{"b":"true"}`:         `at byte 5: unexpected "\"" where true or false is wanted`,
		`{"l":{}}`:             `at byte 5: unexpected "{" where an array is wanted`,
		`{"m":[]}`:             `at byte 5: unexpected "[" where an object is wanted`,
		`{"x":"a" "i":1}`:      `at byte 9: unexpected "\"" after a value`,
		`{"z":"\ud83d\u00zz"}`: `at byte 16: unexpected "z" after \u`,
	} {
		_, err := read([]byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
