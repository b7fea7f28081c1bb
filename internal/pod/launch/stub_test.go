// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// A stub is a flavor that notes how its entry points are called. Its program is
// this test's own, and so is that of a stage0 that a process becomes another of.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "stub" {
		os.Exit(stub(os.Args[2:]))
	}
	if len(os.Args) > 3 && os.Args[1] == "stage0" {
		os.Exit(stage0(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// noted is what a stub's entry point notes, in ENTRYPOINT.json in its working
// directory.
type noted struct {
	PID         int
	Args, Env   []string
	Dir         string
	Descriptors []int
}

// stub is an entry point: it ends with the status in the file "status", once the
// file "wait" is gone.
func stub(args []string) int {
	n := noted{PID: os.Getpid(), Args: args, Env: os.Environ()}
	n.Dir, _ = os.Getwd()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 251
	}
	for _, fd := range fds {
		number, _ := strconv.Atoi(fd.Name())
		// What Go opens itself is closed on exec; what came is not.
		if flags, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			n.Descriptors = append(n.Descriptors, number)
		}
	}
	text, err := json.Marshal(n)
	if err != nil {
		return 252
	}
	name := args[0] + ".json"
	if err := errors.Join(os.WriteFile(name+".new", text, 0o600), os.Rename(name+".new", name)); err != nil {
		return 253
	}
	for {
		if _, err := os.Stat("wait"); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	status, _ := os.ReadFile("status") // none is 0
	code, _ := strconv.Atoi(string(status))
	return code
}

// stubFlavor writes the manifest of a stub with those entry points beside the usual
// ones.
func stubFlavor(t *testing.T, more ...string) Flavor {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := contract.Manifest{ContractVersion: contract.Version, Name: "stub", Entrypoints: map[string][]string{}, Features: []contract.Feature{contract.NetHost}}
	for _, name := range append([]string{"run", "enter", "stop", "gc"}, more...) {
		m.Entrypoints[name] = []string{exe, "stub", name}
	}
	path := filepath.Join(t.TempDir(), "stage1-stub.json")
	if err := os.WriteFile(path, m.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stubPod makes a pod for a flavor, in phase Prepare and locked.
func stubPod(t testing.TB, dir string, f Flavor) (*lifecycle.Pod, *contract.Pod) {
	id, err := pod.NewUUID()
	if err != nil {
		t.Fatal(err)
	}
	p, err := lifecycle.Create(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	doc := &contract.Pod{Version: contract.Version, UUID: string(id), Flavor: f.Path, Network: contract.NetworkHost, Apps: []contract.App{{Name: "a"}}}
	doc.Features = doc.Needs()
	if err := os.WriteFile(filepath.Join(p.Dir(), contract.File), doc.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	return p, doc
}

// read is what the stub noted of an entry point in the pod's directory.
func read(t *testing.T, dir, name string) (n noted) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err == nil {
			err = json.Unmarshal(text, &n)
		}
		if err == nil {
			return n
		}
		if time.Now().After(until) {
			t.Fatalf("%s was not called: %v", name, err)
		}
	}
}

// stage0 runs a pod in dir, as the cli does: more is its UUID and, if one is to come
// just before `run`, a signal.
func stage0(dir string, more []string) int {
	err := func() error {
		p, err := lifecycle.Open(dir, more[0])
		if err == nil {
			err = p.Lock()
		}
		if err != nil {
			return err
		}
		doc, err := p.Contract()
		if err != nil {
			return err
		}
		f, err := Load(doc.Flavor)
		if err != nil {
			return err
		}
		s, err := Begin(f, doc, nil)
		if err != nil {
			return err
		}
		r, err := MakeReady(p)
		if err != nil {
			return err
		}
		if err := s.Lay(doc, p.Dir()); err != nil {
			return err
		}
		if len(more) > 1 {
			sig, _ := strconv.Atoi(more[1])
			if err := unix.Kill(os.Getpid(), unix.Signal(sig)); err != nil {
				return err
			}
			for len(r.signals) == 0 { // until it has come
				time.Sleep(time.Millisecond)
			}
		}
		_, err = s.Exec(r)
		return err
	}()
	os.Stderr.WriteString(err.Error() + "\n")
	return 254
}

// TestStubRun: a flavor without `init` is executed in stage0's place, with the
// lock, and nothing of stage0's caller but its streams.
func TestStubRun(t *testing.T) {
	dir := t.TempDir()
	p, _ := stubPod(t, dir, stubFlavor(t))
	if err := p.ToFast(lifecycle.Prepared); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"status": "7", "wait": ""} {
		if err := os.WriteFile(filepath.Join(p.Dir(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "stage0", dir, string(p.ID()))
	cmd.Env = append(os.Environ(), "SECRET=x", "TERM=dumb", "RKT_NETWORK=x")
	cmd.Stderr = os.Stderr
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd.ExtraFiles = []*os.File{null, null}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running := filepath.Join(dir, "pods", string(lifecycle.Run), string(p.ID()))
	n := read(t, running, "run")
	if q, err := lifecycle.Open(dir, string(p.ID())); err != nil {
		t.Error(err)
	} else if s, err := q.State(); s != lifecycle.StateRunning || err != nil {
		t.Errorf("while it runs it is %s, %v", s, err)
	}
	if err := os.Remove(filepath.Join(running, "wait")); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 7 {
		t.Errorf("status %d, want that of `run`, 7", got)
	}
	if n.PID != cmd.Process.Pid || n.Dir != running || !slices.Equal(n.Args, []string{"run"}) {
		t.Errorf("run was called as %+v, in %s by pid %d", n, running, cmd.Process.Pid)
	}
	env, lock, control := map[string]string{}, 0, 0
	for _, e := range n.Env {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	lock, _ = strconv.Atoi(env[contract.EnvLockFD])
	control, _ = strconv.Atoi(env[contract.EnvControlFD])
	for name, want := range map[string]string{"TERM": "dumb", "GOMAXPROCS": "1", contract.EnvInit: "0", contract.EnvCgroup: "", contract.EnvLockFD: strconv.Itoa(lock), contract.EnvControlFD: strconv.Itoa(control)} {
		if got, ok := env[name]; !ok || got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
		delete(env, name)
	}
	if len(env) > 0 || lock < 3 || control < 3 {
		t.Errorf("the environment has %q as well; lock %d, control %d", env, lock, control)
	}
	want := []int{0, 1, 2, lock, control}
	slices.Sort(want)
	slices.Sort(n.Descriptors)
	if !slices.Equal(n.Descriptors, want) {
		t.Errorf("descriptors %v, want %v", n.Descriptors, want)
	}
	if s, err := p.State(); err != nil || s != lifecycle.StateExited {
		t.Errorf("in the end it is %s, %v", s, err)
	}
}

// TestStubInterrupted: a signal that comes before `run` is not lost, and no pod is
// started after it.
func TestStubInterrupted(t *testing.T) {
	dir := t.TempDir()
	p, _ := stubPod(t, dir, stubFlavor(t))
	if err := errors.Join(p.ToFast(lifecycle.Prepared), p.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/proc/self/exe", "stage0", dir, string(p.ID()), "15").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 254 || !strings.Contains(string(out), "it was interrupted by signal 15 (terminated)") {
		t.Errorf("%v, %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "pods", string(lifecycle.Run), string(p.ID()), "run.json")); err == nil {
		t.Error("it was run")
	}
}

// TestStubEntryPoints: those that are children of rkt's.
func TestStubEntryPoints(t *testing.T) {
	f := stubFlavor(t, "pause")
	p, _ := stubPod(t, t.TempDir(), f)
	defer p.Close()
	for _, c := range []struct {
		call func() error
		args string
	}{
		{func() error { return Stop(p, false) }, "stop"},
		{func() error { return Stop(p, true) }, "stop --force"},
		{func() error { return Pause(p) }, "pause"},
		{func() error { return Collect(p) }, "gc"},
	} {
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		name, _, _ := strings.Cut(c.args, " ")
		n := read(t, p.Dir(), name)
		if strings.Join(n.Args, " ") != c.args || n.Dir != p.Dir() || !slices.Equal(n.Descriptors, []int{0, 1, 2}) {
			t.Errorf("%s was called as %+v", c.args, n)
		}
	}
	if err := Resume(p); err == nil || err.Error() != `cannot resume the pod: its stage1 "stub" has no such entry point` {
		t.Errorf("what it does not have: %v", err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir(), "status"), []byte("3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Stop(p, false); err == nil || !strings.HasSuffix(err.Error(), `its stage1 "stub" ended with status 3`) {
		t.Errorf("an entry point that fails: %v", err)
	}
	if err := os.Remove(f.Path); err != nil {
		t.Fatal(err)
	}
	if err := Collect(p); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a flavor that is gone: %v", err)
	}
}
