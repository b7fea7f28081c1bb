// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// namespaced puts into the document what is different for a pod that is made in
// a user namespace, and refuses what cannot be had there.
func namespaced(c *contract.Pod) error {
	if userns.Initial() {
		return nil
	}
	c.OverlayOptions = []string{"userxattr"} // trusted.* is the host's root's
	var err error
	if c.KeepGroups, err = userns.OneGroup(); err != nil {
		return err
	}
	for i := range c.Apps {
		a := &c.Apps[i]
		if c.KeepGroups && len(a.SupplementaryGIDs) > 0 {
			return hint.Wrap(fmt.Errorf("app %q cannot have supplementary groups: your user namespace has one group", a.Name), userns.SubIDs)
		}
		if a.OOMScoreAdj != nil {
			if err := mayLower(*a.OOMScoreAdj); err != nil {
				return fmt.Errorf("app %q: %w", a.Name, err)
			}
		}
	}
	return mayLimit(c)
}

// mayLower refuses an OOM score that only the host's root may set: it takes
// CAP_SYS_RESOURCE there to go below one's own (proc_pid_oom_score_adj(5)).
func mayLower(score int) error {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return fmt.Errorf("cannot read own OOM score: %w", err)
	}
	own := 0
	if _, err := fmt.Sscan(string(b), &own); err != nil || score >= own {
		return err
	}
	return hint.Wrap(fmt.Errorf("its OOM score cannot be %d: rkt's is %d, and only root lowers it", score, own),
		fmt.Sprintf("ask for %d or more", own))
}

// mayLimit refuses limits for which there is no cgroup that was given to the user.
func mayLimit(c *contract.Pod) error {
	names := make([]string, 0, len(c.Controllers))
	for name := range c.Controllers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		dir := filepath.Dir(c.Controllers[name])
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if err == nil {
			err = unix.Access(dir+"/cgroup.procs", unix.W_OK)
		}
		if err == unix.EACCES || err == unix.EROFS || err == unix.EPERM {
			return hint.Wrap(fmt.Errorf("cannot limit the pod by controller %q: cgroup %s is not yours to divide", name, dir),
				"have one given to you: "+cgroup.Delegate())
		}
		if err != nil {
			return fmt.Errorf("cannot limit the pod by controller %q: %w", name, os.NewSyscallError("access", err))
		}
	}
	return nil
}
