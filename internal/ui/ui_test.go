// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"plain text, \\n kept":  "plain text, \\n kept",
		"Grüße 世界":              "Grüße 世界",
		"\x1b[31mred":           `\x1b[31mred`,
		"a\nb\tc\rd":            `a\nb\tc\rd`,
		"\x00\x7f":              `\x00\x7f`,
		"\xff\xfe":              `\xff\xfe`,
		"\u009b31m":             `\u009b31m`,
		"user\u202etxt.exe":     `user\u202etxt.exe`,
		"\u2066isolate\u2069":   `\u2066isolate\u2069`,
		"\ufeffbom\u2028next":   `\ufeffbom\u2028next`,
		"trailing\x1b":          `trailing\x1b`,
		"replacement \ufffd ok": "replacement \ufffd ok",
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b]0;t\a", "\xc2\x9b", "\u202e", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := Escape(s)
		if !utf8.ValidString(out) {
			t.Fatalf("Escape(%q) = %q is not UTF-8", s, out)
		}
		for _, r := range out {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("Escape(%q) = %q keeps %U", s, out, r)
			}
		}
		if Escape(out) != out {
			t.Fatalf("Escape is not idempotent for %q", s)
		}
	})
}

func TestMessageIsOneLine(t *testing.T) {
	var b bytes.Buffer
	Message(&b, "run", "cannot find \"a\nb\"")
	if got, want := b.String(), "run: cannot find \"a\\nb\"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	tab := NewTable(&b, []string{"UUID", "APP"})
	tab.Row("12345678", "an\tapp")
	tab.Row("", "x")
	if err := tab.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "UUID\t\tAPP\n12345678\tan\\tapp\n\t\tx\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for want, d := range map[string]time.Duration{
		"now":                0,
		"1 second ago":       1900 * time.Millisecond,
		"59 seconds ago":     59 * time.Second,
		"1 minute ago":       time.Minute,
		"2 hours ago":        2*time.Hour + time.Minute,
		"1 day ago":          day,
		"1 week ago":         8 * day,
		"2 months ago":       70 * day,
		"3 years ago":        3 * 365 * day,
		"5 minutes from now": -5 * time.Minute,
	} {
		if got := Ago(now.Add(-d), now); got != want {
			t.Errorf("Ago(%v) = %q, want %q", d, got, want)
		}
	}
	if got := Ago(time.Time{}, now); got != "-" {
		t.Errorf("Ago(zero) = %q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 999: "999B", 1023: "1023B", 1024: "1.0KiB", 1536: "1.5KiB", 10 << 10: "10KiB",
		1<<20 - 1: "1.0MiB", 211 << 20: "211MiB", 5 << 30: "5.0GiB", 1<<63 - 1: "8.0EiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestJSONKeepsText(t *testing.T) {
	var b strings.Builder
	if err := JSON(&b, map[string]string{"a": "<&>"}, true); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "{\n\t\"a\": \"<&>\"\n}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEscapeJSONMeansTheSame(t *testing.T) {
	doc := "{\n\t\"a\": \"x\u009b\u202e\x7f\u00fc\"\n}\n"
	out := escapeJSON([]byte(doc))
	if want := "{\n\t\"a\": \"x\\u009b\\u202e\\u007f\u00fc\"\n}\n"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
	var before, after any
	if json.Unmarshal([]byte(doc), &before) != nil || json.Unmarshal(out, &after) != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("%s and %s differ", doc, out)
	}
}
