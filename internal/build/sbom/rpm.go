// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/merge"
)

// rpms reads the database of rpm, which distributions keep in one of two places.
func rpms(s *merge.Stack) (all []Package, err error) {
	for _, dir := range []string{"usr/lib/sysimage/rpm", "var/lib/rpm"} {
		for _, other := range []string{"Packages", "Packages.db"} {
			e, err := lookup(s, dir+"/"+other)
			if err != nil {
				return nil, err
			}
			if e != nil && e.Type() == unix.S_IFREG {
				return nil, hint.Wrap(fmt.Errorf("cannot read %q: rpm's databases of before SQLite are not known", "/"+e.Path),
					"rpm --rebuilddb of a newer rpm, in the image, makes it one of SQLite")
			}
		}
		e, err := lookup(s, dir+"/rpmdb.sqlite")
		if err != nil {
			return nil, err
		}
		if e == nil || e.Type() != unix.S_IFREG {
			continue
		}
		log, err := lookup(s, dir+"/rpmdb.sqlite-wal")
		if err != nil {
			return nil, err
		}
		if log != nil && log.Stat.Size > 0 {
			return nil, hint.Wrap(fmt.Errorf("cannot read %q: it has changes in a log beside it", "/"+e.Path), "rpm -qa in the image, as root, puts them into it")
		}
		f, err := e.Open()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if all, err = RPM(f, e.Stat.Size); err != nil {
			err = fmt.Errorf("cannot read %q: %w", "/"+e.Path, err)
		}
		return all, err
	}
	return nil, nil
}

// RPM reads rpm's database in SQLite's form. Keys that rpm trusts stand in it like
// packages, and are none.
func RPM(r io.ReaderAt, size int64) (all []Package, err error) {
	d, err := openSQLite(r, size)
	if err != nil {
		return nil, err
	}
	ok, err := d.rows("Packages", func(row [][]byte) error {
		if len(row) < 2 {
			return errHeader
		}
		p, err := rpmHeader(row[1])
		if err == nil && p.Name != "gpg-pubkey" {
			all = append(all, p)
		}
		return err
	})
	if err == nil && !ok {
		err = errors.New("it has no table Packages")
	}
	return all, err
}

var errHeader = errors.New("it has a broken package header")

// Tags of a package's header, and the types of what they tell (rpm's rpmtag.h).
const (
	tagName      = 1000
	tagVersion   = 1001
	tagRelease   = 1002
	tagEpoch     = 1003
	tagVendor    = 1011
	tagLicense   = 1014
	tagArch      = 1022
	tagSourceRPM = 1044

	typeInt32      = 4
	typeString     = 6
	typeI18NString = 9
)

// rpmHeader reads a header: two numbers, that many entries of 16 bytes that say
// where in the data that follows something lies, and that many bytes of data.
func rpmHeader(b []byte) (p Package, err error) {
	if len(b) < 8 {
		return p, errHeader
	}
	entries, size := uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	if 8+16*entries+size > uint64(len(b)) {
		return p, errHeader
	}
	index, data := b[8:8+16*entries], b[8+16*entries:][:size]
	p.Kind = "rpm"
	epoch, version, release := "", "", ""
	wanted := map[uint32]*string{tagName: &p.Name, tagVersion: &version, tagRelease: &release, tagEpoch: &epoch, tagVendor: &p.Supplier,
		tagLicense: &p.License, tagArch: &p.Arch, tagSourceRPM: &p.Source}
	for ; len(index) > 0; index = index[16:] {
		tag, kind, at := binary.BigEndian.Uint32(index), binary.BigEndian.Uint32(index[4:]), uint64(binary.BigEndian.Uint32(index[8:]))
		into := wanted[tag]
		if into == nil {
			continue
		}
		if at > size {
			return p, errHeader
		}
		switch kind {
		case typeString, typeI18NString:
			text, _, ok := bytes.Cut(data[at:], []byte{0})
			if !ok {
				return p, errHeader
			}
			*into = string(text)
		case typeInt32:
			if at+4 > size {
				return p, errHeader
			}
			*into = strconv.FormatUint(uint64(binary.BigEndian.Uint32(data[at:])), 10)
		}
	}
	if p.Name == "" || version == "" {
		return p, errHeader
	}
	if p.Version = version; release != "" {
		p.Version += "-" + release
	}
	p.Epoch = epoch
	return p, nil
}
