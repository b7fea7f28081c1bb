// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/launch"
	"golang.org/x/sys/unix"
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
		if text, err = convertManifest(text); err != nil {
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

// convertManifest has the helper turn a Kubernetes Pod into an appc manifest:
// rkt itself reads no YAML.
func convertManifest(text []byte) ([]byte, error) {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return nil, err
	}
	var out, said bytes.Buffer
	cmd := exec.Command(helper, "pod-manifest")
	cmd.Env = []string{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &out, &said
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err = cmd.Run()
	// It prefixes what it says with its own name, as every program does.
	if message := strings.TrimPrefix(strings.TrimSpace(said.String()), "fetch: "); err != nil && message != "" {
		err = errors.New(message)
	}
	return out.Bytes(), err
}

// readLimited reads a file of at most limit bytes to its end.
func readLimited(f *os.File, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", f.Name(), limit)
	}
	return text, err
}
