// SPDX-License-Identifier: Apache-2.0

package binfmt

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// What Debian's qemu-user-static registers, as the kernel prints it.
const (
	aarch64 = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n" +
		"magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
	s390x = "enabled\ninterpreter /usr/libexec/qemu-binfmt/s390x-binfmt-P\nflags: POCF\noffset 0\n" +
		"magic 7f454c4602020100000000000000000000020016\nmask ffffffffffffff00fffffffffffffffffffeffff\n"
	python = "enabled\ninterpreter /usr/bin/python3.11\nflags: \noffset 0\nmagic a70d0d0a\n"
)

func TestRuns(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"status": "enabled\n", "register": "", "qemu-aarch64": aarch64, "qemu-s390x": s390x, "python3.11": python,
		"ending": "enabled\ninterpreter /x\nflags: \nextension .exe\n", "odd": "enabled\noffset 99999999999999999999\nmagic zz\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for arch, want := range map[string]bool{"amd64": true, "386": true, "arm64": true, "s390x": true, "arm": false, "riscv64": false, "ppc64le": false, "nonesuch": false} {
		if got := runs(arch, "amd64", dir); got != want {
			t.Errorf("%s: %v", arch, got)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), []byte("disabled\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if runs("arm64", "amd64", dir) || runs("arm64", "amd64", t.TempDir()) {
		t.Error("without binfmt_misc programs for arm64 run")
	}
	if !Runs(runtime.GOARCH) {
		t.Error("this machine's programs do not run")
	}
}

func FuzzFits(f *testing.F) {
	for _, text := range []string{aarch64, s390x, python, "", "magic", "offset -1\nmagic 00"} {
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text string) { fits(text, make([]byte, 64)) })
}
