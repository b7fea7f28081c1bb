// SPDX-License-Identifier: Apache-2.0

// Package binfmt tells for which machines' programs the kernel has an interpreter
// (binfmt_misc, as qemu-user-static registers them).
package binfmt

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// mounted is where every machine has it.
const mounted = "/proc/sys/fs/binfmt_misc"

// machines are ELF's numbers for architectures in Go's words (elf.h, EM_…), with
// the class and the order of bytes.
var machines = map[string]struct {
	number uint16
	bits   int
	order  binary.ByteOrder
}{
	"386": {3, 32, binary.LittleEndian}, "amd64": {62, 64, binary.LittleEndian},
	"arm": {40, 32, binary.LittleEndian}, "arm64": {183, 64, binary.LittleEndian},
	"loong64": {258, 64, binary.LittleEndian}, "mips64le": {8, 64, binary.LittleEndian},
	"ppc64le": {21, 64, binary.LittleEndian}, "riscv64": {243, 64, binary.LittleEndian},
	"s390x": {22, 64, binary.BigEndian},
}

// Runs tells whether programs for linux on arch run here: the machine's own, and
// those that an interpreter is registered for.
func Runs(arch string) bool { return runs(arch, runtime.GOARCH, mounted) }

func runs(arch, own, dir string) bool {
	if arch == own || arch == "386" && own == "amd64" {
		return true
	}
	m, ok := machines[arch]
	if status, err := read(filepath.Join(dir, "status")); !ok || err != nil || status != "enabled\n" {
		return false
	}
	head := make([]byte, 64)
	copy(head, "\x7fELF")
	head[4], head[5], head[6] = byte(m.bits/32), 1, 1
	if m.order == binary.ByteOrder(binary.BigEndian) {
		head[5] = 2
	}
	const executable = 2
	m.order.PutUint16(head[16:], executable)
	m.order.PutUint16(head[18:], m.number)
	m.order.PutUint32(head[20:], 1)
	list, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range list {
		if e.Name() == "status" || e.Name() == "register" {
			continue
		}
		if text, err := read(filepath.Join(dir, e.Name())); err == nil && fits(text, head) {
			return true
		}
	}
	return false
}

// read reads a small file.
func read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(b), err
}

// fits tells whether a registration, as the kernel prints it, takes a file that
// begins with head.
func fits(text string, head []byte) bool {
	offset, magic, mask := 0, []byte(nil), []byte(nil)
	enabled := false
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch key {
		case "enabled":
			enabled = true
		case "offset":
			offset, err = strconv.Atoi(value)
		case "magic":
			magic, err = hex.DecodeString(value)
		case "mask":
			mask, err = hex.DecodeString(value)
		}
		if err != nil {
			return false
		}
	}
	if !enabled || len(magic) == 0 || offset < 0 || offset+len(magic) > len(head) || mask != nil && len(mask) != len(magic) {
		return false
	}
	for i, b := range magic {
		m := byte(0xff)
		if mask != nil {
			m = mask[i]
		}
		if head[offset+i]&m != b&m {
			return false
		}
	}
	return true
}
