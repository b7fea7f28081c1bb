// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

// summary is what all steps together passed and skipped.
type summary struct {
	passed  int
	skipped map[string][]string // reason → what
}

func (s *summary) skip(why, what string) {
	if s.skipped == nil {
		s.skipped = map[string][]string{}
	}
	if !slices.Contains(s.skipped[why], what) {
		s.skipped[why] = append(s.skipped[why], what)
	}
}

func (s *summary) print(w io.Writer) {
	if s.skipped == nil {
		fmt.Fprintln(w, "\nNothing was skipped.")
		return
	}
	fmt.Fprintln(w, "\nSkipped, and why:")
	for _, why := range slices.Sorted(maps.Keys(s.skipped)) {
		fmt.Fprintf(w, "  %s\n", why)
		for _, what := range s.skipped[why] {
			fmt.Fprintf(w, "      %s\n", what)
		}
	}
}

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

var reason = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)`)

// goTest runs `go test -json` with args, shows the output of what failed, and
// enters what passed and what was skipped into sum.
func goTest(sum *summary, args []string, env ...string) (string, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	var passed, skipped, failed int
	output := map[string]*strings.Builder{} // package + " " + test → its lines so far
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		key := e.Package + " " + e.Test
		if output[key] == nil {
			output[key] = &strings.Builder{}
		}
		switch e.Action {
		case "output":
			output[key].WriteString(e.Output)
			continue
		case "build-output":
			fmt.Print(e.Output)
			continue
		case "pass":
			if e.Test != "" {
				passed++
			}
		case "skip":
			if e.Test != "" {
				skipped++
				sum.skip(why(output[key].String()), path.Base(e.Package)+"."+e.Test)
			}
		case "fail":
			if e.Test != "" {
				failed++
			}
			fmt.Print(output[key])
		default:
			continue
		}
		delete(output, key)
	}
	err = errors.Join(lines.Err(), cmd.Wait())
	sum.passed += passed
	note := fmt.Sprintf("%d passed, %d skipped", passed, skipped)
	if err != nil {
		return "", fmt.Errorf("%d failed, %s: %w", failed, note, err)
	}
	return note, nil
}

// why finds the reason in a skipped test's output.
func why(out string) string {
	last := "no reason given"
	for line := range strings.Lines(out) {
		if m := reason.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			last = m[1]
		}
	}
	return last
}
