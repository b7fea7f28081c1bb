// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
)

// defaultPath is searched when the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// LookupProgram finds the program name below the root behind descriptor root,
// as execvp(3) would from inside: a name with a slash is taken relative to
// dir, another is searched in PATH of env.
func LookupProgram(root int, name, dir string, env []string) (string, error) {
	if name == "" {
		return "", errors.New("cannot find a program: its name is empty")
	}
	if strings.Contains(name, "/") {
		if !strings.HasPrefix(name, "/") {
			name = dir + "/" + name
		}
		if err := executable(root, name); err != nil {
			return "", fmt.Errorf("cannot execute %q: %w", name, cause(err))
		}
		return name, nil
	}
	path := defaultPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	var denied error
	for d := range strings.SplitSeq(path, ":") {
		if !strings.HasPrefix(d, "/") {
			d = dir + "/" + d
		}
		err := executable(root, d+"/"+name)
		if err == nil {
			return d + "/" + name, nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && denied == nil {
			denied = fmt.Errorf("cannot execute %q: %w", d+"/"+name, cause(err))
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("cannot find program %q: not in the image's %s", name, path)
}

// cause is err without the path, which the message has already.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func executable(root int, path string) error {
	st, err := statInRoot(root, path)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	if st.Mode&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}

// Explain says more of why path could not be executed: the interpreter of a
// script, or the dynamic loader of a program, that the image does not have. It
// returns "" if it has nothing to add.
func Explain(root int, path string, errno error) string {
	if !errors.Is(errno, unix.ENOENT) && !errors.Is(errno, unix.ENOEXEC) {
		return ""
	}
	fd, err := safepath.OpenInRoot(root, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	head := make([]byte, 256)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	if text, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ := strings.Cut(string(text), "\n")
		interp, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		return fmt.Sprintf("the script's interpreter %q is not in the image", interp)
	}
	interp, foreign, ok := inspectELF(f, head)
	switch {
	case !ok:
		return "it is neither a program for this machine nor a script with a #! line"
	case interp != "":
		return fmt.Sprintf("its dynamic loader %q is not in the image", interp)
	case foreign && errors.Is(errno, unix.ENOEXEC):
		return "it is a program for another kind of machine"
	}
	return ""
}

// inspectELF reads of an ELF file what Explain tells: its interpreter
// (PT_INTERP) and whether it is of another machine than this program. Only
// 64-bit little-endian files are looked into.
func inspectELF(f *os.File, head []byte) (interp string, foreign, ok bool) {
	if len(head) < 64 || string(head[:4]) != "\x7fELF" {
		return "", false, false
	}
	if head[4] != 2 || head[5] != 1 {
		return "", true, true
	}
	le := binary.LittleEndian
	if le.Uint16(head[18:]) != machine() {
		return "", true, true
	}
	phoff, size, n := int64(le.Uint64(head[32:])), le.Uint16(head[54:]), le.Uint16(head[56:])
	ph := make([]byte, 56)
	for i := range int64(n) {
		if _, err := f.ReadAt(ph, phoff+i*int64(size)); err != nil {
			break
		}
		const ptInterp = 3
		if length := le.Uint64(ph[32:]); le.Uint32(ph) == ptInterp && length < 4096 {
			b := make([]byte, length)
			if _, err := f.ReadAt(b, int64(le.Uint64(ph[8:]))); err != nil {
				break
			}
			return strings.TrimRight(string(b), "\x00"), false, true
		}
	}
	return "", false, true
}

// machine is how ELF files name the kind of machine that this program is for.
func machine() uint16 {
	if runtime.GOARCH == "arm64" {
		return 183 // EM_AARCH64
	}
	return 62 // EM_X86_64
}
