// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxKernel bounds an unpacked kernel, bytes.
const maxKernel = 256 << 20

// Direct is a boot image in the form that virtual machines of an architecture start
// fastest.
func Direct(arch string, image []byte) ([]byte, error) {
	if arch != "arm64" {
		return ELF(image)
	}
	// Documentation/arch/arm64/booting.rst: it is not packed.
	if len(image) < 64 || string(image[56:60]) != "ARM\x64" {
		return nil, errors.New("cannot take the kernel: it is no boot image for arm64")
	}
	return image, nil
}

// ELF takes the kernel out of an x86 boot image (Documentation/arch/x86/boot.rst,
// payload_offset), as virtual machines start it fastest: nothing is unpacked in
// them. LZ4 alone is known, which is what Debian's cloud kernel has.
func ELF(image []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(image) < 0x260 || string(image[0x202:0x206]) != "HdrS" || le.Uint16(image[0x206:]) < 0x208 {
		return nil, errors.New("cannot unpack the kernel: it is no boot image of protocol 2.08 or later")
	}
	begin := (int64(image[0x1f1])+1)*512 + int64(le.Uint32(image[0x248:]))
	end := begin + int64(le.Uint32(image[0x24c:]))
	if end > int64(len(image)) {
		return nil, errors.New("cannot unpack the kernel: the image is cut short")
	}
	text, err := unpackLZ4(image[begin:end])
	if err != nil {
		return nil, fmt.Errorf("cannot unpack the kernel: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("cannot read the kernel: %w", err)
	}
	return text, f.Close()
}

// unpackLZ4 reads LZ4's older frames ("LZ4_Frame_format.md", legacy frame): blocks
// with their lengths, and behind them, in a kernel, the length of all.
func unpackLZ4(b []byte) (out []byte, err error) {
	const magic = 0x184c2102
	le := binary.LittleEndian
	if len(b) < 8 || le.Uint32(b) != magic {
		return nil, errors.New("it is not packed with LZ4")
	}
	size := le.Uint32(b[len(b)-4:])
	if size > maxKernel {
		return nil, errors.New("it is too large")
	}
	out = make([]byte, 0, size)
	for b = b[4 : len(b)-4]; len(b) > 0; {
		if len(b) < 4 {
			return nil, errors.New("a block is cut short")
		}
		n := le.Uint32(b)
		if b = b[4:]; n == magic {
			continue
		}
		if int64(n) > int64(len(b)) {
			return nil, errors.New("a block is cut short")
		}
		if out, err = unpackBlock(out, b[:n]); err != nil {
			return nil, err
		}
		b = b[n:]
	}
	if len(out) != int(size) {
		return nil, fmt.Errorf("it has %d bytes, not %d", len(out), size)
	}
	return out, nil
}

// unpackBlock appends an LZ4 block's content ("LZ4_Block_format.md").
func unpackBlock(out, b []byte) ([]byte, error) {
	cut := errors.New("a block is damaged")
	start := len(out)
	length := func(n int) (int, bool) {
		if n < 15 {
			return n, true
		}
		for len(b) > 0 {
			c := b[0]
			b = b[1:]
			if n += int(c); c != 255 {
				return n, true
			}
		}
		return 0, false
	}
	for len(b) > 0 {
		token := b[0]
		b = b[1:]
		n, ok := length(int(token >> 4))
		if !ok || n > len(b) {
			return nil, cut
		}
		out, b = append(out, b[:n]...), b[n:]
		if len(b) == 0 { // the last has no match
			break
		}
		if len(b) < 2 {
			return nil, cut
		}
		back := int(b[0]) | int(b[1])<<8
		b = b[2:]
		n, ok = length(int(token & 15))
		if n += 4; !ok || back == 0 || back > len(out)-start || len(out)+n > maxKernel {
			return nil, cut
		}
		for ; n > 0; n-- {
			out = append(out, out[len(out)-back])
		}
	}
	return out, nil
}
