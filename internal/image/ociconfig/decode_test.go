// SPDX-License-Identifier: Apache-2.0

package ociconfig

import (
	"encoding/json"
	"testing"

	"github.com/rkt/rkt/internal/plainjson/plainjsontest"
)

func indexCodec() plainjsontest.Codec[Index] {
	return plainjsontest.Codec[Index]{
		Encode: func(x *Index) ([]byte, error) { return json.Marshal(x) }, // rkt writes none
		Decode: DecodeIndex,
	}
}

func TestDecodeIndex(t *testing.T) { indexCodec().Check(t) }
func FuzzDecodeIndex(f *testing.F) { indexCodec().Fuzz(f) }
