// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func newPod(t *testing.T, dataDir string) *Pod {
	t.Helper()
	id, err := pod.NewUUID()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Create(dataDir, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantState(t *testing.T, p *Pod, want State) {
	t.Helper()
	if got, err := p.State(); err != nil || got != want {
		t.Errorf("state %q, %v; want %q", got, err, want)
	}
}

// another opens the pod as another process would.
func another(t *testing.T, p *Pod) *Pod {
	t.Helper()
	q, err := Open(p.DataDir(), string(p.ID()))
	must(t, err)
	return q
}

func TestStates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	p := newPod(t, dir)
	q := another(t, p)
	wantState(t, q, StatePreparing)
	wantState(t, p, StatePreparing)
	must(t, p.To(Prepared))
	wantState(t, q, StatePrepared)
	must(t, p.ToFast(Run))
	wantState(t, q, StateRunning)
	if want := RunDir(dir, p.ID()); q.Dir() != want || p.Dir() != want {
		t.Errorf("directories %s, %s; want %s", p.Dir(), q.Dir(), want)
	}
	if err := q.Lock(); !errors.Is(err, ErrBusy) {
		t.Errorf("lock of a running pod: %v", err)
	}
	must(t, p.Close())
	wantState(t, q, StateExited)
	must(t, q.Lock())
	must(t, q.To(ExitedGarbage))
	wantState(t, p, StateExitedDeleting)
	must(t, q.Close())
	wantState(t, p, StateExitedGarbage)

	aborted := newPod(t, dir)
	must(t, aborted.Close())
	wantState(t, aborted, StateAbortedPrepare)
	must(t, aborted.Lock())
	must(t, aborted.ToFast(Garbage))
	wantState(t, another(t, aborted), StateDeleting)
	must(t, aborted.Close())
	wantState(t, aborted, StateGarbage)
	must(t, aborted.Lock())
	must(t, aborted.Remove())
	if _, err := another(t, p).State(); err != nil {
		t.Error(err)
	}
	if _, err := aborted.State(); !errors.Is(err, ErrNotFound) {
		t.Errorf("state of a removed pod: %v", err)
	}
	if err := aborted.Lock(); !errors.Is(err, ErrNotFound) {
		t.Errorf("lock of a removed pod: %v", err)
	}
}

func TestTransitions(t *testing.T) {
	dir := t.TempDir()
	for _, from := range Phases() {
		for _, to := range Phases() {
			ok := from.leadsTo(to)
			if ok && indexOf(to) <= indexOf(from) {
				t.Errorf("%s leads back to %s", from, to)
			}
		}
	}
	p := newPod(t, dir)
	if err := p.To(ExitedGarbage); err == nil {
		t.Error("a pod that never ran was put where ended ones go")
	}
	must(t, p.To(Run))
	if err := p.To(Garbage); err == nil {
		t.Error("a pod that ran was put where unfinished ones go")
	}
	must(t, p.Close())
	if err := p.To(ExitedGarbage); err == nil {
		t.Error("moved without the lock")
	}
	if err := p.Remove(); err == nil {
		t.Error("removed without the lock")
	}
	must(t, p.Lock())
	if err := p.Remove(); err == nil {
		t.Error("removed in phase run")
	}
}

func indexOf(p Phase) int {
	for i, q := range Phases() {
		if p == q {
			return i
		}
	}
	return -1
}

func TestCreateTwice(t *testing.T) {
	dir := t.TempDir()
	p := newPod(t, dir)
	if _, err := Create(dir, p.ID()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating a pod again: %v", err)
	}
	if pods, err := List(dir, Embryo); err != nil || len(pods) != 0 {
		t.Errorf("embryos left: %v, %v", pods, err)
	}
	wantState(t, p, StatePreparing)
	if _, err := Create(dir, "../../x"); err == nil {
		t.Error("created what is no UUID")
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, "0"); !errors.Is(err, ErrNotFound) {
		t.Errorf("in an empty directory: %v", err)
	}
	for _, id := range []pod.UUID{"00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002", "ab000000-0000-4000-8000-000000000001"} {
		p, err := Create(dir, id)
		must(t, err)
		defer p.Close()
	}
	p, err := Open(dir, " ab\n")
	if err != nil || p.ID() != "ab000000-0000-4000-8000-000000000001" {
		t.Errorf("%v, %v", p, err)
	}
	_, err = Open(dir, "0000")
	var amb *AmbiguousError
	if !errors.As(err, &amb) || len(amb.UUIDs) != 2 || !strings.Contains(amb.Hint(), string(amb.UUIDs[1])) {
		t.Errorf("ambiguous: %v", err)
	}
	for _, s := range []string{"", "..", "00000000-0000-4000-8000-000000000003", "AB", "b"} {
		if p, err := Open(dir, s); !errors.Is(err, ErrNotFound) {
			t.Errorf("Open(%q) = %v, %v", s, p, err)
		}
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	if pods, err := List(dir); err != nil || len(pods) != 0 {
		t.Errorf("%v, %v", pods, err)
	}
	a, b, c := newPod(t, dir), newPod(t, dir), newPod(t, dir)
	must(t, b.To(Run))
	must(t, c.To(Garbage))
	must(t, os.Mkdir(filepath.Join(dir, "pods/run/lost+found"), 0o700))
	pods, err := List(dir)
	must(t, err)
	if len(pods) != 2 || pods[0].ID() >= pods[1].ID() {
		t.Fatalf("%d pods, or not sorted", len(pods))
	}
	for _, p := range pods {
		if p.ID() != a.ID() && p.ID() != b.ID() || p.ID() == b.ID() && p.Phase() != Run {
			t.Errorf("%s in %s", p.ID(), p.Phase())
		}
	}
	if pods, _ := List(dir, Garbage); len(pods) != 1 || pods[0].ID() != c.ID() {
		t.Errorf("garbage: %v", pods)
	}
}

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	p := newPod(t, dir)
	if _, err := p.Manifest(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("manifest of an unfinished pod: %v", err)
	}
	if _, err := p.PID(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pid: %v", err)
	}
	if m, err := p.ExitStatuses(); err != nil || len(m) != 0 {
		t.Errorf("statuses: %v, %v", m, err)
	}
	write := func(name, text string, mtime time.Time) {
		t.Helper()
		path := filepath.Join(p.Dir(), name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
		must(t, os.Chtimes(path, mtime, mtime))
	}
	at := func(s int64) time.Time { return time.Unix(s, 5) }
	q := another(t, p)
	write(ManifestFile, "", at(100))
	write(contract.EventsFile, contract.InitLine(42, at(200).UnixNano())+
		contract.StartedLine("a", 43, at(200).UnixNano())+contract.StartedLine("b", 44, at(201).UnixNano())+
		contract.ExitedLine("a", 0, at(300).UnixNano())+contract.ExitedLine("b", 137, at(400).UnixNano())+
		contract.StartedLine("c", 45, at(202).UnixNano())+"exited c 1", at(900))
	write(contract.File, `{"version":1,"flavor":"/usr/libexec/rkt/stage1-native.json","uuid":"`+string(p.ID())+`"}`, at(100))
	write(ManifestFile, `{"acVersion":"0.8.11","acKind":"PodManifest","future":1}`, at(100))
	must(t, p.To(Run)) // q does not know
	if pid, err := q.PID(); err != nil || pid != 42 {
		t.Errorf("pid %d, %v", pid, err)
	}
	if s, err := q.Stage1(); err != nil || s != "/usr/libexec/rkt/stage1-native.json" {
		t.Errorf("stage1 %q, %v", s, err)
	}
	codes, err := q.ExitStatuses()
	if err != nil || len(codes) != 2 || codes["a"] != 0 || codes["b"] != 137 {
		t.Errorf("statuses %v, %v", codes, err)
	}
	for name, f := range map[string]func() (time.Time, error){"created": q.Created, "started": q.Started, "finished": q.Finished} {
		want := map[string]int64{"created": 100, "started": 200, "finished": 400}[name]
		if got, err := f(); err != nil || !got.Equal(at(want)) {
			t.Errorf("%s %v, %v", name, got, err)
		}
	}
	if c, err := q.Contract(); err != nil || c.UUID != string(p.ID()) {
		t.Errorf("contract %v, %v", c, err)
	}
	if _, err := q.Manifest(); err != nil {
		t.Errorf("manifest: %v", err)
	}
	write(contract.File, `{"version":2}`, at(1))
	if _, err := q.Contract(); err == nil {
		t.Error("a contract of another version was accepted")
	}
	write(contract.File, `{"version":1,"flavor":"stage1-native.json"}`, at(1))
	if s, err := q.Stage1(); err == nil {
		t.Errorf("flavor %q was accepted", s)
	}
}

// A pod renamed on and on is always found, and never in two places.
func TestRenamedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	ids := make(chan pod.UUID, 1)
	wg.Go(func() {
		defer close(ids)
		for {
			p := newPod(t, dir)
			_ = os.WriteFile(filepath.Join(p.Dir(), ManifestFile), []byte(`{"acKind":"PodManifest"}`), 0o600)
			select {
			case ids <- p.ID():
			case <-stop:
				p.Close()
				return
			}
			for _, next := range []Phase{Prepared, Run, ExitedGarbage} {
				if err := p.ToFast(next); err != nil {
					t.Error(err)
				}
				runtime.Gosched()
			}
			p.Close()
		}
	})
	for i := range 300 {
		id := <-ids
		p, err := Open(dir, string(id))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Manifest(); err != nil {
			t.Fatal(err)
		}
		if s, err := p.State(); err != nil || s == StateAbortedPrepare || s == StateExited {
			t.Fatalf("state %q, %v", s, err)
		}
		if i%10 == 0 {
			pods, err := List(dir, Phases()...)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[pod.UUID]bool{}
			for _, p := range pods {
				if seen[p.ID()] {
					t.Fatalf("%s twice", p.ID())
				}
				seen[p.ID()] = true
			}
			if !seen[id] {
				t.Fatalf("%s is missing", id)
			}
		}
	}
	close(stop)
	for range ids {
	}
	wg.Wait()
}

// However many ask for the lock, one has it.
func TestLockRace(t *testing.T) {
	dir := t.TempDir()
	p := newPod(t, dir)
	must(t, p.To(Prepared))
	must(t, p.Close())
	var wg sync.WaitGroup
	won := make(chan *Pod, 8)
	for range 8 {
		q := another(t, p)
		wg.Go(func() {
			if q.Lock() != nil {
				return
			}
			if q.Phase() != Prepared {
				q.Close() // somebody was here before
				return
			}
			if err := q.ToFast(Run); err != nil {
				t.Error(err)
			}
			won <- q
		})
		wg.Go(func() { _, _ = another(t, p).State() })
	}
	wg.Wait()
	close(won)
	n := 0
	for q := range won {
		n++
		q.Close()
	}
	if n != 1 {
		t.Errorf("%d have run the pod", n)
	}
}

func TestLockSurvivesProbes(t *testing.T) {
	p := newPod(t, t.TempDir())
	must(t, p.ToFast(Run))
	must(t, p.Close())
	f, err := os.Open(filepath.Join(p.Dir(), ManifestFile))
	must(t, err)
	must(t, flock.TryLock(f, flock.Shared))
	time.AfterFunc(3*time.Millisecond, func() { f.Close() })
	must(t, another(t, p).Lock())
}

// Liveness is the lock's, and the lock goes where the descriptor goes.
func TestInheritedLock(t *testing.T) {
	p := newPod(t, t.TempDir())
	must(t, p.ToFast(Run))
	q := another(t, p)
	cmd := exec.Command("cat")
	cmd.ExtraFiles = []*os.File{p.LockFile()}
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	must(t, p.Close())
	wantState(t, q, StateRunning)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- another(t, p).Wait(ctx) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("wait that was called off: %v", err)
	}
	waiter := another(t, p)
	go func() { done <- waiter.Wait(context.Background()) }()
	in.Close()
	must(t, cmd.Wait())
	must(t, <-done)
	wantState(t, q, StateExited)
}

func TestWait(t *testing.T) {
	p := newPod(t, t.TempDir())
	done := make(chan error, 1)
	q := another(t, p)
	go func() { done <- q.Wait(context.Background()) }()
	must(t, p.ToFast(Prepared))
	must(t, p.ToFast(Run))
	select {
	case err := <-done:
		t.Fatalf("wait ended while the pod runs: %v", err)
	default:
	}
	must(t, p.ToFast(ExitedGarbage))
	must(t, p.Remove())
	must(t, <-done)
}

func TestDiscardEmbryos(t *testing.T) {
	dir := t.TempDir()
	must(t, DiscardEmbryos(dir))
	p := newPod(t, dir)
	dead := filepath.Join(dir, "pods/embryo/00000000-0000-4000-8000-000000000001")
	must(t, os.Mkdir(dead, 0o700))
	nursery, err := os.Open(filepath.Join(dir, "pods/embryo"))
	must(t, err)
	must(t, flock.TryLock(nursery, flock.Shared))
	must(t, DiscardEmbryos(dir))
	if _, err := os.Stat(dead); err != nil {
		t.Errorf("discarded while a creation is under way: %v", err)
	}
	nursery.Close()
	must(t, DiscardEmbryos(dir))
	g, err := Open(dir, "00000000-0000-4000-8000-000000000001")
	must(t, err)
	wantState(t, g, StateGarbage)
	must(t, g.Lock())
	must(t, g.Remove())
	wantState(t, p, StatePreparing)
}

func garbage(t *testing.T, dir string) *Pod {
	p := newPod(t, dir)
	must(t, p.ToFast(Garbage))
	return p
}

func TestRemoveFollowsNothing(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	keep := filepath.Join(outside, "keep")
	must(t, os.WriteFile(keep, []byte("x"), 0o600))
	p := garbage(t, dir)
	upper := filepath.Join(p.Dir(), "upper-a")
	must(t, os.MkdirAll(filepath.Join(upper, "d/e"), 0o755))
	must(t, os.Symlink(outside, filepath.Join(upper, "link")))
	must(t, os.Symlink(outside, filepath.Join(upper, "d/e/link")))
	must(t, os.Symlink(outside, filepath.Join(p.Dir(), "volumes")))
	must(t, os.Link(keep, filepath.Join(upper, "hard")))
	must(t, os.WriteFile(filepath.Join(upper, "odd\nname"), nil, 0))
	must(t, os.Chmod(filepath.Join(upper, "d"), 0))
	must(t, p.Remove())
	if b, err := os.ReadFile(keep); err != nil || string(b) != "x" {
		t.Errorf("outside: %q, %v", b, err)
	}
	if _, err := os.Lstat(p.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pod is still there: %v", err)
	}
}

func TestRemoveDeepTree(t *testing.T) {
	p := garbage(t, t.TempDir())
	fd, err := unix.Open(p.Dir(), unix.O_DIRECTORY|unix.O_PATH, 0)
	must(t, err)
	for range 5000 {
		must(t, unix.Mkdirat(fd, "dddddddd", 0o700))
		next, err := unix.Openat(fd, "dddddddd", unix.O_DIRECTORY|unix.O_PATH|unix.O_NOFOLLOW, 0)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	low := old
	low.Cur = 300
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	must(t, p.Remove())
	if _, err := os.Lstat(p.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pod is still there: %v", err)
	}
}

// A removal that was killed at any step is taken up again.
func TestRemoveTorn(t *testing.T) {
	dir := t.TempDir()
	p := garbage(t, dir)
	must(t, p.Close())
	must(t, os.Remove(filepath.Join(p.Dir(), ManifestFile)))
	wantState(t, p, StateGarbage)
	q := another(t, p)
	must(t, q.Lock())
	must(t, q.Remove())
	if _, err := Open(dir, string(p.ID())); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestRemoveStopsAtMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	// In a mount namespace of its own, on a thread that then ends.
	errc := make(chan error, 1)
	dir := t.TempDir()
	p := garbage(t, dir)
	mnt := filepath.Join(p.Dir(), "volumes/v")
	must(t, os.MkdirAll(mnt, 0o755))
	must(t, os.WriteFile(filepath.Join(p.Dir(), "file"), nil, 0o600))
	precious := t.TempDir()
	must(t, os.WriteFile(filepath.Join(precious, "x"), nil, 0o600))
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			errc <- err
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			errc <- err
			return
		}
		if err := unix.Mount(precious, mnt, "", unix.MS_BIND, ""); err != nil {
			errc <- err
			return
		}
		if err := p.Remove(); err == nil {
			errc <- errors.New("removed although something is mounted")
			return
		}
		errc <- nil
	}()
	must(t, <-errc)
	if _, err := os.Stat(filepath.Join(precious, "x")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(p.Dir(), "file")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what can be removed was not: %v", err)
	}
	must(t, p.Remove()) // without the mount
}

func BenchmarkCreate(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		id, _ := pod.NewUUID()
		p, err := Create(dir, id)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
