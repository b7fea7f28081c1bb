// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/image/tree"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/lsm"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Pod makes a pod as req says, in phase lifecycle.Prepare and locked; the caller
// moves it to Prepared or Run. On error nothing is left on disk. The caller
// holds a store.Lease from the lookup of the images until Pod returns.
func Pod(st *store.Store, req Request) (*lifecycle.Pod, error) {
	p, err := build(st, req)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare pod: %w", err)
	}
	return p, nil
}

// Complete makes the late choices of `rkt run-prepared` for a pod that is
// locked and in phase Prepared. It is not synced to disk.
func Complete(p *lifecycle.Pod, f Flavor, o Options) error {
	if err := complete(p, f, o); err != nil {
		return fmt.Errorf("cannot run pod %s: %w", p.ID(), err)
	}
	return nil
}

func complete(p *lifecycle.Pod, f Flavor, o Options) (err error) {
	if p.LockFile() == nil || p.Phase() != lifecycle.Prepared {
		return fmt.Errorf("it is %s, not prepared", p.Phase())
	}
	was, err := p.Contract()
	if err != nil {
		return err
	}
	m, err := p.Manifest()
	if err != nil {
		return err
	}
	document := *was
	c := &document
	c.Apps = slices.Clone(c.Apps)
	if err := o.apply(c, m, &f); err != nil {
		return err
	}
	if err := placeCgroup(c, o.Scope); err != nil {
		return err
	}
	if err := namespaced(c); err != nil {
		return err
	}
	if err := f.cover(c, false); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			p.Wrote(c)
		}
	}()
	return atomicfile.WriteFast(filepath.Join(p.Dir(), contract.File), encode(c), 0o640)
}

func build(st *store.Store, r Request) (*lifecycle.Pod, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.UUID == "" {
		id, err := pod.NewUUID()
		if err != nil {
			return nil, err
		}
		r.UUID = id
	}
	apps, err := r.apps()
	if err != nil {
		return nil, err
	}
	plan, err := r.plan(st, apps)
	if err != nil {
		return nil, err
	}
	return plan.write(&r)
}

// plan is the whole pod before a byte of it is written.
type plan struct {
	manifest *pod.Manifest
	document *contract.Pod
	empty    []pod.Volume // directories below volumes/
	roots    []string     // of each app, the highest layer: the root's own attributes
}

func (r *Request) plan(st *store.Store, apps []*app) (*plan, error) {
	ports, err := r.activate(apps)
	if err != nil {
		return nil, err
	}
	m := &pod.Manifest{Volumes: slices.Clone(r.Volumes), Ports: ports, Annotations: slices.Clone(r.Annotations),
		UserAnnotations: r.UserAnnotations, UserLabels: r.UserLabels}
	if r.Manifest != nil {
		c := *r.Manifest
		c.Volumes = slices.Clone(c.Volumes)
		m = &c
	}
	m.Apps = nil
	if len(apps) > 1 {
		if err := r.Flavor.need(contract.MultipleApps, fmt.Sprintf("a pod of %d apps", len(apps))); err != nil {
			return nil, err
		}
	}
	pl := &plan{manifest: m, document: &contract.Pod{Version: contract.Version, UUID: string(r.UUID), Flavor: r.Flavor.Path,
		Stage1Image: string(r.Flavor.Image)}}
	if err := r.limits(pl.document, m); err != nil {
		return nil, err
	}
	if err := r.users(pl.document, m); err != nil {
		return nil, err
	}
	if err := limitBandwidth(pl.document, apps); err != nil {
		return nil, err
	}
	runDir := lifecycle.RunDir(r.DataDir, r.UUID)
	vols, err := newVolumes(runDir, m.Volumes, r.warn)
	if err != nil {
		return nil, err
	}
	skeleton, err := st.Skeleton()
	if err != nil {
		return nil, err
	}
	for _, a := range apps {
		layers, err := tree.For(a.image, st)
		if err == nil && len(layers) == 0 {
			err = fmt.Errorf("image %s has no layers", a.image.ID.Short())
		}
		if err != nil {
			return nil, fmt.Errorf("app %q: %w", a.Name, err)
		}
		mounts, err := vols.resolve(a)
		if err != nil {
			return nil, fmt.Errorf("app %q: %w", a.Name, err)
		}
		c, err := a.document(r, mounts)
		if err != nil {
			return nil, fmt.Errorf("app %q: %w", a.Name, err)
		}
		c.Layers = append([]string{skeleton}, layers...)
		c.Upper = filepath.Join(runDir, lifecycle.UpperDir(a.Name))
		c.Work = filepath.Join(runDir, lifecycle.WorkDir(a.Name))
		pl.document.Apps = append(pl.document.Apps, *c)
		pl.roots = append(pl.roots, layers[len(layers)-1])
		m.Apps = append(m.Apps, a.RuntimeApp)
	}
	vols.unused(m.Volumes)
	m.Volumes = append(m.Volumes, vols.implicit...)
	pl.empty = vols.empty
	if err := r.Options.apply(pl.document, m, &r.Flavor); err != nil {
		return nil, err
	}
	if err := placeCgroup(pl.document, r.Options.Scope); err != nil {
		return nil, err
	}
	if err := namespaced(pl.document); err != nil {
		return nil, err
	}
	if err := r.Flavor.cover(pl.document, r.Options.Later); err != nil {
		return nil, err
	}
	if err := r.tryUsers(pl.document); err != nil {
		return nil, err
	}
	// What is stored must be what ParseManifest takes: as an oracle for us, and
	// so that `rkt cat-manifest` gives a manifest that runs again.
	c := *m
	c.ACKind, c.ACVersion = pod.Kind, pod.SpecVersion
	*m = c
	return pl, m.Validate()
}

// document is the app as stage1 is told, but for its root.
func (a *app) document(r *Request, mounts []contract.Mount) (*contract.App, error) {
	o, f := a.App, &r.Flavor
	c := &contract.App{
		Name: a.Name, ReadOnlyRoot: a.ReadOnlyRootFS, Exec: o.Exec, Environment: environment(a.Name, o.Environment),
		WorkingDir: o.WorkingDirectory, User: o.User, Group: o.Group, SupplementaryGIDs: o.SupplementaryGIDs,
		Mounts: mounts, StopSignal: a.stopSignal,
		Stdin: a.streams[0], Stdout: a.streams[1], Stderr: a.streams[2],
	}
	if c.WorkingDir == "" {
		c.WorkingDir = "/"
	}
	if c.StopSignal != "" {
		n, err := pod.ParseSignal(c.StopSignal)
		if err != nil {
			return nil, err
		}
		c.StopSignal = strconv.Itoa(n)
	}
	is, err := pod.Isolate(o.Isolators)
	if err != nil {
		return nil, err
	}
	c.Capabilities, c.Ambient, c.OOMScoreAdj = is.Capabilities, is.Ambient, is.OOMScoreAdj
	c.NoNewPrivs = is.NoNewPrivs != nil && *is.NoNewPrivs
	if c.Seccomp, err = filter(is); err != nil {
		return nil, err
	}
	c.Limits, c.Rlimits = contract.Limits(is.Limits), rlimits(is.Rlimits)
	if err := needLimits(f, &c.Limits); err != nil {
		return nil, err
	}
	if err := r.devices(c, is.Devices); err != nil {
		return nil, err
	}
	if err := label(c, is, f); err != nil {
		return nil, err
	}
	for _, h := range o.EventHandlers {
		if h.Name == "pre-start" {
			c.PreStart = h.Exec
		} else {
			c.PostStop = h.Exec
		}
	}
	for _, n := range []struct {
		asked   bool
		feature contract.Feature
		what    string
	}{
		{c.ReadOnlyRoot, contract.ReadOnlyRoot, "a read-only root"},
		{len(c.Mounts) > 0, contract.Volumes, "mounting a volume"},
		{c.Capabilities != nil, contract.Capabilities, "the isolator of capabilities"},
		{len(c.Ambient) > 0 && !slices.Contains([]string{"0", "root"}, c.User), contract.Ambient, "the isolator of capabilities for another user than root"},
		{is.Seccomp != nil, contract.Seccomp, "the isolator of system calls"},
		{c.NoNewPrivs, contract.NoNewPrivs, "isolator " + pod.IsolatorNoNewPrivs},
		{c.OOMScoreAdj != nil, contract.OOMScoreAdj, "isolator " + pod.IsolatorOOMScoreAdj},
		{is.Devices != nil, contract.Devices, "isolator " + pod.IsolatorDevices},
		{c.Rlimits != nil, contract.Rlimits, "isolator " + pod.IsolatorRlimits},
		{c.PreStart != nil || c.PostStop != nil, contract.EventHandlers, "an event handler"},
		{slices.Contains(a.streams[:], contract.Log), contract.Logs, "stream mode log"},
	} {
		if n.asked {
			if err := f.need(n.feature, n.what); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// label is what the kernel's security modules are to confine the app by: refused
// where the flavor cannot, or there is no such module.
func label(c *contract.App, is *pod.Isolation, f *Flavor) error {
	if is.AppArmor == lsm.Unconfined && !lsm.HasAppArmor() {
		is.AppArmor = "" // it is
	}
	if is.AppArmor != "" {
		if err := f.need(contract.AppArmor, "isolator "+pod.IsolatorAppArmor); err != nil {
			return err
		}
		if !lsm.HasAppArmor() {
			return fmt.Errorf("isolator %q: this kernel runs without AppArmor", pod.IsolatorAppArmor)
		}
	}
	if is.SELinux != "" {
		if err := f.need(contract.SELinux, "isolator "+pod.IsolatorSELinux); err != nil {
			return err
		}
		if !lsm.HasSELinux() {
			return fmt.Errorf("isolator %q: this kernel runs without SELinux", pod.IsolatorSELinux)
		}
	}
	c.AppArmor, c.SELinux = is.AppArmor, is.SELinux
	return nil
}

// confine gives apps that name no AppArmor profile the default one, if it is
// loaded. What it forbids is what `--insecure-options=paths` allows.
func (o *Options) confine(c *contract.Pod, m *pod.Manifest, f *Flavor) error {
	profile := ""
	if f.has(contract.AppArmor) && !o.Insecure.Paths {
		switch is, err := lsm.Loaded(pod.DefaultProfile); {
		case err != nil:
			return err
		case is:
			profile = pod.DefaultProfile
		}
	}
	for i := range c.Apps {
		a := m.Apps[i].App
		if a == nil || !slices.ContainsFunc(a.Isolators, func(is image.Isolator) bool { return is.Name == pod.IsolatorAppArmor }) {
			c.Apps[i].AppArmor = profile
		}
	}
	return nil
}

// environment adds what every app finds (appc 0.8.11, "Execution Environment").
func environment(app string, set pod.Pairs) []string {
	env := make([]string, 0, len(set)+6)
	for _, e := range set {
		if e.Name != "AC_APP_NAME" {
			env = append(env, e.Name+"="+e.Value)
		}
	}
	for _, d := range []pod.Pair{
		{Name: "PATH", Value: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{Name: "SHELL", Value: "/bin/sh"},
		{Name: "USER", Value: "root"},
		{Name: "LOGNAME", Value: "root"},
		{Name: "HOME", Value: "/root"},
	} {
		if _, ok := set.Get(d.Name); !ok {
			env = append(env, d.Name+"="+d.Value)
		}
	}
	return append(env, "AC_APP_NAME="+app)
}

func encode(c *contract.Pod) []byte { return append(c.Encode(), '\n') }

// write puts the plan on disk.
func (pl *plan) write(r *Request) (*lifecycle.Pod, error) {
	manifest, err := pl.manifest.Encode()
	if err != nil {
		return nil, err
	}
	document := encode(pl.document)
	p, err := lifecycle.Create(r.DataDir, r.UUID)
	if err != nil {
		return nil, err
	}
	w := writer{dir: p.Dir(), durable: r.Durable}
	failpoint.Hit("prepare/before-files")
	w.private()
	w.overlays(pl)
	if r.Laid != nil && w.err == nil {
		r.Laid(pl.document, w.dir)
	}
	w.volumes(pl.empty)
	w.file(contract.File, document)
	failpoint.Hit("prepare/before-manifest")
	w.file(lifecycle.ManifestFile, manifest)
	w.sync()
	failpoint.Hit("prepare/after-files")
	if w.err != nil {
		if err := p.ToFast(lifecycle.Garbage); err == nil {
			err = p.Remove()
		}
		p.Close()
		return nil, w.err
	}
	p.Wrote(pl.document)
	return p, nil
}

// writer keeps the first error.
type writer struct {
	dir     string
	durable bool
	dirs    []string // made, to be synced
	err     error
}

func (w *writer) file(name string, data []byte) {
	if w.err != nil {
		return
	}
	// No temporary file: the phase says whether the directory is whole. The
	// manifest is there already, empty: it is the lock.
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		w.err = err
		return
	}
	_, err = f.Write(data)
	if err == nil && w.durable {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	w.err = err
}

func (w *writer) mkdir(name string, mode os.FileMode) string {
	path := filepath.Join(w.dir, name)
	if w.err == nil {
		w.err = os.Mkdir(path, mode)
		w.dirs = append(w.dirs, path)
	}
	return path
}

// private makes the directory that only the owner may reach. It has neither the
// group nor the setgid bit of the pod's: what an app makes over a whiteout has the
// group of overlayfs's work directory, if that is setgid.
func (w *writer) private() {
	path := w.mkdir(contract.PrivateDir, 0o700)
	var st unix.Stat_t
	if w.err == nil {
		w.err = os.NewSyscallError("stat", unix.Lstat(path, &st))
	}
	if w.err != nil || st.Mode&unix.S_ISGID == 0 {
		return
	}
	if w.err = setOwner(path, os.Geteuid(), os.Getegid()); w.err == nil {
		w.err = os.Chmod(path, 0o700)
	}
}

func (w *writer) overlays(pl *plan) {
	for i, a := range pl.document.Apps {
		upper := w.mkdir(lifecycle.UpperDir(a.Name), 0o700)
		w.mkdir(lifecycle.WorkDir(a.Name), 0o700)
		if w.err == nil {
			w.err = copyAttributes(pl.roots[i], upper)
		}
	}
}

// copyAttributes: an overlay's root has the attributes of its upper directory.
func copyAttributes(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return fmt.Errorf("cannot look at layer %q: %w", from, err)
	}
	if err := setOwner(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
		return fmt.Errorf("cannot set mode of %q: %w", to, err)
	}
	return copyXattrs(from, to)
}

func copyXattrs(from, to string) error {
	n, err := unix.Listxattr(from, nil)
	if n == 0 || err == unix.ENOTSUP {
		return nil
	}
	names := make([]byte, max(n, 0))
	if err == nil {
		n, err = unix.Listxattr(from, names)
	}
	if err != nil {
		return fmt.Errorf("cannot read extended attributes of %q: %w", from, err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		m, err := unix.Getxattr(from, name, value)
		if err == nil {
			err = unix.Setxattr(to, name, value[:m], 0)
		}
		if err != nil {
			return fmt.Errorf("cannot copy extended attribute %q of %q: %w", name, from, err)
		}
	}
	return nil
}

// setOwner does nothing if that is the owner already, as for a user's own pods.
func setOwner(path string, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("cannot look at %q: %w", path, err)
	}
	if int(st.Uid) == uid && int(st.Gid) == gid {
		return nil
	}
	if err := unix.Lchown(path, uid, gid); err != nil {
		return fmt.Errorf("cannot set owner of %q to %d:%d: %w", path, uid, gid, err)
	}
	return nil
}

func (w *writer) volumes(list []pod.Volume) {
	if len(list) == 0 {
		return
	}
	w.mkdir(lifecycle.VolumesDir, 0o700)
	for i := range list {
		v := &list[i]
		path := w.mkdir(filepath.Join(lifecycle.VolumesDir, v.Name), 0o700)
		if w.err != nil {
			return
		}
		uid, gid := v.Owner()
		if self := os.Geteuid(); self != 0 { // the root of an ordinary user's pod is the user
			if uid == 0 {
				uid = self
			}
			if gid == 0 {
				gid = os.Getegid()
			}
		}
		if w.err = setOwner(path, uid, gid); w.err != nil {
			return
		}
		if err := unix.Chmod(path, v.Permissions()); err != nil {
			w.err = fmt.Errorf("cannot set mode of volume %q: %w", v.Name, err)
			return
		}
	}
}

// sync makes the files' names durable; their content is already.
func (w *writer) sync() {
	if !w.durable {
		return
	}
	for _, d := range append(w.dirs, w.dir) {
		if w.err != nil {
			return
		}
		w.err = atomicfile.SyncDir(d)
	}
}
