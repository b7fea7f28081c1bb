// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package escape is what a hostile image, and a hostile app, try against the
// machine: the known escapes of the last ten years, one by one, from inside a
// pod. Each must fail, and each is shown to be a real attempt: it works where
// the wall that should hold it is taken away. docs/security.md has the list.
package escape

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rkt/rkt/test/layout"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/tools/programs"
)

var (
	install  rkt.Install
	attacker string // the attacking program, on the host
)

func TestMain(m *testing.M) {
	rkt.Download("stage1-kvm", "stage1-coreos")
	os.Exit(rkt.Apart(func() int { return run(m) }))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test skips itself, with the reason
	}
	// In tools/vm's machine, all is built.
	if attacker = os.Getenv("RKT_TEST_ATTACKER"); attacker != "" {
		install = rkt.Install{Dir: os.Getenv("RKT_TEST_INSTALL")}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "rkt-escape-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	attacker = filepath.Join(dir, "attack")
	build := exec.Command("go", "build", "-o", attacker, "./testdata/attack")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the attacker: %v\n%s", err, out)
		return 1
	}
	if install, err = rkt.Build(dir, ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func host(t *testing.T) *rkt.Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	return rkt.New(t, install)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hostile makes an image of the attacker, with config and what fill adds, and
// fetches it. It returns the image's ID.
func hostile(t *testing.T, h *rkt.Host, config layout.Config, fill func(*layout.Tar) error) string {
	t.Helper()
	return h.Must("fetch", "--full", hostileRef(t, config, fill)).Out()
}

// hostileRef is the reference of such an image.
func hostileRef(t *testing.T, config layout.Config, fill func(*layout.Tar) error) string {
	t.Helper()
	dir := t.TempDir()
	l, err := layout.Create(dir)
	must(t, err)
	layer, err := l.AddLayer(layout.Plain, func(tw *layout.Tar) error {
		for _, d := range []string{"tmp", "v"} {
			if err := layout.Dir(tw, d, 0o777); err != nil {
				return err
			}
		}
		if err := layout.Copy(tw, attacker, "attack"); err != nil {
			return err
		}
		if fill == nil {
			return nil
		}
		return fill(tw)
	})
	must(t, err)
	if config.Entrypoint == nil {
		config.Entrypoint = []string{"/attack"}
	}
	_, err = l.AddImage("hostile", config, layer)
	must(t, err)
	return "oci:" + dir + ":hostile"
}

// verdict is what an attempt came to: whether it worked, and why not.
type verdict struct {
	done bool
	said string
}

func judge(out string) verdict {
	out = strings.TrimSpace(out)
	last := out[strings.LastIndexByte(out, '\n')+1:]
	return verdict{last == "done", out}
}

// flags are what is put on rkt's command line beside an attempt.
type flags struct{ global, pod, app []string }

func (f flags) and(g flags) flags {
	return flags{append(f.global[:len(f.global):len(f.global)], g.global...), append(f.pod[:len(f.pod):len(f.pod)], g.pod...), append(f.app[:len(f.app):len(f.app)], g.app...)}
}

// inPod runs an attempt as the only app of a pod.
func inPod(t *testing.T, h *rkt.Host, image string, f flags, attempt ...string) verdict {
	t.Helper()
	args := append(append(append(append([]string{}, f.global...), "run"), f.pod...), image)
	args = append(append(append(args, f.app...), "--exec=/attack", "--"), attempt...)
	r := h.Rkt(args...)
	if r.Status != 0 {
		t.Errorf("%v: exit status %d, %q\n%s", attempt, r.Status, r.Stdout, r.Stderr)
	}
	return judge(r.Stdout)
}

// onHost runs an attempt with all that root has; flags are namespaces for it, so
// that the machine stays as it is.
func onHost(t *testing.T, cmd *exec.Cmd, namespaces uintptr) verdict {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Cloneflags = namespaces
	if namespaces&syscall.CLONE_NEWNS != 0 {
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS // makes / private
		cmd.SysProcAttr.Cloneflags &^= syscall.CLONE_NEWNS
	}
	out, err := cmd.Output()
	if err != nil {
		t.Logf("on the host: %v", err)
	}
	return judge(string(out))
}

// flavors are the installed ones that isolate by themselves: what kvm adds to native
// is TestEscapeKVM's.
func flavors(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(install.Dir, "libexec", "rkt", "stage1-*.json"))
	must(t, err)
	var names []string
	for _, p := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(p), "stage1-"), ".json")
		if name != "fly" && name != "kvm" { // fly, a chroot in the host's namespaces, promises nothing
			names = append(names, name)
		}
	}
	if err := makeCoreOS(); err == nil {
		names = append(names, "coreos")
	} else {
		t.Logf("without the flavor coreos: %v", err)
	}
	if names == nil {
		t.Fatal("there is no flavor to attack")
	}
	return names
}

// makeCoreOS adds the tree of the coreos flavor to the installation.
func makeCoreOS() error {
	out, err := exec.Command(programs.Go(), "run", "../../tools/stage1-coreos", "-o", install.Dir, "-image=false").CombinedOutput()
	if err != nil {
		return fmt.Errorf("its tree cannot be made: %s", strings.TrimSpace(string(out)))
	}
	return nil
}
