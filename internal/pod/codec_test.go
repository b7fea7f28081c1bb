// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"testing"

	"github.com/rkt/rkt/internal/plainjson"
	"github.com/rkt/rkt/internal/plainjson/plainjsontest"
)

func codec() plainjsontest.Codec[Manifest] {
	return plainjsontest.Codec[Manifest]{
		Encode: func(m *Manifest) ([]byte, error) {
			var w plainjson.Writer
			m.write(&w)
			return w.Bytes()
		},
		Decode: func(b []byte) (Manifest, error) {
			r := plainjson.NewReader(b)
			m := readManifest(r)
			return m, r.End()
		},
	}
}

func TestManifestCodec(t *testing.T)  { codec().Check(t) }
func FuzzDecodeManifest(f *testing.F) { codec().Fuzz(f) }
