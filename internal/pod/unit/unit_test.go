// SPDX-License-Identifier: Apache-2.0

package unit

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// words reads the value of ExecStart= as systemd.syntax(7) and systemd.service(5)
// say that systemd does; test/systemd asks systemd itself.
func words(t *testing.T, s string) (list []string) {
	t.Helper()
	s = strings.ReplaceAll(s, "\\\n", " ")
	if strings.ContainsRune(s, '\n') {
		t.Fatalf("%q is more than one line", s)
	}
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return list
		}
		var raw []byte
		quote := byte(0)
		bare := s
		for s != "" {
			c := s[0]
			switch {
			case quote == 0 && (c == '"' || c == '\''):
				quote, s = c, s[1:]
				continue
			case quote != 0 && c == quote:
				quote, s = 0, s[1:]
				continue
			case quote == 0 && (c == ' ' || c == '\t'):
			case c == '\\':
				if len(s) >= 4 && s[1] == 'x' {
					n, err := strconv.ParseUint(s[2:4], 16, 8)
					if err != nil || n == 0 {
						t.Fatalf("bad escape in %q", s)
					}
					raw, s = append(raw, byte(n)), s[4:]
					continue
				}
				if len(s) < 2 || s[1] != '\\' && s[1] != '"' {
					t.Fatalf("bad escape in %q", s)
				}
				raw, s = append(raw, s[1]), s[2:]
				continue
			default:
				raw, s = append(raw, c), s[1:]
				continue
			}
			break
		}
		if quote != 0 {
			t.Fatal("a quote is open")
		}
		if strings.HasPrefix(bare, ";") && len(raw) == 1 || strings.HasPrefix(bare, "#") {
			t.Fatalf("%q separates or comments", bare)
		}
		list = append(list, expand(t, expand(t, string(raw), '%'), '$'))
	}
}

// expand undoes doubled characters; alone they would stand for something.
func expand(t *testing.T, s string, c byte) string {
	t.Helper()
	parts := strings.Split(s, string([]byte{c, c}))
	for _, p := range parts {
		if strings.IndexByte(p, c) >= 0 {
			t.Fatalf("%q has a lone %c", s, c)
		}
	}
	return strings.Join(parts, string(c))
}

func exec(t *testing.T, text string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\nExecStart=")
	value, rest, also := strings.Cut(rest, "\nKillMode=mixed\nDelegate=yes\n")
	if !ok || !also || strings.Contains(rest, "KillMode") {
		t.Fatalf("not one ExecStart=:\n%s", text)
	}
	return value
}

func FuzzExec(f *testing.F) {
	for _, s := range []string{"", ";", "#", "a b", `\`, `"`, "'", "$HOME", "${A}", "$$", "%n", "%%", "%", "\n", "a\nKillMode=none\n", "\t", "é", "\u202e", "\u2028", "-x", "@x", "a\\", "[Service]", "\x7f", "\x01", "`x`", "~", "*", "\xff"} {
		f.Add(s, "x")
		f.Add("y", s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		u := Service{Written: a, Description: b, Restart: "no", Exec: [][]string{{"/bin/rkt", "run"}, {a, b}, {b}}, Mounted: []string{"/" + a}}
		text, err := u.File()
		if !utf8.ValidString(a) || !utf8.ValidString(b) || strings.ContainsRune(a+b, 0) {
			if err == nil {
				t.Errorf("%q %q: said in a unit", a, b)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"/bin/rkt", "run", a, b, b}
		if got := words(t, exec(t, text)); !slices.Equal(got, want) {
			t.Errorf("%q arrives as %q:\n%s", want, got, text)
		}
		// Nothing has made a line or a section of its own.
		var lines []string
		for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
			key, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			lines = append(lines, key)
		}
		lines = slices.DeleteFunc(lines[1:], func(l string) bool { return l == "RequiresMountsFor" })
		if want := "[Unit] Description  [Service] Type ExecStart KillMode Delegate Restart SuccessExitStatus TimeoutStartSec TimeoutStopSec  [Install]"; strings.Join(lines, " ") != want {
			t.Errorf("the unit is of the lines %q:\n%s", lines, text)
		}
	})
}

func TestFile(t *testing.T) {
	u := Service{
		Written: "Written by a test.", Description: "50% of\nit", Man: []string{"rkt-run(1)"},
		After: []string{"a.service", "b.target"}, Requires: []string{"a.service"}, WantedBy: []string{"multi-user.target"},
		Mounted: []string{"/var/lib/rkt", `/a b"c\d%`, "/not\nsaid"},
		Notify:  true, Exec: [][]string{{"/usr/bin/rkt", "run"}, {"--net=host"}, {"--", "$A"}},
		Slice: "machine.slice", Restart: "on-failure", RestartAfter: 1500 * time.Millisecond, Start: Infinity, Stop: time.Minute,
	}
	const want = `# Written by a test.
[Unit]
Description=50%% of it
Documentation=man:rkt-run(1)
Requires=a.service
After=a.service b.target
RequiresMountsFor=/var/lib/rkt
RequiresMountsFor="/a b\"c\\d%%"

[Service]
Type=notify
ExecStart=/usr/bin/rkt run \
	--net=host \
	-- $$A
KillMode=mixed
Delegate=yes
Slice=machine.slice
Restart=on-failure
RestartSec=1500000us
SuccessExitStatus=129 130 141 143
TimeoutStartSec=infinity
TimeoutStopSec=60s

[Install]
WantedBy=multi-user.target
`
	if got, err := u.File(); err != nil || got != want {
		t.Errorf("%v, got\n%s", err, got)
	}
}

// TestFileRefuses: what systemd would read as something else, or not at all.
func TestFileRefuses(t *testing.T) {
	for name, u := range map[string]Service{
		"an argument that is no text": {Exec: [][]string{{"/bin/rkt", "\xff"}}},
		"a program by name":           {Exec: [][]string{{"rkt"}}},
		"a program's variable":        {Exec: [][]string{{"/opt/$A/rkt"}}},
		"a command that is too long":  {Exec: [][]string{{"/bin/rkt", strings.Repeat("x", maxLine)}}},
		"many long lines":             {Exec: slices.Concat([][]string{{"/bin/rkt"}}, slices.Repeat([][]string{{strings.Repeat("x", 1<<16)}}, 16))},
		"a unit's name":               {Exec: [][]string{{"/bin/rkt"}}, After: []string{"a b.service"}},
		"a slice":                     {Exec: [][]string{{"/bin/rkt"}}, Slice: "x"},
	} {
		if text, err := u.File(); err == nil || !strings.HasPrefix(err.Error(), "cannot write a unit: ") {
			t.Errorf("%s: %v\n%.200s", name, err, text)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, s := range []string{"a.service", "-.slice", "machine.slice", "dev-disk-by\\x2duuid.device", "a@b.service", "a.b.target", "x:y_z.socket"} {
		if err := CheckName(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "a", ".service", "a.b", "a b.service", "a/b.service", "@b.service", "a@.service", "a%i.service", "a\n.service", strings.Repeat("a", 250) + ".service"} {
		if CheckName(s) == nil {
			t.Errorf("%q is a unit's name", s)
		}
	}
}
