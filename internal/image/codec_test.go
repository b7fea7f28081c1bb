// SPDX-License-Identifier: Apache-2.0

package image

import (
	"testing"
	"time"

	"github.com/rkt/rkt/internal/plainjson/plainjsontest"
)

func recordCodec() plainjsontest.Codec[Record] {
	return plainjsontest.Codec[Record]{Encode: (*Record).Encode, Decode: DecodeRecord}
}

func TestRecordCodec(t *testing.T)  { recordCodec().Check(t) }
func FuzzDecodeRecord(f *testing.F) { recordCodec().Fuzz(f) }

func TestRecordThatCannotBeEncoded(t *testing.T) {
	for name, r := range map[string]Record{
		"isolator": {App: &App{Isolators: []Isolator{{Name: "x", Value: Raw("{")}}}},
		"two":      {App: &App{Isolators: []Isolator{{Name: "x", Value: Raw("1 2")}}}},
		"year":     {Imported: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if b, err := r.Encode(); err == nil || b != nil {
			t.Errorf("%s: encoded as %s", name, b)
		}
	}
}
