// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzDictionary is the largest dictionary taken in this process, that of preset
// -9. A header may ask for 4 GiB, so the container is read here (The .xz File
// Format 1.2.1) and only LZMA2 is left to the library.
const xzDictionary = 64 << 20

var (
	errXzHeader  = errors.New("xz: the header is corrupt")
	errXzIndex   = errors.New("xz: the index is corrupt")
	errXzCheck   = errors.New("xz: the data does not match its check")
	xzHead       = [6]byte{0xfd, '7', 'z', 'X', 'Z', 0}
	xzCheckSizes = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}
)

// xzReader reads one xz stream after the other.
type xzReader struct {
	src    *bufio.Reader
	n      int64 // bytes of the current block read so far, without padding
	flags  [2]byte
	block  io.Reader // nil: between blocks
	check  hash.Hash // nil: of a kind not known here, or none
	blocks uint64
	err    error
}

func newXz(src *bufio.Reader) (io.Reader, error) {
	x := &xzReader{src: src}
	if err := x.streamHeader(); err != nil {
		return nil, err
	}
	return x, nil
}

// ReadByte and read count what a block takes from the source.
func (x *xzReader) ReadByte() (byte, error) {
	b, err := x.src.ReadByte()
	if err == nil {
		x.n++
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func (x *xzReader) full(p []byte) error {
	n, err := io.ReadFull(x.src, p)
	x.n += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// xzSource is x as the source of LZMA2 data.
type xzSource struct{ x *xzReader }

func (s xzSource) Read(p []byte) (int, error) {
	n, err := s.x.src.Read(p)
	s.x.n += int64(n)
	return n, err
}

func (s xzSource) ReadByte() (byte, error) { return s.x.ReadByte() }

func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil && len(p) > 0 {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		if x.check != nil {
			x.check.Write(p[:n])
		}
		if err == io.EOF {
			err = x.endBlock()
		}
		x.err = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

func (x *xzReader) streamHeader() error {
	var b [12]byte
	if err := x.full(b[:]); err != nil {
		return err
	}
	if [6]byte(b[:6]) != xzHead || crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) || b[6] != 0 || b[7] > 15 {
		return errXzHeader
	}
	x.flags, x.blocks = [2]byte(b[6:8]), 0
	return nil
}

// next begins a block, or ends the stream and begins another.
func (x *xzReader) next() error {
	x.n = 0
	size, err := x.ReadByte()
	if err != nil {
		return err
	}
	if size != 0 {
		return x.blockHeader(size)
	}
	if err := x.index(); err != nil {
		return err
	}
	for { // stream padding: groups of four zeros
		b, err := x.src.Peek(4)
		if err != nil {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if [4]byte(b) != [4]byte{} {
			return x.streamHeader()
		}
		_, _ = x.src.Discard(4)
	}
}

func (x *xzReader) blockHeader(size byte) error {
	b := make([]byte, (int(size)+1)*4)
	b[0] = size
	if err := x.full(b[1:]); err != nil {
		return err
	}
	end := len(b) - 4
	if crc32.ChecksumIEEE(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return errXzHeader
	}
	flags, rest := b[1], b[2:end]
	if flags&0x3f != 0 {
		return errors.New("xz: filters other than LZMA2 need the xz program")
	}
	for _, has := range []byte{0x40, 0x80} { // compressed and uncompressed size: the data tells
		if flags&has == 0 {
			continue
		}
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return errXzHeader
		}
		rest = rest[n:]
	}
	if len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 {
		return errors.New("xz: filters other than LZMA2 need the xz program")
	}
	dict, err := lzma.DecodeDictCap(rest[2])
	if err != nil {
		return errXzHeader
	}
	if dict > xzDictionary {
		return fmt.Errorf("xz: a dictionary of %d MiB is too large; at most %d MiB", dict>>20, xzDictionary>>20)
	}
	x.check = nil
	switch x.flags[1] {
	case 1:
		x.check = crc32.NewIEEE()
	case 4:
		x.check = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.check = sha256.New()
	}
	x.blocks++
	x.block, err = lzma.Reader2Config{DictCap: max(int(dict), lzma.MinDictCap)}.NewReader2(xzSource{x})
	return err
}

func (x *xzReader) endBlock() error {
	x.block = nil
	if err := x.padding(errXzCheck); err != nil {
		return err
	}
	sum := make([]byte, xzCheckSizes[x.flags[1]])
	if err := x.full(sum); err != nil || x.check == nil {
		return err
	}
	want := x.check.Sum(nil)
	if x.flags[1] != 10 { // CRCs are little-endian
		for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
			want[i], want[j] = want[j], want[i]
		}
	}
	if string(sum) != string(want) {
		return errXzCheck
	}
	return nil
}

// padding skips the zeros up to a multiple of four.
func (x *xzReader) padding(bad error) error {
	for x.n%4 != 0 {
		if b, err := x.ReadByte(); err != nil {
			return err
		} else if b != 0 {
			return bad
		}
	}
	return nil
}

// index reads what follows the last block, its first zero being read already.
func (x *xzReader) index() error {
	sum := crc32.NewIEEE()
	sum.Write([]byte{0})
	number := func() (v uint64, err error) {
		for shift := 0; shift < 63; shift += 7 {
			b, err := x.ReadByte()
			if err != nil {
				return 0, err
			}
			sum.Write([]byte{b})
			v |= uint64(b&0x7f) << shift
			if b < 0x80 {
				return v, nil
			}
		}
		return 0, errXzIndex
	}
	count, err := number()
	if err != nil {
		return err
	}
	if count != x.blocks {
		return errXzIndex
	}
	for range 2 * count { // sizes, which the blocks told already
		if _, err := number(); err != nil {
			return err
		}
	}
	sum.Write(make([]byte, (4-x.n%4)%4))
	if err := x.padding(errXzIndex); err != nil {
		return err
	}
	size := x.n + 4 // backward size: of the index with its check
	var b [16]byte
	if err := x.full(b[:]); err != nil {
		return err
	}
	footer := b[4:]
	if binary.LittleEndian.Uint32(b[:4]) != sum.Sum32() ||
		binary.LittleEndian.Uint32(footer[:4]) != crc32.ChecksumIEEE(footer[4:10]) ||
		(int64(binary.LittleEndian.Uint32(footer[4:8]))+1)*4 != size ||
		[2]byte(footer[8:10]) != x.flags || string(footer[10:12]) != "YZ" {
		return errXzIndex
	}
	return nil
}
