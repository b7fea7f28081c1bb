// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
)

// maxInterpreters is how many scripts may run each other: as many as the kernel
// follows (execve(2)).
const maxInterpreters = 5

// OwnProgram tells whether executing program, an absolute path below root, is
// sure to execute a file of the image. It is not where the path, or that of the
// interpreter of a script, could lead into /proc: until a program is executed,
// /proc/self/exe is that of whoever starts it. An app that got stage0's this way
// could write to the host's own rkt (CVE-2019-5736).
//
// Preconditions: /proc is not mounted in root yet. Nothing else writes to root's
// mount; what is of another, such as a volume, is not taken for the image's own.
func OwnProgram(root int, program string) bool {
	if !emptyDir(root, "proc") {
		return false // what the image has there could be a step of the path now
	}
	for range maxInterpreters {
		fd, err := safepath.OpenInMount(root, program, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
		if err != nil {
			return false
		}
		head := make([]byte, 256) // what the kernel looks at (BINPRM_BUF_SIZE)
		n, err := unix.Read(fd, head)
		unix.Close(fd)
		if err != nil {
			return false
		}
		head = head[:max(n, 0)]
		if bytes.HasPrefix(head, []byte("\x7fELF")) {
			// One for another machine has an interpreter of the host's choice
			// (binfmt_misc), whose path leads through the image.
			return len(head) >= 20 && binary.LittleEndian.Uint16(head[18:]) == machine()
		}
		line, script := bytes.CutPrefix(head, []byte("#!"))
		if !script {
			return false
		}
		line = bytes.TrimLeft(line, " \t")
		if end := bytes.IndexAny(line, " \t\n\x00"); end >= 0 {
			line = line[:end]
		} // else too long, which the kernel refuses
		if len(line) == 0 || line[0] != '/' {
			return false
		}
		program = string(line)
	}
	return false
}

// emptyDir tells whether name is an empty directory of root's own mount.
func emptyDir(root int, name string) bool {
	fd, err := safepath.OpenInMount(root, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	_, err = f.Readdirnames(1)
	return errors.Is(err, io.EOF)
}
