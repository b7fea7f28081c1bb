// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package escape

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	return strings.TrimSpace(string(b))
}

// readAll reads until the end, which at a terminal is an error.
func readAll(r io.Reader) string {
	b, _ := io.ReadAll(r)
	return string(b)
}
