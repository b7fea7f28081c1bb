// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"testing"

	"github.com/rkt/rkt/internal/plainjson/plainjsontest"
)

func podCodec() plainjsontest.Codec[Pod] {
	return plainjsontest.Codec[Pod]{
		Encode: func(p *Pod) ([]byte, error) { return p.Encode(), nil },
		Decode: func(b []byte) (Pod, error) {
			p, err := Decode(b)
			if err != nil {
				return Pod{}, err
			}
			return *p, nil
		},
	}
}

func manifestCodec() plainjsontest.Codec[Manifest] {
	return plainjsontest.Codec[Manifest]{
		Encode: func(m *Manifest) ([]byte, error) { return m.Encode(), nil },
		Decode: DecodeManifest,
	}
}

func networkStateCodec() plainjsontest.Codec[NetworkState] {
	return plainjsontest.Codec[NetworkState]{
		Encode: func(s *NetworkState) ([]byte, error) { return s.Encode(), nil },
		Decode: func(b []byte) (NetworkState, error) {
			s, err := DecodeNetworkState(b)
			if err != nil {
				return NetworkState{}, err
			}
			return *s, nil
		},
	}
}

func TestNetworkStateCodec(t *testing.T)  { networkStateCodec().Check(t) }
func FuzzDecodeNetworkState(f *testing.F) { networkStateCodec().Fuzz(f) }
func TestPodCodec(t *testing.T)           { podCodec().Check(t) }
func TestManifestCodec(t *testing.T)      { manifestCodec().Check(t) }
func FuzzDecode(f *testing.F)             { podCodec().Fuzz(f) }
func FuzzDecodeManifest(f *testing.F)     { manifestCodec().Fuzz(f) }
