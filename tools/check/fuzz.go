// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// fuzz runs each target for a short while: long enough to catch a parser that
// breaks easily, and to prove that the targets still build and their corpora
// still pass. A package's program is built once, for all of its targets, and as
// many packages are at work as there are processors.
func fuzz(fuzztime time.Duration) func(*summary) (string, error) {
	return func(sum *summary) (string, error) {
		targets, count := map[string][]string{}, 0
		decl := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
		err := testFiles(func(path string, text []byte) {
			for _, m := range decl.FindAllSubmatch(text, -1) {
				dir := filepath.Dir(path)
				targets[dir] = append(targets[dir], string(m[1]))
				count++
			}
		})
		if err != nil {
			return "", err
		}
		tmp, err := os.MkdirTemp("", "rkt-fuzz-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(tmp)
		// Where `go test` keeps what it found worth trying again.
		cache, err := exec.Command("go", "env", "GOCACHE").Output()
		if err != nil {
			return "", err
		}
		corpora := filepath.Join(strings.TrimSpace(string(cache)), "fuzz", "github.com/rkt/rkt")
		var (
			mu  sync.Mutex
			bad []string
		)
		fuzzPackage := func(dir string) {
			program := filepath.Join(tmp, strings.ReplaceAll(dir, "/", "-"))
			out, err := exec.Command("go", "test", "-c", "-fuzz", ".", "-o", program, "./"+dir).CombinedOutput()
			for _, name := range targets[dir] {
				failed := err != nil
				if !failed {
					out, failed = fuzzTarget(program, dir, filepath.Join(corpora, dir), name, fuzztime)
				}
				mu.Lock()
				if failed {
					os.Stdout.Write(out)
					bad = append(bad, dir+" "+name)
				} else {
					sum.passed++
				}
				mu.Unlock()
			}
			os.Remove(program)
		}
		dirs := make(chan string)
		var workers sync.WaitGroup
		for range runtime.NumCPU() {
			workers.Go(func() {
				for dir := range dirs {
					fuzzPackage(dir)
				}
			})
		}
		for _, dir := range slices.Sorted(maps.Keys(targets)) {
			dirs <- dir
		}
		close(dirs)
		workers.Wait()
		if bad != nil {
			return "", errors.New(strings.Join(bad, ", "))
		}
		return fmt.Sprintf("%d targets, %s each", count, fuzztime), nil
	}
}

// fuzzTarget runs one target of a built test program, as `go test` would.
func fuzzTarget(program, dir, corpus, name string, fuzztime time.Duration) (out []byte, failed bool) {
	cmd := exec.Command(program, "-test.run", "^$", "-test.fuzz", "^"+name+"$", "-test.fuzztime", fuzztime.String(),
		"-test.parallel", "1", "-test.fuzzcachedir", corpus)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	// On a busy machine the fuzzing engine may take the end of its own time for a
	// failure; a real one names the input that made it fail.
	late := bytes.Contains(out, []byte("context deadline exceeded")) && !bytes.Contains(out, []byte("Failing input"))
	return out, err != nil && !late
}
