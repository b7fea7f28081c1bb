// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io/fs"
	"strings"

	"github.com/ulikunitz/xz"
)

// deb is the package as deb(5) wants it: an ar archive of the format's version, the
// control archive and the data archive, in this order.
func (m meta) deb(t tree) ([]byte, error) {
	control := tree{}
	control.file("control", 0o644, []byte(m.control(t)))
	control.file("md5sums", 0o644, md5sums(t))
	if m.scripts {
		scripts, err := debScripts(t)
		if err != nil {
			return nil, err
		}
		for name, text := range scripts {
			control.file(name, 0o755, []byte(text))
		}
	}
	control, err := control.settled()
	if err != nil {
		return nil, err
	}
	var c, d bytes.Buffer
	for _, a := range []struct {
		w *bytes.Buffer
		t tree
	}{{&c, control}, {&d, t.parents()}} {
		root := tree{}
		root.dir(".")
		if err := writeTar(a.w, append(root, prefixed(a.t)...), "", m.when); err != nil {
			return nil, err
		}
	}
	data, err := packedXZ(d.Bytes())
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, member := range []struct {
		name string
		text []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", packed(c.Bytes())}, {"data.tar.xz", data}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", member.name, m.when.Unix(), 0, 0, 0o100644, len(member.text))
		b.Write(member.text)
		if len(member.text)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), nil
}

// prefixed is the tree with each name after "./", as dpkg-deb writes them.
func prefixed(t tree) tree {
	out := make(tree, len(t))
	for i, e := range t {
		e.path = "./" + e.path
		out[i] = e
	}
	return out
}

func (m meta) control(t tree) string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	field("Package", m.name)
	if m.name != "rkt" {
		field("Source", "rkt")
	}
	field("Version", m.version)
	field("Architecture", names[m.arch].deb)
	field("Maintainer", maintainer)
	field("Installed-Size", fmt.Sprint(installedSize(t)))
	field("Depends", strings.Join(m.debDepends, ", "))
	field("Recommends", strings.Join(m.debRecommends, ", "))
	field("Suggests", strings.Join(m.debSuggests, ", "))
	field("Section", "admin")
	field("Priority", "optional")
	field("Homepage", homepage)
	field("Description", m.summary)
	for line := range strings.SplitSeq(m.description, "\n") {
		if line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}

// installedSize is in KiB, each file in whole ones and each other entry as one, as
// dpkg-gencontrol counts.
func installedSize(t tree) (n int64) {
	for _, e := range t.parents() {
		if e.mode.IsRegular() {
			n += (int64(len(e.body)) + 1023) / 1024
		} else {
			n++
		}
	}
	return n
}

func md5sums(t tree) []byte {
	var b bytes.Buffer
	for _, e := range t {
		if e.mode&fs.ModeType == 0 {
			fmt.Fprintf(&b, "%x  %s\n", md5.Sum(e.body), e.path)
		}
	}
	return b.Bytes()
}

// packedXZ is what dpkg-deb itself makes by default, and every dpkg unpacks.
func packedXZ(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 8 << 20, CheckSum: xz.CRC32}.NewWriter(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
