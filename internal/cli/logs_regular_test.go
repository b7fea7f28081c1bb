// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenRegular: of what a pod may put in a log's place only a file is read.
func TestOpenRegular(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	f, err := openRegular(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, name := range []string{"pipe", "link", "."} {
		if f, err := openRegular(dir + "/" + name); err == nil {
			f.Close()
			t.Errorf("%s is opened", name)
		}
	}
}
