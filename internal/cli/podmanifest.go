// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/launch"
)

// readManifest reads --pod-manifest, if it is given, and names its images.
func (c *cli) readManifest(w *wish) error {
	if w.podManifest == "" {
		return nil
	}
	f, err := os.Open(w.podManifest)
	if err != nil {
		return fmt.Errorf("cannot read pod manifest: %w", err)
	}
	defer f.Close()
	text, err := readLimited(f, pod.MaxManifestSize)
	if err != nil {
		return fmt.Errorf("cannot read pod manifest: %w", err)
	}
	if !isAppc(text) {
		if text, err = convert(wall.PodManifest, text, pod.MaxManifestSize); err != nil {
			return fmt.Errorf("cannot use pod manifest %q: %w", w.podManifest, err)
		}
	}
	if w.Manifest, err = pod.ParseManifest(bytes.NewReader(text)); err != nil {
		return err
	}
	for i := range w.Manifest.Apps {
		w.images = append(w.images, w.Manifest.Apps[i].ImageReference())
	}
	return nil
}

// isAppc tells an appc manifest from a Kubernetes Pod: that has no acKind, and
// only it may be YAML. Text that begins as JSON and is none is called appc, for
// the sake of the error.
func isAppc(text []byte) bool {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return false
	}
	var kinds struct {
		ACKind string `json:"acKind"`
		Kind   string `json:"kind"`
	}
	err := json.Unmarshal(text, &kinds)
	return err != nil || kinds.ACKind != "" || kinds.Kind == ""
}

// convert has the helper turn a Kubernetes Pod into an appc manifest, or YAML into
// JSON: rkt itself reads no YAML.
func convert(kind wall.Kind, text []byte, limit int64) ([]byte, error) {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	in, give, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	take, out, err := os.Pipe()
	if err != nil {
		_, _ = in.Close(), give.Close()
		return nil, err
	}
	defer take.Close()
	c := wall.Command{Kind: kind, Path: helper, Files: []*os.File{in, out}, Stderr: &said}
	c.Args = []string{string(c.Kind)}
	p, err := c.Start(context.Background())
	_, _ = in.Close(), out.Close()
	if err != nil {
		_ = give.Close()
		return nil, err
	}
	go func() {
		_, _ = give.Write(text) // a helper that is gone says why below
		_ = give.Close()
	}()
	manifest, rerr := readLimited(take, limit)
	if rerr != nil {
		p.Kill()
	}
	err = p.Wait()
	// It prefixes what it says with its own name, as every program does.
	if message := strings.TrimPrefix(strings.TrimSpace(said.String()), "fetch: "); err != nil && message != "" {
		err = errors.New(message)
	}
	return manifest, cmp.Or(rerr, err)
}

// readLimited reads a file of at most limit bytes to its end.
func readLimited(f *os.File, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", f.Name(), limit)
	}
	return text, err
}
