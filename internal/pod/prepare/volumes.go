// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func samePath(a, b string) bool { return path.Clean(a) == path.Clean(b) }

// volumes resolves mounts for all apps of one pod.
type volumes struct {
	runDir   string // the pod's directory while it runs
	byName   map[string]*pod.Volume
	used     map[string]bool
	empty    []pod.Volume // to be made below volumes/, named by directory
	implicit []pod.Volume // to be added to the manifest
	warn     func(string, ...any)
}

func newVolumes(runDir string, list []pod.Volume, warn func(string, ...any)) (*volumes, error) {
	v := &volumes{runDir: runDir, byName: map[string]*pod.Volume{}, used: map[string]bool{}, warn: warn}
	for i := range list {
		if v.byName[list[i].Name] != nil {
			return nil, fmt.Errorf("multiple volumes with name %q", list[i].Name)
		}
		v.byName[list[i].Name] = &list[i]
	}
	return v, nil
}

// resolve turns an app's mounts and mount points into the document's, parents
// before children, and adds what it made up to a.Mounts.
func (v *volumes) resolve(a *app) ([]contract.Mount, error) {
	var mounts []contract.Mount
	taken := map[string]bool{}
	for i := range a.Mounts {
		m := &a.Mounts[i]
		target := path.Clean(m.Path)
		if taken[target] {
			return nil, fmt.Errorf("multiple mounts on %q", target)
		}
		taken[target] = true
		vol, dir := m.AppVolume, a.Name+"-"+m.Volume
		if vol == nil {
			if vol, dir = v.byName[m.Volume], m.Volume; vol == nil {
				return nil, hint.Wrap(fmt.Errorf("mount of volume %q on %q: no such volume", m.Volume, m.Path),
					"define it with --volume="+m.Volume+",kind=…")
			}
			v.used[m.Volume] = true
		}
		// A mount point on the same path says how its image wants it.
		wantRO := slices.ContainsFunc(a.App.MountPoints, func(mp pod.MountPoint) bool {
			return mp.ReadOnly && samePath(mp.Path, m.Path)
		})
		cm, err := v.mount(vol, dir, target, wantRO)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, cm)
	}
	for _, mp := range a.App.MountPoints {
		target := path.Clean(mp.Path)
		if taken[target] {
			continue
		}
		taken[target] = true
		if vol := v.byName[mp.Name]; vol != nil {
			v.used[mp.Name] = true
			cm, err := v.mount(vol, mp.Name, target, mp.ReadOnly)
			if err != nil {
				return nil, err
			}
			mounts = append(mounts, cm)
			continue
		}
		if a.keep[target] {
			if a.ReadOnlyRootFS && !mp.ReadOnly {
				mounts = append(mounts, contract.Mount{Volume: mp.Name, Target: target, Keep: true})
			}
			continue // a writable root is all that is wanted
		}
		cm, err := v.makeUp(a, mp, target)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, cm)
	}
	slices.SortStableFunc(mounts, func(x, y contract.Mount) int { return strings.Compare(x.Target, y.Target) })
	return mounts, nil
}

// makeUp is the implicit empty volume of a mount point nobody gave one for.
func (v *volumes) makeUp(a *app, mp pod.MountPoint, target string) (contract.Mount, error) {
	vol := pod.Volume{Name: a.Name + "-" + mp.Name, Kind: pod.EmptyVolume, Mode: "0755", UID: new(int), GID: new(int)}
	if v.byName[vol.Name] != nil {
		return contract.Mount{}, fmt.Errorf("mount point %q has no volume, and the name %q for a new one is taken", mp.Name, vol.Name)
	}
	v.warn("no volume for mount point %q of app %q: it gets an empty one", mp.Name, a.Name)
	v.implicit = append(v.implicit, vol)
	v.byName[vol.Name] = &vol
	v.used[vol.Name] = true
	a.Mounts = append(a.Mounts, pod.Mount{Volume: vol.Name, Path: mp.Path})
	return v.mount(&vol, vol.Name, target, mp.ReadOnly)
}

// mount is a volume on a target; dir names its directory if it is empty.
func (v *volumes) mount(vol *pod.Volume, dir, target string, wantRO bool) (contract.Mount, error) {
	m := contract.Mount{Volume: vol.Name, Target: target, ReadOnly: wantRO}
	if vol.ReadOnly != nil {
		m.ReadOnly = *vol.ReadOnly
	}
	if vol.Kind == pod.HostVolume {
		m.Source = filepath.Clean(vol.Source)
		m.Recursive = vol.Recursive == nil || *vol.Recursive
		if _, err := os.Stat(m.Source); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return m, hint.Wrap(fmt.Errorf("volume %q: source %q does not exist", vol.Name, vol.Source), "create it first")
			}
			return m, fmt.Errorf("volume %q: %w", vol.Name, err)
		}
		return m, nil
	}
	m.Source = filepath.Join(v.runDir, lifecycle.VolumesDir, dir)
	made := *vol
	made.Name = dir
	i := slices.IndexFunc(v.empty, func(e pod.Volume) bool { return e.Name == dir })
	switch {
	case i < 0:
		v.empty = append(v.empty, made)
	case v.empty[i].Permissions() != vol.Permissions():
		return m, fmt.Errorf("multiple volumes with name %q", dir)
	}
	return m, nil
}

// unused warns of volumes that no app mounts.
func (v *volumes) unused(list []pod.Volume) {
	for i := range list {
		if !v.used[list[i].Name] {
			v.warn("volume %q is not mounted by any app", list[i].Name)
		}
	}
}
