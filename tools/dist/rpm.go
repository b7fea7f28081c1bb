// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/rpmpack"
)

// rpm is the package as an RPM of version 4.
func (m meta) rpm(t tree) ([]byte, error) {
	md := rpmpack.RPMMetaData{
		Name: m.name, Version: m.version, Release: "1", Arch: names[m.arch].rpm, OS: "linux",
		Summary: strings.ToUpper(m.summary[:1]) + m.summary[1:], Description: m.description, URL: homepage, Licence: license, Packager: maintainer,
		Group: "System Environment/Base", BuildHost: "localhost", BuildTime: m.when, Epoch: rpmpack.NoEpoch, Compressor: "zstd",
	}
	// What of the format rpm has to know; old ones refuse by these.
	for name, version := range map[string]string{
		"rpmlib(CompressedFileNames)": "3.0.4-1", "rpmlib(FileDigests)": "4.6.0-1", "rpmlib(PayloadIsZstd)": "5.4.18-1", "rpmlib(TildeInVersions)": "4.10.0-1",
	} {
		md.Requires = append(md.Requires, &rpmpack.Relation{Name: name, Version: version,
			Sense: rpmpack.SenseRPMLIB | rpmpack.SenseLess | rpmpack.SenseEqual})
	}
	for _, list := range []struct {
		words []string
		to    *rpmpack.Relations
	}{{m.rpmRequires, &md.Requires}, {m.rpmRecommends, &md.Recommends}, {m.rpmSuggests, &md.Suggests}} {
		for _, words := range list.words {
			r, err := rpmpack.NewRelation(words)
			if err != nil {
				return nil, err
			}
			*list.to = append(*list.to, r)
		}
	}
	slices.SortFunc(md.Requires, func(a, b *rpmpack.Relation) int { return cmp.Compare(a.Name, b.Name) })
	r, err := rpmpack.NewRPM(md)
	if err != nil {
		return nil, err
	}
	// %changelog, with one entry.
	r.AddCustomTag(1080, rpmpack.EntryInt32([]int32{int32(m.when.Unix())}))
	r.AddCustomTag(1081, rpmpack.EntryStringSlice([]string{maintainer + " - " + m.version}))
	r.AddCustomTag(1082, rpmpack.EntryStringSlice([]string{m.changes}))
	if m.scripts {
		post, preun, postun, err := rpmScripts(t)
		if err != nil {
			return nil, err
		}
		r.AddPostin(post)
		r.AddPreun(preun)
		r.AddPostun(postun)
	}
	archive := cpioSize("TRAILER!!!", 0)
	for _, e := range t {
		f := rpmpack.RPMFile{Name: "/" + e.path, Mode: uint(e.mode.Perm()), Owner: "root", Group: "root", MTime: uint32(m.when.Unix()), Body: e.body}
		switch {
		case e.mode.IsDir():
			f.Mode |= 0o40000
		case e.mode&fs.ModeSymlink != 0:
			f.Mode, f.Body = 0o120777, []byte(e.link)
		case strings.HasSuffix(e.path, "/copyright") || strings.HasSuffix(e.path, "/third-party-licenses.gz"):
			f.Type = rpmpack.DocFile | rpmpack.LicenceFile
		case strings.Contains(e.path, "/share/doc/") || strings.Contains(e.path, "/share/man/"):
			f.Type = rpmpack.DocFile
		}
		archive += cpioSize(f.Name, len(f.Body))
		r.AddFile(f)
	}
	// The archive's size, for which rpmpack says that of the files; rpm2cpio minds.
	r.AddCustomSig(1007, rpmpack.EntryInt32([]int32{int32(archive)}))
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// cpioSize is what a file takes in an archive: its header, name and content are
// filled up to four bytes.
func cpioSize(name string, size int) int {
	const header = 110
	up := func(n int) int { return (n + 3) &^ 3 }
	return up(header+len(name)+1) + up(size)
}
