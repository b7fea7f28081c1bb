// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// A contender is one way of doing what a row measures.
type contender struct {
	name    string
	argv    []string
	prepare func() error // before each run, not measured
	check   func(out []byte) error
}

// A result is what one contender needed, in a row's unit.
type result struct {
	name    string
	unit    string // "ms", "s" or "KiB"
	samples []float64
	absent  string // why there are no samples
}

func (r result) least() float64 { return slices.Min(r.samples) }

func (r result) median() float64 {
	s := slices.Sorted(slices.Values(r.samples))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// race runs the contenders by turns, there and back (A B C, C B A, …), so that
// nobody always runs in the wake of the same other: after podman, say, which
// removes files. Each runs n times after one round that does not count. It
// returns wall times from before the fork to after the wait, in milliseconds. A
// contender that fails in the first round is out, and the result says why; a
// later failure is an error.
func race(n int, contenders ...contender) ([]result, error) {
	results := make([]result, len(contenders))
	for i, c := range contenders {
		results[i] = result{name: c.name, unit: "ms"}
	}
	for round := range n + 1 {
		for at := range contenders {
			i := at
			if round%2 == 1 {
				i = len(contenders) - 1 - at
			}
			c := contenders[i]
			if results[i].absent != "" {
				continue
			}
			took, err := once(c)
			if err == nil && took > time.Second {
				fmt.Fprintf(os.Stderr, "  %s: %v\n", c.name, took.Round(time.Millisecond))
			}
			switch {
			case err != nil && round == 0 && !strings.HasPrefix(c.name, "rkt"):
				results[i].absent = firstLine(err.Error())
			case err != nil:
				return nil, fmt.Errorf("%s: %w", c.name, err)
			case round > 0:
				results[i].samples = append(results[i].samples, float64(took.Nanoseconds())/1e6)
			}
		}
	}
	return results, nil
}

func once(c contender) (time.Duration, error) {
	if c.prepare != nil {
		if err := c.prepare(); err != nil {
			return 0, err
		}
	}
	path, err := exec.LookPath(c.argv[0])
	if err != nil {
		return 0, fmt.Errorf("%s is not installed", c.argv[0])
	}
	// A file rather than a pipe: no goroutine of ours runs meanwhile.
	out, err := os.CreateTemp(os.Getenv(inside), "out-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	attr := &os.ProcAttr{Files: []*os.File{null, out, out}, Env: os.Environ()}
	start := time.Now()
	p, err := os.StartProcess(path, c.argv, attr)
	if err != nil {
		return 0, err
	}
	state, err := p.Wait()
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return 0, err
	}
	if !state.Success() {
		return 0, fmt.Errorf("%s: %s: %s", strings.Join(c.argv, " "), state, bytes.TrimSpace(text))
	}
	if c.check != nil {
		if err := c.check(text); err != nil {
			return 0, err
		}
	}
	return took, nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
