// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/systemdhost"
)

// entries are the unit's lines, by what the journal knows of them: identifier,
// level and text. What systemd says of the unit is not among them.
func entries(t *testing.T, s *systemdhost.Session, unit string) (list []string) {
	for line := range strings.Lines(s.Journal(unit, "--output=json")) {
		e := map[string]any{}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e["_TRANSPORT"] == "stdout" {
			list = append(list, fmt.Sprint(e["SYSLOG_IDENTIFIER"], " ", e["PRIORITY"], " ", e["MESSAGE"]))
		}
	}
	slices.Sort(list)
	return list
}

// TestJournal: what apps write is theirs in the journal, and the unit's.
func TestJournal(t *testing.T) {
	s := booted.Session(t)
	id := tiny(s)
	run := func(unit string, words ...string) {
		t.Helper()
		if r := s.Run(append(append([]string{"systemd-run", "--quiet", "--wait", "--unit=" + unit}, rktRun...), words...)...); r.Status != 0 {
			t.Errorf("status %d: %s%s", r.Status, r.Stdout, s.Journal(unit))
		}
	}
	expect := func(unit string, want ...string) {
		t.Helper()
		if got := entries(t, s, unit); !slices.Equal(got, want) {
			t.Errorf("the journal has of %s:\n%q, want\n%q", unit, got, want)
		}
	}
	// The app that stage0 starts; one that is gone before the journal can look at it.
	run("only", id, "--name=web", "--exec=/bin/sh", "--", "-c", "echo out; echo err >&2; echo '<3>bad'; sleep 0.3")
	expect("only", "web 3 bad", "web 6 err", "web 6 out")
	run("quick", id, "--name=web", "--exec=/bin/echo", "--", "gone")
	if out := s.Journal("quick", "--identifier=web", "--output=cat"); out != "gone\n" {
		t.Errorf("of one that was gone the unit has %q", out)
	}
	// Those that init starts; one with a log as well; one whose user is another.
	script := func(word string) []string {
		return []string{"--exec=/bin/sh", "--", "-c", "echo " + word + "; sleep 0.3"}
	}
	run("several", slices.Concat([]string{id, "--name=one", "--stdout=log"}, script("first"), []string{"---", id, "--name=two", "--user=12"}, script("second"))...)
	expect("several", "one 6 first", "two 6 second")
	run("users", append([]string{"--private-users", id, "--name=own"}, script("mapped")...)...)
	expect("users", "own 6 mapped")
	// Not a journal's: the caller's own.
	r := s.Run(append(append([]string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--unit=piped", "--setenv=JOURNAL_STREAM=1:2"}, rktRun...), append([]string{id}, script("through")...)...)...)
	if r.Stdout != "through\n" {
		t.Errorf("through a pipe comes %q, %s", r.Stdout, r.Stderr)
	}
	expect("piped")
	// Only one of the two.
	s.Must(append(append([]string{"systemd-run", "--quiet", "--wait", "--collect", "--unit=half", "-p", "StandardOutput=file:/root/half", "-p", "StandardError=journal"}, append(rktRun, id, "--name=web")...),
		"--exec=/bin/sh", "--", "-c", "echo out; echo err >&2; sleep 0.3")...)
	if out := s.Must("cat", "/root/half").Stdout; out != "out\n" {
		t.Errorf("the file has %q", out)
	}
	expect("half", "web 6 err")
}
