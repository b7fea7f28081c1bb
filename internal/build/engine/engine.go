// SPDX-License-Identifier: Apache-2.0

// Package engine runs one command of an image's build in the image's tree and
// leaves what the command wrote, and nothing else, in a directory of the
// caller's.
//
// The engine "native" makes a pod of the command: it writes the document for
// stage1 itself and starts rkt's native flavor with it, so that a build step has
// the namespaces, capabilities, system calls and masks that an app has. The engine
// "chroot" is for machines that let nobody make those: the command sees the host's
// processes and network, and only its root is its own.
//
// Either runs in a child process that Run starts: the calling program again, whose
// main must call Child before all else. The child, and all that it started, is
// killed with the caller, and what it mounted ends with it.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/rmtree"
	"github.com/rkt/rkt/internal/pod"
)

// The engines, for Step.Engine.
const (
	Native = "native" // the default
	Chroot = "chroot"
)

// The networks, for Step.Network.
const (
	NetworkNone    = "none"    // loopback alone
	NetworkHost    = "host"    // the host's
	NetworkDefault = "default" // rkt's network of that name
)

// A Step is one command and what it needs. All paths of the host are absolute.
type Step struct {
	// Lower are the image's trees, lowest first, in overlayfs's form: what
	// store.LayerTree gives. None is changed.
	Lower []string
	// Upper gets what the command changes, in overlayfs's form. It may have the
	// changes of earlier steps; if it is missing it is made, with the attributes
	// of the topmost tree.
	Upper string
	// Work is a directory of the caller's on Upper's filesystem. Run leaves
	// nothing in it; what a killed one left is for the caller to remove.
	Work string

	Argv []string
	// Env is all that the command finds, NAME=VALUE, but for HOME, which is the
	// user's in the image unless it is here.
	Env []string
	// User and Group are names or numbers; "" is root, and the user's own group.
	User, Group string
	Dir         string // "" is "/"; it is made if the image has none
	Mounts      []Mount
	Network     string // "" is NetworkNone
	// Hosts are lines for the command's /etc/hosts, which is then not the image's.
	Hosts []string
	// Hostname is the command's; "" is "acbuild", so that what records it is the
	// same in each build.
	Hostname string

	// DataDir is rkt's, where NetworkDefault keeps its addresses; the step's pod
	// is there while it runs, and if it is killed `rkt gc` removes it.
	DataDir string
	// NetworkConfig, NetworkShared and NetworkPlugins are as in contract.Pod.
	NetworkConfig, NetworkShared, NetworkPlugins []string
	// UserNetwork is what an ordinary user has for NetworkDefault.
	UserNetwork UserNetwork
	// Flavor is the path of the flavor's manifest; "" is rkt's own native.
	Flavor string
	Engine string // "" is Native

	// Interactive connects the command to the caller's terminal; the streams are
	// not used then. Else a nil Stdin is empty, nil Stdout and Stderr go nowhere.
	Interactive    bool
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// UserNetwork is what carries an ordinary user's network.
type UserNetwork struct {
	// Program is the path of pasta or slirp4netns; "" is rkt's own network, or if
	// Lack says so, none.
	Program string
	Lack    error
}

// A Mount is something that the command sees, and that is not part of what Upper
// gets. Places that the image does not have are there for the command only.
type Mount struct {
	Target string // in the image's tree
	// Source is a directory or file of the host; "" is a Tmpfs or a Secret.
	Source   string
	ReadOnly bool
	// Trees, if there are any, are stacked, lowest first, and Source is a path in
	// them. What is written there, without ReadOnly, is lost.
	Trees  []string
	Tmpfs  *Tmpfs
	Secret *Secret
}

// Tmpfs is an empty directory in memory.
type Tmpfs struct {
	Size int64 // bytes; 0 is the kernel's default
}

// Secret is a file that is never on a disk.
type Secret struct {
	Content  []byte
	Mode     uint32
	UID, GID int
}

// Bounds of what a step may have, so that the document stays readable for stage1.
const (
	maxLayers = 450 // overlayfs takes 500
	maxSecret = 1 << 20
)

func (s *Step) validate() error {
	switch {
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return errors.New("there is no command")
	case len(s.Lower) > maxLayers:
		return fmt.Errorf("the image has %d layers, more than %d", len(s.Lower), maxLayers)
	case !slices.Contains([]string{"", NetworkNone, NetworkHost, NetworkDefault}, s.Network):
		return fmt.Errorf("network %q is none of none, host, default", s.Network)
	case !slices.Contains([]string{"", Native, Chroot}, s.Engine):
		return fmt.Errorf("engine %q is neither native nor chroot", s.Engine)
	case s.Engine == Chroot && s.Network != NetworkHost:
		return fmt.Errorf("engine chroot has the host's network only, not %q", s.network())
	case s.Network == NetworkDefault && !filepath.IsAbs(s.DataDir):
		return fmt.Errorf("data directory %q is not absolute", s.DataDir)
	case s.Engine == Chroot && s.Interactive:
		return errors.New("engine chroot has no terminal to give")
	}
	for _, p := range append([]string{s.Upper, s.Work}, s.Lower...) {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("path %q is not absolute", p)
		}
	}
	if s.Dir != "" && !filepath.IsAbs(s.Dir) {
		return fmt.Errorf("working directory %q is not absolute", s.Dir)
	}
	for _, e := range s.Env {
		name, value, _ := strings.Cut(e, "=")
		if err := pod.ValidateEnvironment(name, value); err != nil {
			return err
		}
	}
	for _, a := range s.Argv {
		if strings.IndexByte(a, 0) >= 0 {
			return fmt.Errorf("argument %q has a NUL byte", a)
		}
	}
	if s.Hostname != "" {
		if err := pod.ValidateHostname(s.Hostname); err != nil {
			return err
		}
	}
	return s.validateMounts()
}

func (s *Step) validateMounts() error {
	for i := range s.Mounts {
		m := &s.Mounts[i]
		kinds := 0
		for _, is := range []bool{m.Source != "", m.Tmpfs != nil, m.Secret != nil} {
			if is {
				kinds++
			}
		}
		switch {
		case kinds != 1:
			return fmt.Errorf("mount %q is not one of a source, a tmpfs, a secret", m.Target)
		case m.Source != "" && !filepath.IsAbs(m.Source) && m.Trees == nil:
			return fmt.Errorf("source %q of mount %q is not absolute", m.Source, m.Target)
		case !filepath.IsAbs(m.Target) || strings.IndexByte(m.Target, 0) >= 0:
			return fmt.Errorf("target %q of a mount is not an absolute path", m.Target)
		case m.Secret != nil && len(m.Secret.Content) > maxSecret:
			return fmt.Errorf("secret at %q is larger than %d bytes", m.Target, maxSecret)
		}
		target := filepath.Clean(m.Target)
		for _, own := range []string{"/", "/proc", "/sys", "/dev"} {
			if target == own || own == "/proc" && strings.HasPrefix(target, "/proc/") {
				return fmt.Errorf("a mount at %q would hide what every command has there", m.Target)
			}
		}
	}
	return nil
}

func (s *Step) network() string {
	if s.Network == "" {
		return NetworkNone
	}
	return s.Network
}

func (s *Step) hostname() string {
	if s.Hostname == "" {
		return "acbuild"
	}
	return s.Hostname
}

// stopSeconds is how long a command has between the request to end and SIGKILL.
const stopSeconds = 3

// Run runs the step's command and returns its exit status, 128+n for signal n. An
// error means that it did not come to run, or that what it left cannot be trusted
// to be whole. When ctx ends, the command is asked to end, and killed a moment
// later.
func Run(ctx context.Context, s Step) (status int, err error) {
	if err := s.validate(); err != nil {
		return 0, fmt.Errorf("cannot run build step: %w", err)
	}
	if os.Geteuid() != 0 {
		return 0, errors.New("cannot run build step: only root may mount an image's tree")
	}
	if s.Network == NetworkDefault && s.UserNetwork.Lack != nil {
		return 0, hint.Wrap(fmt.Errorf("cannot run build step: network default: %w", s.UserNetwork.Lack),
			"install pasta (Debian's package passt) or slirp4netns, and see that you may open /dev/net/tun; or choose network host or none")
	}
	if err := s.makeUpper(); err != nil {
		return 0, fmt.Errorf("cannot run build step: %w", err)
	}
	dir, err := os.MkdirTemp(s.Work, "step-")
	if err != nil {
		return 0, fmt.Errorf("cannot run build step: %w", err)
	}
	r := runner{step: &s, dir: dir}
	status, err = r.run(ctx)
	if rerr := r.remove(); err == nil && rerr != nil {
		err = rerr
	}
	if err != nil {
		return status, fmt.Errorf("cannot run build step: %w", err)
	}
	return status, nil
}

// runner is one Run.
type runner struct {
	step  *Step
	dir   string // below step.Work, all that is only for this command
	stubs stubs
	id    pod.UUID
}

func (r *runner) run(ctx context.Context) (int, error) {
	for _, d := range []string{"overlay", "skeleton", "scratch"} {
		if err := os.Mkdir(filepath.Join(r.dir, d), 0o755); err != nil {
			return 0, err
		}
	}
	if err := r.findStubs(); err != nil {
		return 0, err
	}
	var err error
	if r.id, err = pod.NewUUID(); err != nil {
		return 0, err
	}
	status, err := r.child(ctx)
	if serr := r.sweep(); err == nil {
		err = serr
	}
	return status, err
}

// dataDir is where the step's pod is.
func (r *runner) dataDir() string {
	if r.step.Network == NetworkDefault {
		return r.step.DataDir
	}
	return r.dir
}

func (r *runner) remove() error {
	var perr error
	if r.step.Network == NetworkDefault && r.id != "" {
		perr = removePod(r.dataDir(), r.id)
	}
	// The kernel ends an overlay's mounts a moment after the last process.
	var err error
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		if _, err = rmtree.Remove(r.dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(wait)
	}
	return errors.Join(perr, err)
}
