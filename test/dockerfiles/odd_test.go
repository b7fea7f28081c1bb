// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfiles

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// capNetBind is setcap's cap_net_bind_service=ep.
const capNetBind = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// makeSpecial makes what a repository keeps no files of.
func makeSpecial(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, "tree", name) }
	text := func(name string, mode os.FileMode) error {
		return errors.Join(os.WriteFile(at(name), []byte(name), 0o600), os.Chmod(at(name), mode))
	}
	err := errors.Join(
		os.MkdirAll(at("empty"), 0o755), os.Chmod(at("."), 0o755), os.Chmod(at("empty"), 0o777|os.ModeSticky),
		text("a", 0o644), os.Link(at("a"), at("b")),
		text("suid", 0o755|os.ModeSetuid), text("sgid", 0o755|os.ModeSetgid), text("none", 0),
		text("capable", 0o755), unix.Setxattr(at("capable"), "security.capability", []byte(capNetBind), 0),
		text("noted", 0o644), unix.Setxattr(at("noted"), "user.note", []byte("a\x00b"), 0),
		os.Symlink("/nowhere", at("dangling")), text(strings.Repeat("n", 255), 0o644), text("with space\tand \u00e9", 0o644),
		os.Truncate(at("none"), 1<<20), // a hole
	)
	if err != nil {
		t.Fatal(err)
	}
}

// makeOdd makes tars with what is easily lost.
func makeOdd(t *testing.T, dir string) {
	t.Helper()
	long := strings.Repeat("long-directory-name/", 12)
	at := time.Unix(1_500_000_000, 0)
	odd := packed(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./suid", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 5},
		tar.Header{Name: "sgid-dir/", Typeflag: tar.TypeDir, Mode: 0o2775, Gid: 50},
		tar.Header{Name: "sgid-dir/f", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 70000, Gid: 3_000_000_000, Size: 5},
		tar.Header{Name: "hard", Typeflag: tar.TypeLink, Mode: 0o4755, Linkname: "suid"},
		tar.Header{Name: "soft", Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "../../etc", Uid: 7, Gid: 8},
		tar.Header{Name: "capable", Typeflag: tar.TypeReg, Mode: 0o755, Size: 5, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": capNetBind}},
		tar.Header{Name: "noted", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5, PAXRecords: map[string]string{"SCHILY.xattr.user.note": "n"}},
		tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o622},
		tar.Header{Name: "missing/parents/f", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		tar.Header{Name: long, Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: long + strings.Repeat("n", 255), Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		tar.Header{Name: "twice", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5, ModTime: at},
	)
	over := packed(t,
		tar.Header{Name: "file/", Typeflag: tar.TypeDir, Mode: 0o750},
		tar.Header{Name: "file/in", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		tar.Header{Name: "dir/new", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 3},
	)
	for name, b := range map[string][]byte{"odd.tar": odd, "over.tar": over, "empty.tar": packed(t)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("xz", "-k", filepath.Join(dir, "odd.tar")).CombinedOutput(); err != nil {
		t.Skipf("needs xz: %v %s", err, out)
	}
}

func packed(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
