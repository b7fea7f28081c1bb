// SPDX-License-Identifier: Apache-2.0

// Package gc gives back what pods leave: directories of pods that ended or
// never began, what a crash left outside them, and images no pod needs. All of
// it can be killed at any instant and run again.
package gc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Policy says what Collect removes.
type Policy struct {
	// GracePeriod: pods that ended are kept that long after a collection has
	// marked them.
	GracePeriod time.Duration
	// ExpirePrepared: prepared pods that were not run for that long go.
	ExpirePrepared time.Duration
	// MarkOnly: nothing is removed.
	MarkOnly bool
	// Cleanup asks the pod's flavor to give back what a pod that did not end by
	// itself left outside its directory: launch.Collect.
	Cleanup func(*lifecycle.Pod) error
	// Removing is told of each pod before it is removed; Warn of what could not
	// be cleaned up though the pod is removed. Either may be nil.
	Removing func(pod.UUID)
	Warn     func(error)
}

// Collect marks pods that ended and removes those whose time has come. A pod
// that another process holds is left alone. A pod that cannot be removed does
// not keep the others: the errors are joined.
func Collect(dataDir string, pol Policy) error {
	var errs []error
	note := func(err error) {
		// Another collection, or the pod's own end, was faster.
		if err != nil && !errors.Is(err, lifecycle.ErrNotFound) && !errors.Is(err, lifecycle.ErrBusy) {
			errs = append(errs, err)
		}
	}
	note(lifecycle.DiscardEmbryos(dataDir))
	now := time.Now()
	pods, err := lifecycle.List(dataDir, lifecycle.Prepare, lifecycle.Prepared, lifecycle.Run)
	if err != nil {
		return err
	}
	marked := false
	for _, p := range pods {
		m, err := mark(p, pol.ExpirePrepared, now)
		marked = marked || m
		note(err)
	}
	if marked {
		note(lifecycle.Sync(dataDir))
	}
	if pol.MarkOnly {
		return errors.Join(errs...)
	}
	pods, err = lifecycle.List(dataDir, lifecycle.ExitedGarbage, lifecycle.Garbage)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, p := range pods {
		note(sweep(p, pol))
	}
	return errors.Join(errs...)
}

// mark moves p to garbage if it is time.
func mark(p *lifecycle.Pod, expire time.Duration, now time.Time) (bool, error) {
	s, err := p.State()
	if err != nil {
		return false, err
	}
	next := lifecycle.Garbage
	switch s {
	case lifecycle.StateExited:
		next = lifecycle.ExitedGarbage
	case lifecycle.StateAbortedPrepare:
	case lifecycle.StatePrepared:
		age, err := p.Age(now)
		if err != nil || expire > 0 && age < expire {
			return false, err
		}
	default:
		return false, nil
	}
	if err := p.Lock(); err != nil {
		return false, err
	}
	defer p.Close()
	// Between our look and our lock it may have been run, or prepared.
	if was, _ := p.State(); !heldFrom(s, was) {
		return false, nil
	}
	return true, p.ToFast(next)
}

// heldFrom: the state of a pod that was in state free, now that we hold its lock.
func heldFrom(free, held lifecycle.State) bool {
	switch free {
	case lifecycle.StateExited:
		return held == lifecycle.StateRunning
	case lifecycle.StateAbortedPrepare:
		return held == lifecycle.StatePreparing
	}
	return held == free
}

func sweep(p *lifecycle.Pod, pol Policy) error {
	if p.Phase() == lifecycle.ExitedGarbage && pol.GracePeriod > 0 {
		age, err := p.Age(time.Now())
		if err != nil || age < pol.GracePeriod {
			return err
		}
	}
	s, err := p.State()
	if err != nil || s != lifecycle.StateExitedGarbage && s != lifecycle.StateGarbage {
		return err
	}
	if err := p.Lock(); err != nil {
		return err
	}
	defer p.Close()
	if pol.Removing != nil {
		pol.Removing(p.ID())
	}
	return remove(p, pol.Cleanup, pol.Warn)
}

// Remove removes one pod now, as `rkt rm`: refused while it runs, is being
// prepared or removed. Cleanup and warn are as in Policy.
func Remove(p *lifecycle.Pod, cleanup func(*lifecycle.Pod) error, warn func(error)) error {
	s, err := p.State()
	if err != nil {
		return err
	}
	refuse := func(s lifecycle.State) error {
		err := fmt.Errorf("cannot remove pod %s: it is %s", p.ID(), s)
		if s == lifecycle.StateRunning {
			return hint.Wrap(err, "stop it first: rkt stop "+string(p.ID()))
		}
		return err
	}
	switch s {
	case lifecycle.StateRunning, lifecycle.StatePreparing, lifecycle.StateDeleting,
		lifecycle.StateExitedDeleting, lifecycle.StateEmbryo:
		return refuse(s)
	}
	if err := p.Lock(); err != nil {
		if errors.Is(err, lifecycle.ErrBusy) {
			if now, serr := p.State(); serr == nil {
				return refuse(now)
			}
		}
		return err
	}
	defer p.Close()
	switch p.Phase() {
	case lifecycle.Run:
		err = p.To(lifecycle.ExitedGarbage)
	case lifecycle.Prepare, lifecycle.Prepared:
		err = p.To(lifecycle.Garbage)
	}
	if err != nil {
		return err
	}
	return remove(p, cleanup, warn)
}

// remove cleans up after and deletes a pod that is locked and garbage.
func remove(p *lifecycle.Pod, cleanup func(*lifecycle.Pod) error, warn func(error)) error {
	if p.Phase() == lifecycle.ExitedGarbage && cleanup != nil && needsCleanup(p) {
		switch err := cleanup(p); {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist):
			// Its flavor is no longer installed: nobody can do better later.
			if warn != nil {
				warn(fmt.Errorf("cannot clean up after pod %s: %w", p.ID(), err))
			}
		default:
			return err
		}
	}
	return p.Remove()
}

// needsCleanup reports whether the pod's own stage1 has not seen it to the end:
// an app's end is not told, or a cgroup is still there, or something of a
// network. A pod whose document
// is torn was running when the machine went down: nothing of it is left but its
// files.
func needsCleanup(p *lifecycle.Pod) bool {
	c, err := p.Contract()
	if err != nil {
		return false
	}
	dirs := c.CgroupDirs()
	if aside := c.Aside(); aside != "" {
		dirs = append(dirs, aside)
	}
	for _, dir := range dirs {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	if c.Network == contract.NetworkContained {
		if n, err := p.Networks(); err != nil || !n.Released {
			return true
		}
	}
	e, err := p.Events()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(c.Apps, func(a contract.App) bool { return !e.Apps[a.Name].Ended })
}
