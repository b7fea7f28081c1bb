// SPDX-License-Identifier: Apache-2.0

package rkt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netns"
)

// apart, in the environment, says that the process is in a network namespace of
// its own.
const apart = "RKT_TEST_APART"

// Apart is for TestMain: it runs the test binary again in a network namespace of
// its own, with nothing but loopback, and run in that. What pods need of the
// host's network — rules, forwarding, routes — so never touches the machine's
// own. Without root it just runs run.
func Apart(run func() int) int { return inApart(run, 0) }

// ApartWithMounts is Apart with a mount namespace as well, for tests of which
// others would see the mounts.
func ApartWithMounts(run func() int) int { return inApart(run, unix.CLONE_NEWNS) }

// InApart tells whether this is the process that Apart has run again.
func InApart() bool { return os.Getenv(apart) != "" }

// Download has tools that make flavors ("stage1-kvm") download what they need of
// Debian's: for TestMain before Apart, while there is a network. What could not be
// had is told by the test that misses it.
func Download(tools ...string) {
	if os.Geteuid() != 0 || InApart() {
		return
	}
	for _, tool := range tools {
		_ = exec.Command("go", "run", "github.com/rkt/rkt/tools/"+tool, "-download").Run()
	}
}

func inApart(run func() int, unshare uintptr) int {
	if os.Geteuid() != 0 {
		return run()
	}
	if InApart() {
		// Who starts tests by nohup does not mean the pods in them, which would ignore
		// it, too: what is caught is not ignored by children.
		if signal.Ignored(unix.SIGHUP) {
			signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
		}
		if err := netns.LoopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Unshareflags: unshare, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
