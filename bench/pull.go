// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

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

// sizeOf is what an image's blobs take in the registry, without its manifest.
func (b *bench) sizeOf(s *registry.Server, tag string) (blobs map[string]int64, err error) {
	raw, err := b.output([]string{"skopeo"}, "inspect", "--raw", "--tls-verify=false", s.URL(tag))
	if err != nil {
		return nil, err
	}
	type descriptor struct {
		Digest string
		Size   int64
	}
	var m struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		return nil, err
	}
	blobs = map[string]int64{}
	for _, d := range append(m.Layers, m.Config) {
		blobs[d.Digest] = d.Size
	}
	return blobs, nil
}

// onlyMissing checks that so much came from the registry as tag has and first
// has not.
func (b *bench) onlyMissing(s *registry.Server, tag, first string) error {
	sent := s.Sent()
	want, err := b.sizeOf(s, tag)
	if err != nil {
		return err
	}
	if first != "" {
		have, err := b.sizeOf(s, first)
		if err != nil {
			return err
		}
		maps.DeleteFunc(want, func(digest string, _ int64) bool { _, ok := have[digest]; return ok })
	}
	total := int64(0)
	for _, size := range want {
		total += size
	}
	if sent != total {
		return fmt.Errorf("the registry sent %d bytes, want %d", sent, total)
	}
	return nil
}

// puller pulls a tag into an empty store, or into one that has first.
func (b *bench) puller(name string, s *registry.Server, tag, first string) contender {
	dir := "pull-" + tag + first
	rkt := b.rktOn(dir)
	return contender{
		check: func([]byte) error { return b.onlyMissing(s, tag, first) },
		name:  name,
		argv:  append(slices.Clone(rkt), "fetch", s.URL(tag)),
		prepare: func() error {
			if err := os.RemoveAll(filepath.Join(b.o.work, dir)); err != nil {
				return err
			}
			if first != "" {
				if _, err := b.fetch(rkt, s.URL(first)); err != nil {
					return err
				}
			}
			s.Forget()
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

// skopeoPuller copies a tag into a layout and unpacks it, as those do who have
// no engine.
func (b *bench) skopeoPuller(s *registry.Server, tag string) contender {
	dir := filepath.Join(b.o.work, "skopeo")
	script := fmt.Sprintf("skopeo copy -q --src-tls-verify=false %s oci:%s/layout:%s && umoci unpack --image %s/layout:%s %s/bundle", s.URL(tag), dir, tag, dir, tag, dir)
	return contender{
		name: "skopeo + umoci",
		argv: []string{"sh", "-c", script},
		prepare: func() error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			syscall.Sync()
			return os.Mkdir(dir, 0o700)
		},
	}
}

// containerdPuller pulls through a containerd of its own, which is started anew
// on an empty root before each run. stop ends the last one.
func (b *bench) containerdPuller(s *registry.Server, tag string) (c contender, stop func()) {
	dir := filepath.Join(b.o.work, "containerd")
	socket := filepath.Join(dir, "sock")
	var running *exec.Cmd
	stop = func() {
		if running != nil {
			_ = running.Process.Kill()
			_ = running.Wait()
			running = nil
		}
	}
	prepare := func() error {
		stop()
		// Its snapshotter may leave mounts of its probing behind if it is killed.
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		config := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
			return err
		}
		cmd := exec.Command("containerd", "--config", config, "--root", dir+"/root", "--state", dir+"/state", "--address", socket, "--log-level", "error")
		if err := cmd.Start(); err != nil {
			return err
		}
		running = cmd
		for range 500 {
			if _, err := b.output([]string{"ctr"}, "--address", socket, "version"); err == nil {
				syscall.Sync()
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return errors.New("containerd does not answer")
	}
	return contender{
		name:    "containerd",
		argv:    []string{"ctr", "--address", socket, "images", "pull", "--plain-http", s.Addr + "/" + tag + ":latest"},
		prepare: prepare,
	}, stop
}

func pull(b *bench, n int) ([]result, error) {
	s, err := b.big()
	if err != nil {
		return nil, err
	}
	containerd, stop := b.containerdPuller(s, "big")
	defer stop()
	return b.race(n, b.puller("rkt", s, "big", ""), b.podmanPuller(s, "big", ""), containerd, b.skopeoPuller(s, "big"))
}

// pullMemory samples what the processes of a pull hold together and takes the
// most.
func pullMemory(b *bench, n int) ([]result, error) {
	s, err := b.big()
	if err != nil {
		return nil, err
	}
	var results []result
	for _, c := range []contender{b.puller("rkt", s, "big", ""), b.podmanPuller(s, "big", "")} {
		r := result{name: c.name, unit: "KiB"}
		if c.name == "podman" && b.noPod != "" {
			results = append(results, without(c.name, b.noPod))
			continue
		}
		for range n {
			if err := c.prepare(); err != nil {
				return nil, err
			}
			peak, err := peakOf(c.argv)
			if err != nil {
				return nil, err
			}
			r.samples = append(r.samples, peak)
		}
		results = append(results, r)
	}
	return results, nil
}

// peakOf runs argv and returns the most, in KiB of PSS, that it and its
// descendants held at any of some hundred looks.
func peakOf(argv []string) (float64, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	peak := 0.0
	for {
		kib := 0.0
		for _, pid := range append(descendants(cmd.Process.Pid), cmd.Process.Pid) {
			kib += pss(pid)
		}
		peak = max(peak, kib)
		select {
		case err := <-ended:
			return peak, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func pullShared(b *bench, n int) ([]result, error) {
	s, err := b.big()
	if err != nil {
		return nil, err
	}
	return b.race(n, b.puller("rkt", s, "next", "big"), b.puller("rkt, that layer alone", s, "last", ""), b.podmanPuller(s, "next", "big"))
}
