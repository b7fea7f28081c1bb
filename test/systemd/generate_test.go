// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rkt/rkt/internal/pod/unit"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/test/systemdhost"
)

// generated writes a unit by rkt generate systemd, of which systemd must have
// nothing bad to say, and returns how to remove it.
func generated(t *testing.T, s *systemdhost.Session, name string, words ...string) (remove func()) {
	t.Helper()
	file := "/etc/systemd/system/" + name + ".service"
	s.Must(append([]string{"rkt", "--insecure-options=image", "generate", "systemd", "--output=" + file, "--net=none"}, words...)...)
	if r := s.Run("systemd-analyze", "verify", "--man=no", file); r.Status != 0 || strings.Contains(r.Stderr, name) {
		t.Errorf("systemd-analyze verify: status %d\n%s%s\n%s", r.Status, r.Stdout, r.Stderr, s.Must("cat", file).Stdout)
	}
	s.Must("systemctl", "daemon-reload")
	return func() {
		s.Run("systemctl", "stop", name)
		s.Run("systemctl", "disable", name)
		s.Must("rm", file)
		s.Must("systemctl", "daemon-reload")
	}
}

// TestGenerate: a unit that rkt has written is up when its pod is, is seen by all
// of systemd's programs, comes back when its app fails, and ends in order.
func TestGenerate(t *testing.T) {
	s := booted.Session(t)
	defer generated(t, s, "made", "--description=100% made", tiny(s), "--name=web", "--exec=/bin/sh", "--", "-c", loop)()
	if out := s.Must("systemctl", "enable", "made").Stderr; !strings.Contains(out, "multi-user.target.wants/made.service") {
		t.Errorf("systemctl enable: %s", out)
	}
	s.Must("systemctl", "start", "made")
	for name, want := range map[string]string{
		"ActiveState": "active", "Type": "notify", "Slice": "machine.slice", "ControlGroup": "/machine.slice/made.service", "Description": "100% made",
		"KillMode": "mixed", "Delegate": "yes", "Restart": "on-failure", "TimeoutStopUSec": "30s", "UnitFileState": "enabled",
	} {
		if got := property(s, "made", name); got != want {
			t.Errorf("its %s is %q, want %q", name, got, want)
		}
	}
	uuid := running(s)
	known(s, uuid)
	if out := s.Must("systemctl", "status", "--no-pager", "made").Stdout; !strings.Contains(out, "active (running)") || !strings.Contains(out, "└─rkt-"+uuid) {
		t.Errorf("systemctl status:\n%s", out)
	}
	s.Until("its app is up", func(r rkt.Result) bool { return r.Stdout == "up\n" }, "journalctl", "--unit=made", "--identifier=web", "--output=cat", "--no-pager")

	s.Must("rkt", "stop", "--force", uuid)
	s.Until("it comes back", func(r rkt.Result) bool { return r.Out() == "1" }, "systemctl", "show", "--property=NRestarts", "--value", "made")
	s.Until("it is up again", status("active"), "systemctl", "is-active", "made")
	s.Until("its app is up again", func(r rkt.Result) bool { return r.Stdout == "up\nup\n" }, "journalctl", "--unit=made", "--identifier=web", "--output=cat", "--no-pager")

	s.Must("systemctl", "stop", "made")
	if state, result := property(s, "made", "ActiveState"), property(s, "made", "Result"); state != "inactive" || result != "success" {
		t.Errorf("it is %s, with the result %s", state, result)
	}
	if out := s.Journal("made", "--output=cat"); !strings.Contains(out, "told to end\n") || strings.Contains(out, "SIGKILL") || strings.Contains(out, "timed out") {
		t.Errorf("the pod did not stop well:\n%s", out)
	}
}

// TestGenerateSignalled: an app that its stop signal ends, as most are, has stopped
// well; one that fails has not.
func TestGenerateSignalled(t *testing.T) {
	s := booted.Session(t)
	id := tiny(s)
	defer generated(t, s, "plain", "--stop-timeout=60s", id, "--exec=/bin/sh", "--", "-c", `trap 'trap - TERM; kill -TERM $$' TERM; while :; do sleep 0.05; done`)()
	s.Must("systemctl", "enable", "plain") // so that systemd keeps it in mind
	s.Must("systemctl", "start", "plain")
	s.Must("systemctl", "stop", "plain")
	if state, status := property(s, "plain", "ActiveState"), property(s, "plain", "ExecMainStatus"); state != "inactive" || status != "143" {
		t.Errorf("it is %s, of status %s", state, status)
	}
	defer generated(t, s, "bad", "--restart-policy=no", id, "--exec=/bin/sh", "--", "-c", `exit 3`)()
	s.Run("systemctl", "start", "bad")
	s.Until("it has failed", status("failed"), "systemctl", "is-active", "bad")
	if status := property(s, "bad", "ExecMainStatus"); status != "3" {
		t.Errorf("its status is %s", status)
	}
	s.Must("systemctl", "reset-failed", "bad")
}

// hostile are arguments that systemd's syntax could make something else of.
func hostile() (args []string) {
	args = []string{"", ";", "#", "a b", `\`, `"`, "'", "$HOME", "${HOME}", "$$", "%n", "%%", "%", "\n", "a\nKillMode=none", "\t", "é", "\u202e", "\u2028",
		"-x", "@x", `a\`, "[Service]", "\x7f", "`x`", "~", "*", "a\\\n\tb", "\r\n", " ", "$", "${", "x$", "'a b'", `"a b"`, `\x41`, `\n`, "%{x}", "a;b", "; b", "|", "💣"}
	pieces := append(slices.Clone(args), "a", "HOME", "}", "0", "\\\\")
	for c := rune(1); c < 0x80; c++ {
		args, pieces = append(args, string(c)), append(pieces, string(c))
	}
	r := rand.New(rand.NewPCG(6, 2026))
	for range 600 {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		args = append(args, b.String())
	}
	return args
}

// TestGenerateWords: systemd gives a program the arguments that were meant, and
// waits for the mounts of the paths that were.
func TestGenerateWords(t *testing.T) {
	s := booted.Session(t)
	args := append([]string{"/bin/sh", "-c", "cat /proc/$$/cmdline >/root/argv"}, hostile()...)
	u := unit.Service{Written: "x", Description: `50% of \`, Restart: "no", Exec: [][]string{args[:4]}, Start: unit.Infinity, Stop: unit.Infinity,
		Mounted: []string{"/root", "/srv/a b", `/srv/a"b\c`, "/srv/100%n", "/srv/é"}}
	for _, a := range args[4:] {
		u.Exec = append(u.Exec, []string{a})
	}
	text, err := u.File()
	if err != nil {
		t.Fatal(err)
	}
	s.Write("/etc/systemd/system/words.service", text)
	s.Must("systemctl", "daemon-reload")
	s.Must("systemctl", "start", "words")
	s.Until("it has ended", status("inactive"), "systemctl", "is-active", "words")
	got, err := os.ReadFile(s.Path("/root/argv"))
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Journal("words"))
	}
	if list := strings.Split(strings.TrimSuffix(string(got), "\x00"), "\x00"); !slices.Equal(list, args) {
		for i := range min(len(list), len(args)) {
			if list[i] != args[i] {
				t.Fatalf("%d arguments arrive as %d; the %dth is %q, not %q", len(args), len(list), i, list[i], args[i])
			}
		}
		t.Fatalf("%d arguments arrive as %d", len(args), len(list))
	}
	if got := property(s, "words", "Description"); got != `"50% of \\"` {
		t.Errorf("its description is %s", got)
	}
	// systemctl quotes what it read.
	if got, want := property(s, "words", "RequiresMountsFor"), `/root "/srv/a b" "/srv/a\"b\\c" /srv/100%n /srv/é`; !sameWords(got, want) {
		t.Errorf("it waits for the mounts of %s, want %s", got, want)
	}
	s.Must("rm", "/etc/systemd/system/words.service", "/root/argv")
	s.Must("systemctl", "daemon-reload")
}

func sameWords(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// TestGenerateArguments: what rkt generate systemd was given is what the app gets,
// through systemd and rkt, be it an argument or a variable.
func TestGenerateArguments(t *testing.T) {
	s := booted.Session(t)
	s.Must("mkdir", "-p", "/root/a b%n")
	defer s.Must("rm", "-r", "/root/a b%n")
	words := []string{"--restart-policy=no", `--volume=out,kind=host,source=/root/a b%n`, tiny(s), "--mount=volume=out,target=/out"}
	want := ""
	for i, a := range hostile() {
		if strings.ContainsRune(a, '\n') || !utf8.ValidString(a) {
			continue // sh reads lines
		}
		if i%16 == 0 {
			words = append(words, fmt.Sprintf("--environment=V%d=%s", i, a))
		}
	}
	words = append(words, "--exec=/bin/sh", "--", "-c", `cat /proc/$$/cmdline >/out/argv; tr '\0' '\n' </proc/$$/environ | grep ^V >/out/env; exit 0`, "sh")
	for i, a := range hostile() {
		if i%16 == 0 && !strings.ContainsRune(a, '\n') {
			want += fmt.Sprintf("V%d=%s\n", i, a)
		}
		if i%8 == 1 && a != "---" {
			words = append(words, a)
		}
	}
	at := slices.Index(words, "--")
	defer generated(t, s, "given", words...)()
	s.Must("systemctl", "start", "given")
	s.Until("it has ended", status("inactive"), "systemctl", "is-active", "given")
	argv := s.Must("cat", "/root/a b%n/argv").Stdout
	if got := strings.Split(strings.TrimSuffix(argv, "\x00"), "\x00"); !slices.Equal(got[1:], words[at+1:]) {
		t.Errorf("the app has the arguments %q, want %q", got[1:], words[at+1:])
	}
	if got := s.Must("cat", "/root/a b%n/env").Stdout; got != want {
		t.Errorf("the app has the variables\n%q, want\n%q", got, want)
	}
}
