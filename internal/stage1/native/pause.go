// SPDX-License-Identifier: Apache-2.0

package native

import (
	"errors"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
)

// Pause is the `pause` entry point: the apps, and what entered them, stand still
// until Resume. The pod's first process does not: it is in rkt's cgroup.
func Pause() error {
	dir, err := cgroupToFreeze()
	if err != nil {
		return err
	}
	return cgroup.Freeze(dir)
}

// Resume is the `resume` entry point.
func Resume() error {
	dir, err := cgroupToFreeze()
	if err != nil {
		return err
	}
	return cgroup.Thaw(dir)
}

func cgroupToFreeze() (string, error) {
	doc, err := poddir.Document(".")
	if err != nil {
		return "", err
	}
	if doc.Cgroup == "" {
		return "", errors.New("cannot pause or resume the pod: this host has no cgroup hierarchy of version 2")
	}
	return doc.Cgroup, nil
}
