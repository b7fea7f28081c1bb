// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/native"
)

// Stop is the `stop` entry point: SIGTERM to the pod's `run` process, which asks
// the apps to end, or with force SIGKILL to all that is in the pod's cgroup, systemd
// and systemd-nspawn with it, whether it hangs, is stopped or paused. A pod that has
// ended already is fine.
func Stop(force bool) error {
	doc, err := poddir.Document(".")
	if err != nil {
		return err
	}
	events, err := poddir.Events(".")
	if err != nil {
		return err
	}
	if force && (events.Init != 0 || cgroup.Populated(doc.Cgroup)) {
		if err := cgroup.Kill(doc.Cgroup); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("cannot stop the pod: %w", err)
		}
		return nil
	}
	init, err := native.OpenInit(".")
	if err != nil || init < 0 {
		return err
	}
	defer unix.Close(init)
	// systemd-nspawn, systemd's parent, is `run`'s child.
	asked, err := poddir.Ask(events.Run, func() int { return pidfd.Parent(pidfd.Parent(events.Init)) })
	if err != nil || !asked {
		return err
	}
	return cgroup.Thaw(doc.Cgroup)
}

// GC is the `gc` entry point: what the pod has outside its directory are its
// cgroups, and a link to its journal.
func GC() error {
	doc, err := poddir.Document(".")
	if err != nil {
		return err
	}
	unlinkJournal(doc)
	return removeCgroups(doc)
}

// removeCgroups removes the pod's cgroups, and kills what is left in them.
func removeCgroups(doc *contract.Pod) error {
	err := cgroup.RemoveAll(doc.CgroupDirs(), doc.Aside())
	// On a hybrid host systemd-nspawn makes the same ones in systemd's own hierarchy
	// of version 1.
	if path, ok := strings.CutPrefix(doc.Cgroup, hybrid+"/unified/"); ok {
		err = errors.Join(err, cgroup.Remove(hybrid+"/systemd/"+path))
	}
	return err
}

// hybrid is where a hybrid host has its hierarchies.
const hybrid = "/sys/fs/cgroup"
