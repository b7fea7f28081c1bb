// SPDX-License-Identifier: Apache-2.0

// Package unit writes unit files of systemd's (systemd.unit(5),
// systemd.service(5), systemd.syntax(7)) that start pods. What comes from a user
// means to systemd what it meant to the user: no specifier, no variable and no
// line of its own.
package unit

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxLine bounds a line, with those that continue it: systemd reads no longer one
// (LONG_LINE_MAX).
const maxLine = 1 << 20

// cleanEnds are the statuses of an app that a signal ended which systemd takes for
// a clean end of a service of its own: SIGHUP, SIGINT, SIGPIPE and SIGTERM. rkt
// says 128+n of them.
const cleanEnds = "129 130 141 143"

// Infinity is a span without an end.
const Infinity = time.Duration(-1)

// Service is a unit whose process is a pod.
type Service struct {
	// Written is who wrote the unit, for its first line.
	Written     string
	Description string
	Man         []string // pages of the manual, as "rkt-run(1)"
	// Names of units.
	After, Requires, Wants, WantedBy []string
	// Mounted are paths whose mounts there must be. One with a control character,
	// which systemd has no spelling for here, is left out.
	Mounted []string

	// Notify: the pod says when it is ready.
	Notify bool
	// Exec is the command, in lines: all words of all lines are its arguments, the
	// first is the program.
	Exec [][]string
	// Slice the unit is in; "" is the manager's choice.
	Slice   string
	Restart string // when; one of Restarts
	// RestartAfter is how long before; 0 is systemd's own.
	RestartAfter time.Duration
	// Start and Stop are how long the pod may take for either.
	Start, Stop time.Duration
}

// Restarts are the words of Restart.
func Restarts() []string {
	return []string{"no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always"}
}

// File is the unit's text, or what of it cannot be said in a unit.
func (s *Service) File() (string, error) {
	f := &file{}
	f.line("# " + text(s.Written))
	f.line("[Unit]")
	f.set("Description", strings.ReplaceAll(text(s.Description), "%", "%%"))
	for _, m := range s.Man {
		f.set("Documentation", "man:"+m)
	}
	f.units("Requires", s.Requires)
	f.units("Wants", s.Wants)
	f.units("After", s.After)
	for _, p := range s.Mounted {
		if !strings.ContainsFunc(p, unicode.IsControl) && utf8.ValidString(p) {
			f.set("RequiresMountsFor", path(p))
		}
	}
	f.line("")
	f.line("[Service]")
	f.set("Type", map[bool]string{true: "notify", false: "exec"}[s.Notify])
	f.exec(s.Exec)
	// Only rkt is told to end: it tells each app in the app's own way, and knows
	// when to kill it.
	f.set("KillMode", "mixed")
	// The pod's cgroups are below the unit's, which is rkt's to divide.
	f.set("Delegate", "yes")
	if s.Slice != "" {
		f.units("Slice", []string{s.Slice})
	}
	f.set("Restart", s.Restart)
	if s.RestartAfter > 0 {
		f.set("RestartSec", span(s.RestartAfter))
	}
	f.set("SuccessExitStatus", cleanEnds)
	f.set("TimeoutStartSec", span(s.Start))
	f.set("TimeoutStopSec", span(s.Stop))
	f.line("")
	f.line("[Install]")
	f.units("WantedBy", s.WantedBy)
	return f.b.String(), f.err
}

// file is a unit's text while it is written, and the first fault of it.
type file struct {
	b   strings.Builder
	err error
}

func (f *file) line(s string) { f.b.WriteString(s + "\n") }

func (f *file) set(key, value string) {
	f.check(key, len(value))
	f.line(key + "=" + value)
}

func (f *file) check(key string, size int) {
	if size+len(key)+1 >= maxLine {
		f.fail(fmt.Errorf("its %s= is longer than %d bytes", key, maxLine))
	}
}

func (f *file) fail(err error) {
	if f.err == nil {
		f.err = fmt.Errorf("cannot write a unit: %w", err)
	}
}

// units sets key to names of units, if there are any.
func (f *file) units(key string, names []string) {
	for _, n := range names {
		if err := CheckName(n); err != nil {
			f.fail(err)
		}
	}
	if len(names) > 0 {
		f.set(key, strings.Join(names, " "))
	}
}

// exec sets ExecStart=, each line of words on one of its own.
func (f *file) exec(lines [][]string) {
	size := 0
	f.b.WriteString("ExecStart=")
	for i, words := range lines {
		if i > 0 {
			f.b.WriteString(" \\\n\t")
		}
		for j, w := range words {
			if i == 0 && j == 0 {
				if err := checkProgram(w); err != nil {
					f.fail(err)
				}
			}
			quoted, err := Word(w)
			if err != nil {
				f.fail(err)
			}
			if j > 0 {
				f.b.WriteString(" ")
			}
			f.b.WriteString(quoted)
			size += len(quoted) + 3
		}
	}
	f.check("ExecStart", size)
	f.line("")
}

// checkProgram is for the program of a command, of which systemd expands no
// variable and allows few quotes.
func checkProgram(path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "$'\"\\") || strings.ContainsFunc(path, unicode.IsControl) {
		return fmt.Errorf("systemd starts no program of the path %q", path)
	}
	return nil
}

// Word is one argument of a command as a unit file has it: systemd splits,
// unquotes and unescapes it, expands specifiers (%) and then variables ($), and
// gives the program s. What is not UTF-8 cannot be told systemd.
func Word(s string) (string, error) {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("the argument %q is not UTF-8", s)
	}
	var b strings.Builder
	quote := s == ""
	for _, c := range s {
		switch {
		case c == '%' || c == '$':
			b.WriteRune(c)
			b.WriteRune(c)
		case c == '"' || c == '\\':
			quote = true
			b.WriteString(`\` + string(c))
		case c < ' ' || c == 0x7f:
			quote = true
			fmt.Fprintf(&b, `\x%02x`, c)
		case c < 0x80 && !plain(c):
			quote = true
			b.WriteRune(c)
		case c >= 0x80 && !unicode.IsPrint(c):
			// What turns text around, or cannot be seen, would not be read as what
			// it is by whoever looks at the file.
			quote = true
			for _, x := range []byte(string(c)) {
				fmt.Fprintf(&b, `\x%02x`, x)
			}
		default:
			b.WriteRune(c)
		}
	}
	if quote {
		return `"` + b.String() + `"`, nil
	}
	return b.String(), nil
}

// plain are ASCII characters that mean nothing to systemd, in whatever place.
func plain(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~/:=,+@", c)
}

// path is a word of settings that are lists of paths: no escapes of control
// characters, no variables.
func path(p string) string {
	p = strings.ReplaceAll(p, "%", "%%")
	if !strings.ContainsFunc(p, func(c rune) bool { return c < 0x80 && c != '%' && !plain(c) }) {
		return p
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p) + `"`
}

// text is s on one line that does not go on on the next.
func text(s string) string {
	clean := strings.TrimSpace(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s))
	if strings.HasSuffix(clean, `\`) {
		clean = strconv.Quote(clean)
	}
	return clean
}

// span is a time span of systemd.time(7).
func span(d time.Duration) string {
	switch {
	case d == Infinity:
		return "infinity"
	case d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(d.Microseconds(), 10) + "us"
}

// maxName bounds a unit's name (UNIT_NAME_MAX).
const maxName = 255

// kinds are those of units, by which their names end.
func kinds() []string {
	return []string{"service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope"}
}

// CheckName tells whether s can be a unit's name (systemd.unit(5)).
func CheckName(s string) error {
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 || !slices.Contains(kinds(), s[dot+1:]) {
		return fmt.Errorf("%q names no unit: its name ends in what it is, such as .service or .target", s)
	}
	const more = ":-_.\\@"
	name := s[:dot]
	switch {
	case name == "" || name[0] == '@' || len(s) > maxName:
		return fmt.Errorf("%q names no unit: a name has 1 to %d characters", s, maxName)
	case strings.HasSuffix(name, "@"):
		return errors.New(s + " is a template, of which a unit is NAME@INSTANCE")
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') && !strings.ContainsRune(more, c) {
			return fmt.Errorf("%q names no unit: a name has no %q", s, c)
		}
	}
	return nil
}
