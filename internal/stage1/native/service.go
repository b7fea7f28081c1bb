// SPDX-License-Identifier: Apache-2.0

package native

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// cgroupView is where an app sees its own cgroup.
const cgroupView = "/sys/fs/cgroup"

// A Service is an app whose supervisor is not the pod's first process but a
// service of that one's: what this package does for all apps of a pod it does for
// one of them, in flavors that have another init.
type Service struct {
	Doc *contract.Pod
	App string
	// Control leads to `run`, as an init's does.
	Control int
	// Root is the path of the app's root, all mounted, in the calling thread's
	// mount namespace, whose mounts are not shared with others.
	Root string
	// Groups are files by which the app enters its cgroups.
	Groups []int
	Log    *os.File // nil for none
	// Journal is where what the app writes goes beside the caller's streams, which
	// are this process's; nil for nowhere.
	Journal [2]*os.File
	Sockets []contract.InheritedSocket
	// End ends all processes of the app's that are not this one.
	End func()
	// Lost is called when `run` has ended before the app.
	Lost func()
}

// Supervise runs the app to its end and returns its status. SIGTERM asks it to
// end, as from `run`. The calling goroutine stays on its thread.
func (v *Service) Supervise() (int, error) {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl", err)
	}
	// What the app leaves behind becomes ours, as an init's.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl", err)
	}
	deafen()
	s := &supervisor{doc: v.Doc, ctl: Control(v.Control), place: v.Root, endOthers: v.End, lost: v.Lost}
	a := &app{App: v.Doc.App(v.App), groups: v.Groups, sockets: v.Sockets}
	if a.App == nil {
		return 0, fmt.Errorf("cannot run app %q: the pod has none of that name", v.App)
	}
	a.out.log, a.out.also = v.Log, v.Journal
	var err error
	if a.root, err = unix.Open(v.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return 0, fmt.Errorf("cannot run app %q: %w", v.App, &os.PathError{Op: "open", Path: v.Root, Err: err})
	}
	if a.OOMScoreAdj != nil {
		if s.oom, err = safepath.OpenInRoot(a.root, "proc/self/oom_score_adj", unix.O_RDWR); err != nil {
			return 0, fmt.Errorf("cannot open own OOM score: %w", err)
		}
	}
	s.apps = []*app{a}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	go func() {
		for range stop {
			s.stop()
		}
	}()
	go s.listen()
	if err := s.startAll(); err != nil {
		return 0, err
	}
	if err := s.settle(); err != nil {
		return 0, err
	}
	return s.reap(), nil
}
