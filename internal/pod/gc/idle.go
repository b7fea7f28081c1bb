// SPDX-License-Identifier: Apache-2.0

package gc

import (
	"errors"
	"fmt"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod/lifecycle"
)

// Idle makes sure that no pod has a layer mounted, nor mounts it until release
// is called: it takes the locks of all pods that have the layer in their roots.
// A pod that is running, or about to, is an error that names it; the caller
// must hold the store's lock exclusively, so that no pod is being prepared.
func Idle(dataDir string, l image.Layer) (release func(), err error) {
	var held []*lifecycle.Pod
	release = func() {
		for _, p := range held {
			_ = p.Close()
		}
	}
	pods, err := lifecycle.List(dataDir)
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		u := UsersOf(dataDir)
		u.looked, u.layers, u.images = true, map[string]bool{}, map[image.ID]bool{}
		if err := u.add(p); err != nil {
			release()
			return nil, fmt.Errorf("cannot tell whether pod %s uses the layer: %w", p.ID(), err)
		}
		if !u.layers[string(l.DiffID.ID())] {
			continue
		}
		switch err := p.Lock(); {
		case errors.Is(err, lifecycle.ErrNotFound):
		case errors.Is(err, flock.ErrBusy):
			release()
			return nil, fmt.Errorf("pod %s is running on it", p.ID())
		case err != nil:
			release()
			return nil, err
		default:
			held = append(held, p)
		}
	}
	return release, nil
}
