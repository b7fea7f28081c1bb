// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOwnProgram(t *testing.T) {
	native := make([]byte, 64)
	copy(native, "\x7fELF")
	binary.LittleEndian.PutUint16(native[18:], machine())
	elf, foreign := string(native), strings.Repeat("\x7fELF", 16)
	files := map[string]string{
		"bin/elf": elf, "proc/.keep": "", "bin/script": "#! /bin/elf -x\n", "bin/twice": "#!/bin/script\n", "bin/link": "-> elf", "usr/up": "-> ../../../bin/elf",
		"bin/exe": "-> /proc/self/exe", "bin/to-exe": "#!/proc/self/exe\n", "bin/behind": "#!/bin/exe\n", "bin/loop": "#!/bin/loop\n", "bin/thrice": "#!/bin/to-exe x",
		"bin/relative": "#!bin/elf\n", "bin/text": "hello\n", "bin/empty": "", "bin/none": "#!\n", "bin/cwd": "#!./elf\n", "bin/tab": "#!\t/bin/elf\targ", "bin/foreign": foreign, "bin/short": "\x7fELF",
	}
	root := tree(t, files)
	if err := unix.Unlinkat(root, "proc/.keep", 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifoat(root, "bin/fifo", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"elf": true, "script": true, "twice": true, "link": true, "../usr/up": true, "tab": true,
		"exe": false, "to-exe": false, "behind": false, "loop": false, "thrice": false, "relative": false,
		"text": false, "empty": false, "none": false, "cwd": false, "missing": false, "fifo": false, "../bin": false, "foreign": false, "short": false,
	} {
		if got := OwnProgram(root, "/bin/"+name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	// A file of the image in /proc may be anything else once that is mounted.
	for name, content := range map[string]string{"proc/self/exe": elf, "proc/2": "-> /bin"} {
		files := map[string]string{"bin/elf": elf, name: content}
		if root := tree(t, files); OwnProgram(root, "/bin/elf") || OwnProgram(root, "/"+name) {
			t.Errorf("with %s in the image a program is taken for its own", name)
		}
	}
	if root := tree(t, map[string]string{"bin/elf": elf}); OwnProgram(root, "/bin/elf") {
		t.Error("without /proc")
	}
	if root := tree(t, map[string]string{"bin/elf": elf, "proc": "-> /bin"}); OwnProgram(root, "/bin/elf") {
		t.Error("/proc is a link to /bin")
	}
}

// What lies on another mount could be changed by somebody else.
func TestOwnProgramOfAnotherMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	elf := make([]byte, 64)
	copy(elf, "\x7fELF")
	binary.LittleEndian.PutUint16(elf[18:], machine())
	root := tree(t, map[string]string{"bin/elf": string(elf), "proc/.keep": "", "volume/elf": string(elf)})
	if err := unix.Unlinkat(root, "proc/.keep", 0); err != nil {
		t.Fatal(err)
	}
	if !OwnProgram(root, "/volume/elf") {
		t.Fatal("before the mount")
	}
	dir, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(root))
	if err != nil || !strings.HasPrefix(dir, "/") {
		t.Fatal(dir, err)
	}
	if err := unix.Mount(dir+"/bin", dir+"/volume", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir+"/volume", unix.MNT_DETACH) })
	if OwnProgram(root, "/volume/elf") {
		t.Error("a file of another mount is taken for the image's own")
	}
}
