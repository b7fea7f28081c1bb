// SPDX-License-Identifier: Apache-2.0

package yamljson

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestConvert(t *testing.T) {
	for yaml, want := range map[string]string{
		"a: 1\nb: [x, 0666, true]\n": `{"a":1,"b":["x",438,true]}`,
		"---\na: {b: null}\n":        `{"a":{"b":null}}`,
		`{"a": "b"}`:                 `{"a":"b"}`,
	} {
		b, err := Convert(strings.NewReader(yaml), 100)
		if err != nil || string(b) != want {
			t.Errorf("%q: %s, %v, want %s", yaml, b, err, want)
		}
	}
	for _, yaml := range []string{"", "a: 1\na: 2\n", "1: 2\n", "a: 1\n---\nb: 2\n", "a: [", strings.Repeat("# long\n", 100), "a: &x " + strings.Repeat("y", 40) + "\nb: [*x, *x, *x]\n"} {
		if b, err := Convert(strings.NewReader(yaml), 100); err == nil {
			t.Errorf("%q: taken as %s", yaml, b)
		}
	}
}

func FuzzConvert(f *testing.F) {
	for _, s := range []string{"a: 1\n", "a: &x [1]\nb: *x\n", "{a: {b: [1, 2.5, ~, on]}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := Convert(strings.NewReader(s), 1<<16); err == nil && !json.Valid(b) {
			t.Errorf("%q: %s", s, b)
		}
	})
}
