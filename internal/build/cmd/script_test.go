// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"slices"
	"strings"
	"testing"
)

func TestParseScript(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"# only this":                    "",
		"a b\nc":                         "1:a,b 2:c",
		"a \\\n  b\nc":                   "1:a,b 3:c",
		"a 'b c' \"d e\"":                "1:a,b c,d e",
		`a 'b\c' "d\"e" f\ g \#h i#j`:    `1:a,b\c,d"e,f g,#h,i#j`,
		"a ''":                           "1:a,",
		"a'b'\"c\"d # e\n\n\nf":          "1:abcd 4:f",
		"a 'two\nlines'\nb":              "1:a,two\nlines 3:b",
		"a \"go\\\non\"\r\nb":            "1:a,goon 3:b",
		"a 'open":                        "!line 1: a quote is not closed",
		"a\nb \"open":                    "!line 2: a quote is not closed",
		"a \\":                           "!line 1: nothing follows the \\ at the end",
		"a\x00":                          "!line 1: it has a zero byte",
		"#!/usr/bin/env -S x\nbegin # x": "2:begin",
	} {
		lines, err := parseScript(text)
		if msg, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || err.Error() != msg {
				t.Errorf("%q: %v, want %q", text, err, msg)
			}
			continue
		}
		var got []string
		for _, l := range lines {
			got = append(got, string(rune('0'+l.number))+":"+strings.Join(l.words, ","))
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// FuzzParseScript: whatever words there are, quoted they come back.
func FuzzParseScript(f *testing.F) {
	for _, s := range []string{"a b", "a 'b c'\n# d\ne \"f\\\"\"", "\\", "'", "a\\\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := parseScript(text)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, l := range lines {
			if len(l.words) == 0 {
				t.Errorf("%q: an empty command", text)
			}
			for _, w := range l.words {
				b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "' ")
			}
			b.WriteByte('\n')
		}
		again, err := parseScript(b.String())
		if err != nil || !slices.EqualFunc(lines, again, func(a, b line) bool { return slices.Equal(a.words, b.words) }) {
			t.Errorf("%q: %v, then %v, %v", text, lines, again, err)
		}
	})
}

// TestTable: what help and errors rely on.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range commands(&acbuild{global: newGlobals()}) {
		n := 0
		for _, has := range []bool{c.edit != nil, c.view != nil, c.run != nil} {
			if has {
				n++
			}
		}
		if n != 1 || c.short == "" || c.long == "" || c.example == "" || seen[c.name] {
			t.Errorf("%s: %d functions, %+v", c.name, n, c)
		}
		seen[c.name] = true
		for line := range strings.Lines(c.long) {
			if len([]rune(line)) > 101 {
				t.Errorf("%s: a line of %d characters: %q", c.name, len([]rune(line)), line)
			}
		}
	}
}
