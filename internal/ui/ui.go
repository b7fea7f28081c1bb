// SPDX-License-Identifier: Apache-2.0

// Package ui is the only package that knows a terminal: it prints tables, JSON,
// times, sizes and messages, and it sees to it that nothing an image or a
// manifest says can steer the terminal it is shown on.
//
// Rules of what is printed:
//   - what a verb is asked for goes to Out, and nothing else does;
//   - everything else goes to Err, one line a message, prefixed `<verb>: `;
//   - strings from images, manifests, registries and pods pass through Escape;
//   - JSON is never escaped for terminals: JSON has its own escapes.
package ui

import (
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Streams are the three standard streams of a program.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Std returns the process's own streams.
func Std() Streams { return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// IsTerminal reports whether w is a file that is a terminal.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Message prints one line `prefix: text`; prefix may be empty. Control
// characters in text are escaped, so a message is always one line.
func Message(w io.Writer, prefix, text string) {
	var b strings.Builder
	if prefix != "" {
		b.WriteString(prefix)
		b.WriteString(": ")
	}
	b.WriteString(Escape(text))
	b.WriteByte('\n')
	io.WriteString(w, b.String())
}
