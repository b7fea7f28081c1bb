// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/gc"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
)

// childName is what the child finds as its own name (argv[0]).
const childName = "acbuild-step"

// failed is the child's status when it brings an error; rkt's own.
const failed = 254

// Descriptors of the child: what it is to do, and what went wrong.
const (
	orderFD  = 3
	reportFD = 4
)

// order is what the child is told: the step without its streams.
type order struct {
	Step    Step
	Dir     string // runner.dir
	DataDir string
	UUID    pod.UUID
	Stdin   bool
	Prefix  string // launch.Prefix
}

// encode leaves out what no other process can use.
func (o order) encode() ([]byte, error) {
	o.Step.Stdin, o.Step.Stdout, o.Step.Stderr, o.Step.UserNetwork.Lack = nil, nil, nil, nil
	return json.Marshal(o)
}

// child starts this program again for the step, and waits for it.
func (r *runner) child(ctx context.Context) (status int, err error) {
	s := r.step
	o := order{Step: *s, Dir: r.dir, DataDir: r.dataDir(), UUID: r.id, Stdin: s.Stdin != nil || s.Interactive, Prefix: launch.Prefix}
	b, err := o.encode()
	if err != nil {
		return 0, err
	}
	told, tell, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer told.Close()
	heard, report, err := os.Pipe()
	if err != nil {
		tell.Close()
		return 0, err
	}
	defer heard.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{childName}
	cmd.Dir = "/"
	cmd.Env = childEnvironment()
	cmd.ExtraFiles = []*os.File{told, report}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	if s.Interactive {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = (stopSeconds + 5) * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// Its mounts are nobody else's, and the cgroup that it is in is all that
		// the command sees of the host's.
		Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP,
		Pdeathsig:    unix.SIGKILL,
	}
	done := make(chan error, 1)
	go func() {
		// The child is killed when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		report.Close()
		if err == nil {
			go func() {
				_, _ = tell.Write(b) // a child that is gone has said why
				tell.Close()
			}()
			err = cmd.Wait()
		} else {
			tell.Close()
		}
		done <- err
	}()
	err = <-done
	if cmd.ProcessState == nil {
		return 0, err
	}
	status = wait.Status(unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus)))
	text, _ := io.ReadAll(io.LimitReader(heard, 64<<10))
	switch ee := (*exec.ExitError)(nil); {
	case ctx.Err() != nil:
		return status, context.Cause(ctx)
	case len(text) > 0:
		return failed, errors.New(strings.TrimSpace(string(text)))
	case err != nil && !errors.As(err, &ee):
		return status, err // copying its streams
	case cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled():
		return status, fmt.Errorf("it was ended by signal %d", status-128)
	}
	return status, nil
}

// childEnvironment is what the child itself needs; the command's is in the order.
func childEnvironment() []string {
	var env []string
	for _, name := range []string{"PATH", "TERM", "RKT_FAILPOINT", "RKT_FAILPOINT_TRACE"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// IsChild tells whether this process is one that Run started. Then main calls
// Child before all else, and ends with the status that it returns.
func IsChild() bool { return len(os.Args) == 1 && os.Args[0] == childName }

// Child does what Run started this process for. It may not return: stage1's
// supervisor takes its place when the command lives on.
func Child() int {
	report := os.NewFile(reportFD, "report")
	unix.CloseOnExec(orderFD)
	unix.CloseOnExec(reportFD)
	status, err := obey()
	if err != nil {
		fmt.Fprintln(report, err)
		return failed
	}
	return status
}

func obey() (int, error) {
	var o order
	f := os.NewFile(orderFD, "order")
	if err := json.NewDecoder(f).Decode(&o); err != nil {
		return 0, fmt.Errorf("cannot read what to do: %w", err)
	}
	f.Close()
	launch.Prefix = o.Prefix
	if err := o.scratch(); err != nil {
		return 0, err
	}
	if o.Step.Engine == Chroot {
		return o.chroot()
	}
	return o.native()
}

// scratch mounts what the step has in memory, below a directory of its own in a
// mount namespace that ends with this process.
func (o *order) scratch() error {
	place := filepath.Join(o.Dir, "scratch")
	mounted := false
	for i := range o.Step.Mounts {
		m := &o.Step.Mounts[i]
		if m.Source != "" && m.Trees == nil {
			continue
		}
		if !mounted {
			if err := unix.Mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
				return fmt.Errorf("cannot mount a tmpfs: %w", err)
			}
			mounted = true
		}
		if err := m.fill(filepath.Join(place, strconv.Itoa(i))); err != nil {
			return fmt.Errorf("cannot make mount %q: %w", m.Target, err)
		}
	}
	return nil
}

// fill makes what is to be mounted at the path place, and makes that the source.
func (m *Mount) fill(place string) error {
	if m.Trees != nil {
		return m.stack(place)
	}
	m.Source = place
	if m.Tmpfs != nil {
		if err := os.Mkdir(m.Source, 0o755); err != nil {
			return err
		}
		options := "mode=1777"
		if m.Tmpfs.Size > 0 {
			options += fmt.Sprintf(",size=%d", m.Tmpfs.Size)
		}
		return unix.Mount("tmpfs", m.Source, "tmpfs", unix.MS_NODEV, options)
	}
	m.ReadOnly = true
	if err := os.WriteFile(m.Source, m.Secret.Content, 0o600); err != nil {
		return err
	}
	if err := unix.Chown(m.Source, m.Secret.UID, m.Secret.GID); err != nil {
		return err
	}
	return unix.Chmod(m.Source, m.Secret.Mode&0o7777)
}

// stack mounts the trees, and finds the source in them.
func (m *Mount) stack(place string) error {
	for _, d := range []string{place, place + ".upper", place + ".work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	var fd int
	var err error
	if m.ReadOnly {
		fd, err = stack(unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_RDONLY, append([]string{place + ".work", place + ".upper"}, m.Trees...), "", "")
	} else {
		fd, err = Overlay(m.Trees, place+".upper", place+".work")
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	real, there, err := Resolve(fd, m.Source)
	if err == nil && there < len(real) {
		err = &os.PathError{Op: "open", Path: m.Source, Err: unix.ENOENT}
	}
	if err != nil {
		return err
	}
	at, err := unix.Open(place, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if err := mount.Attach(fd, at); err != nil {
		return err
	}
	m.Source = filepath.Join(append([]string{place}, real...)...)
	return nil
}

// removePod removes what is left of a step's pod in rkt's own data directory, and
// gives back what it holds of networks.
func removePod(dataDir string, id pod.UUID) error {
	p, err := lifecycle.Open(dataDir, string(id))
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var lost []error
	err = gc.Remove(p, launch.Collect, func(err error) { lost = append(lost, err) })
	return errors.Join(append(lost, err)...)
}
