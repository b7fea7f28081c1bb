// SPDX-License-Identifier: Apache-2.0

package gc

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/lifecycle"
)

// Users tells which layers and images pods are made from. It looks at the pods
// when it is first asked, so that store.Collect and store.Remove may ask it
// under their lock. If it cannot find out, everything is in use, and Err says
// why. It is for one goroutine, and for one such call.
type Users struct {
	dataDir string
	looked  bool
	layers  map[string]bool // by directory name
	images  map[image.ID]bool
	err     error
}

// UsersOf is for the pods below dataDir.
func UsersOf(dataDir string) *Users { return &Users{dataDir: dataDir} }

// Layer reports whether a pod has the layer in its root.
func (u *Users) Layer(l image.Layer) bool {
	u.look()
	return u.err != nil || u.layers[string(l.DiffID.ID())]
}

// Image reports whether a pod is made from the image.
func (u *Users) Image(r image.Record) bool {
	u.look()
	return u.err != nil || u.images[r.ID]
}

// Err is why it was not possible to find out.
func (u *Users) Err() error { return u.err }

func (u *Users) look() {
	if u.looked {
		return
	}
	u.looked = true
	u.layers, u.images = map[string]bool{}, map[image.ID]bool{}
	pods, err := lifecycle.List(u.dataDir)
	if err != nil {
		u.err = err
		return
	}
	for _, p := range pods {
		if err := u.add(p); err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
			u.err = fmt.Errorf("cannot tell which images pods use: %w", err)
			return
		}
	}
}

func (u *Users) add(p *lifecycle.Pod) error {
	c, err := p.Contract()
	if err == nil {
		for i := range c.Apps {
			for _, l := range c.Apps[i].Layers {
				u.layers[filepath.Base(l)] = true
			}
		}
		if c.Stage1Image != "" { // stop, enter and gc are executed from its tree
			u.images[image.ID(c.Stage1Image)] = true
			u.layers[filepath.Base(filepath.Dir(c.Flavor))] = true
		}
		m, merr := p.Manifest()
		if err = merr; err == nil {
			for i := range m.Apps {
				u.images[m.Apps[i].Image.ID] = true
			}
			return nil
		}
	}
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil
	}
	// A pod that has ended, or was never finished, and whose files are torn will
	// not need its layers again. One that is alive does.
	s, serr := p.State()
	if errors.Is(serr, lifecycle.ErrNotFound) {
		return nil
	}
	if serr == nil && s.Ended() {
		return nil
	}
	return err
}

// Images removes images that were not used for the grace period and from which
// no pod is made, prepared ones included, and all that nothing needs. A negative
// grace removes no image.
func Images(st *store.Store, dataDir string, grace time.Duration) (store.Collected, error) {
	u := UsersOf(dataDir)
	c, err := st.Collect(store.Policy{Grace: grace, Keep: u.Image, InUse: u.Layer})
	return c, errors.Join(err, u.Err())
}

// RemoveImage removes an image. The trees of layers that pods have in their
// roots stay until the pods are gone.
func RemoveImage(st *store.Store, dataDir string, id image.ID) (freed int64, err error) {
	u := UsersOf(dataDir)
	freed, err = st.Remove(id, u.Layer)
	return freed, errors.Join(err, u.Err())
}
