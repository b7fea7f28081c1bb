// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A Package is one that was downloaded.
type Package struct {
	Name, Version, Arch string
	// Source and SourceVersion are the source package that it was built from: whoever
	// hands its files on under the GPL says by these where the source is.
	Source, SourceVersion string
	SHA256                string // of the file
	path                  string
}

// Read reads the packages in dir, in the order of their files' names.
func Read(dir string) (list []Package, err error) {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err == nil && len(debs) == 0 {
		err = fmt.Errorf("cannot find packages in %s", dir)
	}
	if err != nil {
		return nil, err
	}
	for _, deb := range debs {
		out, err := exec.Command("dpkg-deb", "-W", "--showformat=${Package}\n${Version}\n${Architecture}\n${source:Package}\n${source:Version}\n${Built-Using}\n", deb).Output()
		if err != nil {
			return nil, fmt.Errorf("cannot read package %s: %w", deb, err)
		}
		text, err := os.ReadFile(deb)
		if err != nil {
			return nil, err
		}
		f := strings.Split(string(out), "\n")
		if len(f) < 6 {
			return nil, fmt.Errorf("cannot read package %s: it says nothing of its source", deb)
		}
		sum := sha256.Sum256(text)
		p := Package{Name: f[0], Version: f[1], Arch: f[2], Source: f[3], SourceVersion: f[4], SHA256: hex.EncodeToString(sum[:]), path: deb}
		p.signed(f[5])
		list = append(list, p)
	}
	return list, nil
}

// signed looks behind a package of signed programs (linux-signed-amd64), whose own
// source has nothing but signatures: its field Built-Using names the real one.
func (p *Package) signed(using string) {
	if !strings.Contains(p.Source, "-signed") {
		return
	}
	name, version, ok := strings.Cut(using, " (= ")
	if version, rest, _ := strings.Cut(version, ")"); ok && rest == "" {
		p.Source, p.SourceVersion = name, version
	}
}

// String is a line that says which package it is, and what it was built from.
func (p Package) String() string {
	return fmt.Sprintf("%s %s %s sha256:%s source %s %s", p.Name, p.Version, p.Arch, p.SHA256, p.Source, p.SourceVersion)
}

// Record are the lines of packages, each with its end.
func Record(list []Package) []byte {
	var b strings.Builder
	lines := make([]string, 0, len(list))
	for _, p := range list {
		lines = append(lines, p.String()+"\n")
	}
	slices.Sort(lines)
	for _, l := range lines {
		b.WriteString(l)
	}
	return []byte(b.String())
}

// ParseRecord reads what Record wrote.
func ParseRecord(text []byte) (list []Package, err error) {
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 7 || f[4] != "source" || !strings.HasPrefix(f[3], "sha256:") {
			return nil, fmt.Errorf("cannot read the list of packages: line %q", line)
		}
		list = append(list, Package{Name: f[0], Version: f[1], Arch: f[2], SHA256: strings.TrimPrefix(f[3], "sha256:"), Source: f[5], SourceVersion: f[6]})
	}
	return list, nil
}

// Files calls each for every regular file and link of the package. Names are
// without a slash in front, and as they are in a root whose /bin, /sbin and /lib are
// links into /usr.
func (p Package) Files(each func(h *tar.Header, text []byte) error) error {
	data, err := exec.Command("dpkg-deb", "--fsys-tarfile", p.path).Output()
	if err == nil {
		err = ReadTar(bytes.NewReader(data), each)
	}
	if err != nil {
		return fmt.Errorf("cannot unpack package %s: %w", p.path, err)
	}
	return nil
}

// ReadTar is Files for a package's archive.
func ReadTar(in io.Reader, each func(h *tar.Header, text []byte) error) error {
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		h.Name = Merged(path.Clean("/" + h.Name)[1:])
		var text []byte
		switch h.Typeflag {
		case tar.TypeReg:
			if text, err = io.ReadAll(r); err != nil {
				return err
			}
		case tar.TypeSymlink:
		default:
			continue
		}
		if err := each(h, text); err != nil {
			return err
		}
	}
}

// UsrMerged are links into /usr.
var UsrMerged = []string{"bin", "sbin", "lib", "lib64"}

// Merged is where a file really lies.
func Merged(name string) string {
	for _, dir := range UsrMerged {
		if strings.HasPrefix(name, dir+"/") {
			return "usr/" + name
		}
	}
	return name
}
