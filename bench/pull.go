// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/rkt/rkt/test/layout"
	"github.com/rkt/rkt/test/registry"
)

// The big image: six gzip layers of this many files of a megabyte.
const (
	bigLayers = 6
	bigFiles  = 188
)

// big serves three images from a registry on loopback, and keeps it for later
// rows: "big"; "next", which has another last layer; and "last", that layer
// alone.
func (b *bench) big() (*registry.Server, error) {
	if b.registry != nil {
		return b.registry, nil
	}
	dir := filepath.Join(b.o.work, "big")
	l, err := layout.Create(dir)
	if err != nil {
		return nil, err
	}
	var layers []layout.Layer
	for i := range bigLayers + 1 {
		layer, err := l.AddLayer(layout.Gzip, func(tw *tar.Writer) error { return fill(tw, i) })
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	last := layers[bigLayers]
	blobs := filepath.Join(b.o.work, "blobs")
	if err := os.Mkdir(blobs, 0o755); err != nil {
		return nil, err
	}
	s, err := registry.Start(blobs)
	if err != nil {
		return nil, err
	}
	for ref, of := range map[string][]layout.Layer{
		"big": layers[:bigLayers], "next": append(slices.Clone(layers[:bigLayers-1]), last), "last": {last},
	} {
		if _, err := l.AddImage(ref, layout.Config{Cmd: []string{"/bin/true"}}, of...); err != nil {
			return nil, err
		}
		if err := s.Push(dir, ref, ref+":latest"); err != nil {
			return nil, err
		}
	}
	b.registry = s
	return s, os.RemoveAll(dir)
}

// fill writes a layer that compresses to less than half, as programs and
// documents do: words of a small dictionary, and stretches of noise.
func fill(tw *tar.Writer, seed int) error {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	words := make([][]byte, 4096)
	for i := range words {
		words[i] = make([]byte, 2+r.IntN(9))
		for j := range words[i] {
			words[i][j] = byte('a' + r.IntN(26))
		}
	}
	body := make([]byte, 0, 1<<20+16)
	for i := range bigFiles {
		body = body[:0]
		for len(body) < 1<<20 {
			if r.IntN(64) == 0 {
				for range 24 {
					body = binary.LittleEndian.AppendUint64(body, r.Uint64())
				}
				continue
			}
			body = append(append(body, words[r.IntN(len(words))]...), ' ')
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("layer%d/file%d", seed, i), Mode: 0o644, Size: 1 << 20, ModTime: layout.Epoch}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(body[:1<<20]); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// puller pulls a tag into an empty store, or into one that has first.
func (b *bench) puller(name string, s *registry.Server, tag, first string) contender {
	dir := "pull-" + tag + first
	rkt := b.rktOn(dir)
	return contender{
		name: name,
		argv: append(slices.Clone(rkt), "fetch", s.URL(tag)),
		prepare: func() error {
			if err := os.RemoveAll(filepath.Join(b.o.work, dir)); err != nil {
				return err
			}
			if first != "" {
				if _, err := b.fetch(rkt, s.URL(first)); err != nil {
					return err
				}
			}
			syscall.Sync()
			return nil
		},
	}
}

func (b *bench) podmanPuller(s *registry.Server, tag, first string) contender {
	pull := []string{"pull", "-q", "--tls-verify=false"}
	return contender{
		name: "podman",
		argv: append(append(slices.Clone(b.podman), pull...), s.Addr+"/"+tag+":latest"),
		prepare: func() error {
			for _, t := range []string{"big", "next", "last"} {
				_, _ = b.output(b.podman, "rmi", "-f", s.Addr+"/"+t+":latest") // maybe not there
			}
			if first != "" {
				if _, err := b.output(b.podman, append(pull, s.Addr+"/"+first+":latest")...); err != nil {
					return err
				}
			}
			syscall.Sync()
			return nil
		},
	}
}

func pull(b *bench, n int) ([]result, error) {
	s, err := b.big()
	if err != nil {
		return nil, err
	}
	return b.race(n, b.puller("rkt", s, "big", ""), b.podmanPuller(s, "big", ""))
}

func pullShared(b *bench, n int) ([]result, error) {
	s, err := b.big()
	if err != nil {
		return nil, err
	}
	return b.race(n, b.puller("rkt", s, "next", "big"), b.puller("rkt, that layer alone", s, "last", ""), b.podmanPuller(s, "next", "big"))
}
