// SPDX-License-Identifier: Apache-2.0

package gc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func TestIdle(t *testing.T) {
	layer := image.Layer{DiffID: layerDigest}
	for _, phase := range []lifecycle.Phase{lifecycle.Prepare, lifecycle.Prepared, lifecycle.Run, lifecycle.ExitedGarbage} {
		dir := t.TempDir()
		p := newPod(t, dir, phase) // held, as by a process that prepares or runs it
		if _, err := Idle(dir, layer); err == nil || !strings.Contains(err.Error(), string(p.ID())) {
			t.Errorf("%s, in use: %v", phase, err)
		}
		release, err := Idle(dir, image.Layer{DiffID: "sha256:bb"})
		if err != nil {
			t.Errorf("%s, another layer: %v", phase, err)
		} else {
			release()
		}
		must(t, p.Close())
		release, err = Idle(dir, layer)
		must(t, err)
		other, err := lifecycle.Open(dir, string(p.ID()))
		must(t, err)
		if err := other.Lock(); !errors.Is(err, lifecycle.ErrBusy) {
			t.Errorf("%s: the pod can be started meanwhile: %v", phase, err)
		}
		release()
		must(t, other.Lock())
		must(t, other.Close())
	}
	// One that is alive and cannot be read might have any layer, and an error
	// leaves no lock behind.
	dir := t.TempDir()
	idle, torn := newPod(t, dir, lifecycle.Prepared), newPod(t, dir, lifecycle.Run)
	must(t, os.Truncate(filepath.Join(torn.Dir(), contract.File), 0))
	must(t, idle.Close())
	if _, err := Idle(dir, layer); err == nil {
		t.Error("took what it cannot read for idle")
	}
	must(t, idle.Lock())
}
