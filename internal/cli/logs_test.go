// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// source makes a log file of one app.
func source(t *testing.T, app, text string) *logSource {
	t.Helper()
	path := filepath.Join(t.TempDir(), app)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &logSource{app: app, f: f, r: bufio.NewReaderSize(f, 16)}
}

func printAll(t *testing.T, pr *logPrinter, sources []*logSource) {
	t.Helper()
	for {
		s, err := oldestEntry(sources)
		if err != nil {
			t.Fatal(err)
		}
		if s == nil {
			return
		}
		if err := pr.print(s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogsMerge(t *testing.T) {
	a := source(t, "a", "2026-11-23T10:00:00.1Z stdout F one\n2026-11-23T10:00:00.3Z stdout P th\n2026-11-23T10:00:00.5Z stdout F ree\n")
	b := source(t, "b", "2026-11-23T10:00:00.2Z stderr F two\n2026-11-23T10:00:00.4Z stdout F  four \x1b[0m\n2026-11-23T10:00:00.6Z stdout P open")
	var out, errs bytes.Buffer
	pr := logPrinter{out: &out, err: &errs, names: true}
	printAll(t, &pr, []*logSource{a, b})
	// Lines are whole, in the order in which they end; bytes are as they were.
	if got, want := out.String(), "a: one\nb:  four \x1b[0m\na: three\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := errs.String(), "b: two\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
	// The entry that is not whole yet is read when it is.
	f, err := os.OpenFile(b.f.Name(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("ed\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	out.Reset()
	printAll(t, &pr, []*logSource{a, b})
	if err := pr.flush([]*logSource{a, b}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "b: opened"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
}

func TestLogsTimestamps(t *testing.T) {
	a := source(t, "a", "2026-11-23T10:00:00.1Z stdout P x\n2026-11-23T10:00:00.2Z stdout F y\n")
	var out bytes.Buffer
	printAll(t, &logPrinter{out: &out, timestamps: true}, []*logSource{a})
	if got, want := out.String(), "2026-11-23T10:00:00.1Z xy\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLogsRefuse(t *testing.T) {
	for _, text := range []string{"\n", "x\n", "2026-11-23T10:00:00Z stdout F\n", "yesterday stdout F x\n", "2026-11-23T10:00:00Z stdin F x\n", "2026-11-23T10:00:00Z stdout G x\n",
		"2026-11-23T10:00:00Z stdout F " + strings.Repeat("x", maxLogLine) + "\n"} {
		if _, err := oldestEntry([]*logSource{source(t, "a", text)}); err == nil {
			t.Errorf("%.60q was accepted", text)
		}
	}
}

func FuzzLogEntry(f *testing.F) {
	f.Add([]byte("2026-11-23T10:00:00.123456789Z stdout F text"))
	f.Add([]byte("2026-11-23T10:00:00+01:00 stderr P "))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parseLogEntry(line)
		if err == nil && !bytes.HasSuffix(line, e.text) {
			t.Fatalf("%q: text %q", line, e.text)
		}
	})
}
