// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A report is the rows that were measured.
type report struct {
	rows []measured
}

type measured struct {
	row
	results []result
}

func (r *report) add(row row, results []result) { r.rows = append(r.rows, measured{row, results}) }

// ratio is rkt's least over the peer's, or 0 if the peer was not there.
func (m measured) ratio() float64 {
	for _, res := range m.results {
		if res.name == m.peer && res.absent == "" {
			return m.results[0].least() / res.least()
		}
	}
	return 0
}

// verdict says whether the budget was kept.
func (m measured) verdict() string {
	got, of := m.results[0].least(), m.results[0].unit
	if m.peer != "" {
		if got, of = m.ratio(), "× "+m.peer; got == 0 {
			return "not measured: " + m.peer + " is absent"
		}
	}
	word := "MISSED"
	switch {
	case m.ideal > 0 && got <= m.ideal:
		word = "kept, and the ideal"
	case got <= m.budget:
		word = "kept"
	}
	ideal := ""
	if m.ideal > 0 {
		ideal = fmt.Sprintf(", ideal %s", number(m.ideal))
	}
	return fmt.Sprintf("%s %s (budget %s%s): %s", number(got), of, number(m.budget), ideal, word)
}

func number(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// markdown is the table; plot names an image to show above it.
func (r *report) markdown(plot string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks of %s\n\n%s\n\n", time.Now().Format("2006-01-02"), machine())
	if plot != "" {
		fmt.Fprintf(&b, "![least times](%s)\n\n", plot)
	}
	b.WriteString("Each row was measured by turns, rkt and its peers, in one run; `make bench` repeats it. The budget is checked against the least of all runs.\n\n")
	b.WriteString("| row | contender | least | median | runs | rkt ÷ contender |\n|---|---|---:|---:|---:|---:|\n")
	for _, m := range r.rows {
		for i, res := range m.results {
			title := ""
			if i == 0 {
				title = m.title
			}
			if res.absent != "" {
				fmt.Fprintf(&b, "| %s | %s | – | – | 0 | absent: %s |\n", title, res.name, strings.ReplaceAll(res.absent, "|", "/"))
				continue
			}
			ratio := ""
			if i > 0 {
				ratio = number(m.results[0].least() / res.least())
			}
			fmt.Fprintf(&b, "| %s | %s | %s %s | %s %s | %d | %s |\n", title, res.name,
				number(res.least()), res.unit, number(res.median()), res.unit, len(res.samples), ratio)
		}
	}
	b.WriteString("\n| budget of SPECIFICATION.md | outcome |\n|---|---|\n")
	for _, m := range r.rows {
		fmt.Fprintf(&b, "| %s | %s |\n", m.title, m.verdict())
	}
	return b.String()
}

// write writes DATE.md and DATE.svg into dir.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	date := time.Now().Format("2006-01-02")
	if err := os.WriteFile(filepath.Join(dir, date+".svg"), []byte(r.svg()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, date+".md"), []byte(r.markdown(date+".svg")), 0o644)
}

// machine describes where the numbers come from.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	parts := []string{fmt.Sprintf("%d cores", runtime.NumCPU()), "Linux " + unix.ByteSliceToString(u.Release[:]), runtime.GOARCH, runtime.Version()}
	for _, peer := range []string{"crun", "runc", "podman", "systemd-nspawn"} {
		if out, err := exec.Command(peer, "--version").Output(); err == nil {
			for _, word := range strings.Fields(string(out)) {
				if word[0] >= '0' && word[0] <= '9' {
					parts = append(parts, peer+" "+word)
					break
				}
			}
		}
	}
	return strings.Join(parts, ", ") + "."
}
