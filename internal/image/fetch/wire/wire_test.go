// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rkt/rkt/internal/hint"
)

func TestMessages(t *testing.T) {
	var b bytes.Buffer
	root := &Root{MediaType: "m", Data: bytes.Repeat([]byte("x"), MaxManifest)}
	for _, v := range []any{Reply{Root: root}, Reply{Err: &Error{Message: "no"}}} {
		if err := Send(&b, v); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReceiver(iotest.HalfReader(&b))
	var got Reply
	if err := r.Receive(&got); err != nil || got.Root == nil || !bytes.Equal(got.Root.Data, root.Data) {
		t.Fatalf("Receive = %v", err)
	}
	got = Reply{}
	if err := r.Receive(&got); err != nil || got.Err == nil || got.Err.Error() != "no" {
		t.Fatalf("Receive = %v, %+v", err, got)
	}
	if err := r.Receive(&got); err != io.EOF {
		t.Errorf("Receive at the end = %v, want EOF", err)
	}
}

func TestReceiveRefuses(t *testing.T) {
	for _, tc := range []struct{ name, in string }{
		{"torn", `{"root":`},
		{"not JSON", "hello\n"},
		{"endless", strings.Repeat("x", maxLine+2)},
	} {
		if err := NewReceiver(strings.NewReader(tc.in)).Receive(&Reply{}); err == nil || err == io.EOF {
			t.Errorf("%s: Receive = %v, want an error", tc.name, err)
		}
	}
}

func TestLane(t *testing.T) {
	first, third := bytes.Repeat([]byte("ab"), 3*MaxFrame/2), []byte("c")
	var b bytes.Buffer
	w := NewLaneWriter(&b)
	seen := 0
	if err := w.Copy(bytes.NewReader(first), func(n int) { seen += n }); err != nil {
		t.Fatal(err)
	}
	if seen != len(first) {
		t.Errorf("seen %d bytes, want %d", seen, len(first))
	}
	bad := hint.Wrap(errors.New("cannot read"), "try again")
	if err := w.Copy(io.MultiReader(strings.NewReader("some"), iotest.ErrReader(bad)), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Copy(iotest.ErrReader(fmt.Errorf("wrapped: %w", io.EOF)), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Copy(bytes.NewReader(third), nil); err != nil {
		t.Fatal(err)
	}

	r := NewLaneReader(iotest.HalfReader(&b))
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, first) {
		t.Fatalf("first blob: %d bytes, %v", len(got), err)
	}
	r.Next()
	got, err := io.ReadAll(r)
	var told *Error
	if string(got) != "some" || !errors.As(err, &told) || told.Error() != "cannot read" || hint.Of(err) != "try again" {
		t.Fatalf("second blob: %q, %v", got, err)
	}
	r.Next()
	if _, err := io.ReadAll(r); err == nil {
		t.Fatal("an error that wraps io.EOF arrived as a good end")
	}
	r.Next()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, third) {
		t.Fatalf("third blob: %q, %v", got, err)
	}
	r.Next()
	if _, err := r.Read(make([]byte, 1)); err != io.ErrUnexpectedEOF {
		t.Errorf("Read of a lost lane = %v, want ErrUnexpectedEOF", err)
	}
}

func TestErrorIsOneLine(t *testing.T) {
	e := &Error{Message: "a\nb\x1b[31m\u202e" + strings.Repeat("x", 1000)}
	if got := e.Error(); strings.ContainsAny(got, "\n\x1b\u202e") || len(got) > 510 {
		t.Errorf("Error = %q", got)
	}
}

// FuzzLane reads a lane that a hostile helper wrote: it must end, and give no
// more bytes than came.
func FuzzLane(f *testing.F) {
	var b bytes.Buffer
	w := NewLaneWriter(&b)
	_ = w.Copy(strings.NewReader("blob"), nil)
	f.Add(b.Bytes())
	_ = w.Fail(errors.New("no"))
	f.Add(b.Bytes())
	f.Add([]byte{0, 16, 0, 1, 1})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewLaneReader(bytes.NewReader(data))
		total := 0
		for range 100 {
			got, err := io.ReadAll(r)
			if total += len(got); total > len(data) {
				t.Fatalf("%d bytes out of %d", total, len(data))
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return
			}
			r.Next()
		}
	})
}

// FuzzReceive decodes what a hostile helper may say.
func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"root":{"mediaType":"a","data":"eA=="}}` + "\n"))
	f.Add([]byte(`{"error":{"message":"no","hint":"go"}}` + "\n{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReceiver(bytes.NewReader(data))
		for {
			var v Reply
			if err := r.Receive(&v); err != nil {
				return
			}
			if v.Err != nil && strings.ContainsAny(v.Err.Error()+v.Err.Hint(), "\n\x1b") {
				t.Fatalf("unprintable error %q", v.Err.Error())
			}
		}
	})
}
