// SPDX-License-Identifier: Apache-2.0

// Package lifecycle keeps pods on disk: directory = phase, flock = liveness,
// rename = transition (docs/pod-lifecycle.md). There is no other record, so any
// number of rkt processes work side by side, and what a killed one leaves is
// whole: a pod is in one phase or in the next.
//
// Phases only go forward, in the order of Phases. Whoever looks for a pod in
// that order cannot miss it, however often it is renamed meanwhile.
package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Phase is a directory below pods/, and so where a pod is in its life.
type Phase string

// The phases.
const (
	Embryo        Phase = "embryo"         // being created: no lock yet
	Prepare       Phase = "prepare"        // being prepared, under its lock
	Prepared      Phase = "prepared"       // waiting for run-prepared
	Run           Phase = "run"            // running while locked, exited when not
	ExitedGarbage Phase = "exited-garbage" // ran, marked for removal
	Garbage       Phase = "garbage"        // never ran, marked for removal
)

// Phases is all of them, in the only order in which a pod goes through them.
func Phases() []Phase { return []Phase{Embryo, Prepare, Prepared, Run, ExitedGarbage, Garbage} }

// Listed is the phases in which users see pods and name them.
func Listed() []Phase { return []Phase{Prepare, Prepared, Run, ExitedGarbage} }

// The names in a pod directory, beside those of stage1/contract.
const (
	ManifestFile = "pod"                            // appc PodManifest; also the lock, so never replaced; its mtime is when the pod was created
	VolumesDir   = contract.PrivateDir + "/volumes" // <name>: volumes of kind empty
	podsDir      = "pods"
)

// State is what users are told about a pod: the phase, and whether its lock is
// held.
type State string

// The states, in rkt's words.
const (
	StateEmbryo         State = "embryo"
	StatePreparing      State = "preparing"
	StateAbortedPrepare State = "aborted prepare"
	StatePrepared       State = "prepared"
	StateRunning        State = "running"
	StateExited         State = "exited"
	StateExitedDeleting State = "exited deleting"
	StateExitedGarbage  State = "exited garbage"
	StateDeleting       State = "deleting"
	StateGarbage        State = "garbage"
)

// Ended reports whether a pod in this state will never run again.
func (s State) Ended() bool {
	switch s {
	case StateEmbryo, StatePreparing, StatePrepared, StateRunning:
		return false
	}
	return true
}

// stateOf is docs/pod-lifecycle.md's table.
func stateOf(p Phase, held bool) State {
	pick := func(held_, free State) State {
		if held {
			return held_
		}
		return free
	}
	switch p {
	case Embryo:
		return StateEmbryo
	case Prepare:
		return pick(StatePreparing, StateAbortedPrepare)
	case Prepared:
		return StatePrepared
	case Run:
		return pick(StateRunning, StateExited)
	case ExitedGarbage:
		return pick(StateExitedDeleting, StateExitedGarbage)
	default:
		return pick(StateDeleting, StateGarbage)
	}
}

// ErrNotFound says that there is no such pod, or no longer.
var ErrNotFound = errors.New("no such pod")

// ErrBusy says that another process holds the pod's lock.
var ErrBusy = flock.ErrBusy

// AmbiguousError says that a shortened UUID fits several pods.
type AmbiguousError struct {
	Prefix string
	UUIDs  []pod.UUID
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("cannot find pod %q: it fits %d pods", e.Prefix, len(e.UUIDs))
}

// Hint lists the pods.
func (e *AmbiguousError) Hint() string {
	var b strings.Builder
	for i, u := range e.UUIDs {
		if i == 5 {
			fmt.Fprintf(&b, " and %d more", len(e.UUIDs)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(u))
	}
	return "type more of the UUID: " + b.String()
}

// Pod is one pod on disk. It is for one goroutine at a time.
type Pod struct {
	dataDir string
	id      pod.UUID
	phase   Phase
	lock    *os.File      // held exclusively, or nil
	written *contract.Pod // what this process itself just wrote; spares the start path a decode
}

func phaseDir(dataDir string, p Phase) string { return filepath.Join(dataDir, podsDir, string(p)) }

// ensurePhases makes what is missing of the directories. Group and setgid bit
// are inherited from the data directory.
func ensurePhases(dataDir string) error {
	for _, p := range Phases() {
		if err := os.MkdirAll(phaseDir(dataDir, p), 0o750); err != nil {
			return fmt.Errorf("cannot make pod directories: %w", err)
		}
	}
	return nil
}

// RunDir is where the directory of pod id is while the pod runs: what a document
// for stage1 names, although the pod is still being prepared.
func RunDir(dataDir string, id pod.UUID) string {
	return filepath.Join(phaseDir(dataDir, Run), string(id))
}

// UpperDir and WorkDir are the paths, in a pod directory, of the directories
// of app's overlay: what it wrote, and overlayfs's own. Making a file is what
// costs on the start path, so they share a directory with all that is private.
func UpperDir(app string) string { return contract.PrivateDir + "/upper-" + app }

// WorkDir: see UpperDir.
func WorkDir(app string) string { return contract.PrivateDir + "/work-" + app }

// Below is the part of a contract's Upper or Work that is below the pod's
// directory, wherever that is now. Pods that an earlier rkt prepared have no
// private directory.
func Below(path string) string {
	dir, name := filepath.Split(path)
	if filepath.Base(dir) == contract.PrivateDir {
		return contract.PrivateDir + "/" + name
	}
	return name
}

// Create makes an empty pod directory in phase Prepare and returns it locked.
// Nothing is synced to disk. An absolute dataDir is wanted.
func Create(dataDir string, id pod.UUID) (*Pod, error) {
	if _, err := pod.ParseUUID(string(id)); err != nil {
		return nil, err
	}
	p, err := create(dataDir, id)
	if errors.Is(err, fs.ErrNotExist) {
		if err := ensurePhases(dataDir); err != nil {
			return nil, err
		}
		p, err = create(dataDir, id)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot create pod %s: %w", id, err)
	}
	return p, nil
}

func create(dataDir string, id pod.UUID) (_ *Pod, err error) {
	// The embryo directory's own lock, shared, is the sign of life of all that
	// is in it: a pod there has no lock of its own yet.
	nursery, err := os.Open(phaseDir(dataDir, Embryo))
	if err != nil {
		return nil, err
	}
	defer nursery.Close()
	if err := flock.Lock(nursery, flock.Shared); err != nil {
		return nil, err
	}
	p := &Pod{dataDir: dataDir, id: id, phase: Embryo}
	if err := os.Mkdir(p.path(), 0o750); err != nil {
		return nil, err
	}
	failpoint.Hit("lifecycle/embryo")
	defer func() {
		if err != nil {
			p.Close()
			_ = os.RemoveAll(p.path())
		}
	}()
	p.lock, err = os.OpenFile(filepath.Join(p.path(), ManifestFile), os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	if err := flock.TryLock(p.lock, flock.Exclusive); err != nil {
		return nil, err
	}
	if err := p.rename(Prepare); err != nil {
		return nil, err
	}
	return p, nil
}

// DiscardEmbryos moves to phase Garbage what a killed Create left in phase
// Embryo. It does nothing while any Create is under way.
func DiscardEmbryos(dataDir string) error {
	nursery, err := os.Open(phaseDir(dataDir, Embryo))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot discard embryos: %w", err)
	}
	defer nursery.Close()
	if err := flock.TryLock(nursery, flock.Exclusive); errors.Is(err, ErrBusy) {
		return nil
	} else if err != nil {
		return err
	}
	pods, err := List(dataDir, Embryo)
	if err != nil {
		return err
	}
	for _, p := range pods {
		if err := p.rename(Garbage); err != nil {
			return fmt.Errorf("cannot discard pod %s: %w", p.id, cause(err))
		}
	}
	return nil
}

// Sync makes the renames of ToFast so far durable.
func Sync(dataDir string) error {
	for _, p := range Phases() {
		err := atomicfile.SyncDir(phaseDir(dataDir, p))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Open finds a pod by its UUID, or by a prefix that fits one pod among those in
// Listed phases. It takes no lock. A prefix that fits none is ErrNotFound, one
// that fits several is an *AmbiguousError.
func Open(dataDir, uuid string) (*Pod, error) {
	uuid = strings.TrimSpace(uuid)
	if id, err := pod.ParseUUID(uuid); err == nil {
		return find(dataDir, id)
	}
	if !pod.ValidUUIDPrefix(uuid) {
		return nil, fmt.Errorf("cannot find pod %q: %w (a UUID has lower-case hexadecimal digits and hyphens)", uuid, ErrNotFound)
	}
	all, err := List(dataDir)
	if err != nil {
		return nil, err
	}
	var fits []*Pod
	for _, p := range all {
		if strings.HasPrefix(string(p.id), uuid) {
			fits = append(fits, p)
		}
	}
	switch len(fits) {
	case 0:
		return nil, fmt.Errorf("cannot find pod %q: %w", uuid, ErrNotFound)
	case 1:
		return fits[0], nil
	}
	e := &AmbiguousError{Prefix: uuid}
	for _, p := range fits {
		e.UUIDs = append(e.UUIDs, p.id)
	}
	return nil, e
}

func find(dataDir string, id pod.UUID) (*Pod, error) {
	p := &Pod{dataDir: dataDir, id: id}
	if err := p.locate(); err != nil {
		return nil, err
	}
	return p, nil
}

// List returns the pods in the given phases, those of Listed if none is given,
// sorted by UUID. It reads one directory a phase and takes no lock.
func List(dataDir string, phases ...Phase) ([]*Pod, error) {
	if len(phases) == 0 {
		phases = Listed()
	}
	var pods []*Pod
	where := map[pod.UUID]int{}
	for _, phase := range Phases() {
		if !slices.Contains(phases, phase) {
			continue
		}
		names, err := readNames(phaseDir(dataDir, phase))
		if err != nil {
			return nil, fmt.Errorf("cannot list pods: %w", err)
		}
		for _, name := range names {
			id, err := pod.ParseUUID(name)
			if err != nil {
				continue // not made by rkt
			}
			if i, ok := where[id]; ok { // renamed while we read
				pods[i].phase = phase
				continue
			}
			where[id] = len(pods)
			pods = append(pods, &Pod{dataDir: dataDir, id: id, phase: phase})
		}
	}
	slices.SortFunc(pods, func(a, b *Pod) int { return strings.Compare(string(a.id), string(b.id)) })
	return pods, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (p *Pod) path() string { return filepath.Join(phaseDir(p.dataDir, p.phase), string(p.id)) }

// locate finds the phase p is in now. Forward only, see the package comment.
func (p *Pod) locate() error {
	for _, phase := range Phases() {
		var st unix.Stat_t
		err := unix.Lstat(filepath.Join(phaseDir(p.dataDir, phase), string(p.id)), &st)
		switch err {
		case nil:
			p.phase = phase
			return nil
		case unix.ENOENT:
		default:
			return fmt.Errorf("cannot find pod %s: %w", p.id, err)
		}
	}
	return fmt.Errorf("cannot find pod %s: %w", p.id, ErrNotFound)
}

// ID is the pod's UUID.
func (p *Pod) ID() pod.UUID { return p.id }

// Phase is where the pod was when it was last looked at; it is certain while
// the lock is held.
func (p *Pod) Phase() Phase { return p.phase }

// Dir is the pod's directory, below dataDir, in that phase.
func (p *Pod) Dir() string { return p.path() }

// DataDir is the data directory the pod lives in.
func (p *Pod) DataDir() string { return p.dataDir }

// transitions that exist.
func (p Phase) leadsTo(next Phase) bool {
	switch p {
	case Embryo:
		return next == Prepare || next == Garbage
	case Prepare:
		return next == Prepared || next == Run || next == Garbage
	case Prepared:
		return next == Run || next == Garbage
	case Run:
		return next == ExitedGarbage
	}
	return false
}

// To moves the pod to a later phase, durably: both phases' directories are
// synced. The lock must be held.
func (p *Pod) To(next Phase) error {
	from := p.phase
	if err := p.ToFast(next); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(phaseDir(p.dataDir, next)); err != nil {
		return err
	}
	return atomicfile.SyncDir(phaseDir(p.dataDir, from))
}

// ToFast is To without syncing, for the start path: a crash of the machine may
// undo it.
func (p *Pod) ToFast(next Phase) error {
	if p.lock == nil || !p.phase.leadsTo(next) {
		return fmt.Errorf("cannot move pod %s from %s to %s: not locked, or no such transition", p.id, p.phase, next)
	}
	err := p.rename(next)
	if errors.Is(err, fs.ErrNotExist) {
		if err := ensurePhases(p.dataDir); err != nil {
			return err
		}
		err = p.rename(next)
	}
	if err != nil {
		return fmt.Errorf("cannot move pod %s to %s: %w", p.id, next, cause(err))
	}
	return nil
}

func (p *Pod) rename(next Phase) error {
	failpoint.Hit("lifecycle/before-" + string(next))
	to := filepath.Join(phaseDir(p.dataDir, next), string(p.id))
	// NOREPLACE: two directories of one UUID would lose one of them.
	if err := unix.Renameat2(unix.AT_FDCWD, p.path(), unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: p.path(), New: to, Err: err}
	}
	p.phase = next
	failpoint.Hit("lifecycle/after-" + string(next))
	return nil
}

// Age is how long the pod has been in its phase: since its directory was
// renamed there, by ctime.
func (p *Pod) Age(now time.Time) (time.Duration, error) {
	var st unix.Stat_t
	if err := p.retry(func() error { return unix.Lstat(p.path(), &st) }); err != nil {
		return 0, fmt.Errorf("cannot tell the age of pod %s: %w", p.id, err)
	}
	return now.Sub(time.Unix(st.Ctim.Unix())), nil
}

// retry runs f, and once more for each time that the pod was found elsewhere
// after f did not find what it looked for.
func (p *Pod) retry(f func() error) error {
	for {
		err := f()
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		was := p.phase
		if lerr := p.locate(); lerr != nil {
			return lerr
		}
		if p.phase == was {
			return err
		}
	}
}

func cause(err error) error {
	if e := (*os.LinkError)(nil); errors.As(err, &e) {
		return e.Err
	}
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
