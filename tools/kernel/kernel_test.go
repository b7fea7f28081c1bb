// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"testing"
)

// TestUnpackLZ4 holds the unpacking against lz4(1).
func TestUnpackLZ4(t *testing.T) {
	if _, err := exec.LookPath("lz4"); err != nil {
		t.Skip("needs lz4")
	}
	want := bytes.Repeat([]byte("words, and more words; "), 1<<16)
	for i := range want {
		if i%1000 < 300 {
			want[i] = byte(i * i >> 3)
		}
	}
	cmd := exec.Command("lz4", "-l", "-9", "-c")
	cmd.Stdin = bytes.NewReader(want)
	packed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	packed = binary.LittleEndian.AppendUint32(packed, uint32(len(want)))
	got, err := unpackLZ4(packed)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	for _, b := range [][]byte{nil, packed[:len(packed)-1], packed[4:], append(packed[:8:8], packed[9:]...)} {
		if _, err := unpackLZ4(b); err == nil {
			t.Error("what is damaged is unpacked")
		}
	}
}

func FuzzUnpackLZ4(f *testing.F) {
	f.Add([]byte("\x02\x21\x4c\x18\x06\x00\x00\x00\x15a\x01\x00\x00x\x0b\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 8 {
			binary.LittleEndian.PutUint32(b[len(b)-4:], 1<<16)
		}
		_, _ = unpackLZ4(b)
		_, _ = ELF(b)
	})
}
