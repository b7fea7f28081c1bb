// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The committed tables are what the generator makes of the x/sys in go.mod.
func TestTablesAreCurrent(t *testing.T) {
	dir, err := moduleDir()
	if err != nil {
		t.Skip(err)
	}
	files, err := generate(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../..", out, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: run go run ./tools/syscalls", name)
		}
	}
}
