// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// app is one app on its way: the manifest's form, and what that cannot say.
type app struct {
	pod.RuntimeApp
	image      image.Record
	stopSignal string
	keep       map[string]bool // paths with content to keep (Docker's VOLUME)
	streams    [3]contract.Stream
}

// Annotations for an app's standard streams, as rkt names them.
const annotationStream = "coreos.com/rkt/stage2/" // + stdin, stdout, stderr

func streamNames() [3]string { return [3]string{"stdin", "stdout", "stderr"} }

func (r *Request) apps() ([]*app, error) {
	var apps []*app
	names := map[string]bool{}
	add := func(a *app, err error, name string) error {
		if err != nil {
			return fmt.Errorf("app %q: %w", name, err)
		}
		if names[a.Name] {
			return hint.Wrap(fmt.Errorf("multiple apps with name %q", a.Name), "give one of them another name with --name")
		}
		names[a.Name] = true
		apps = append(apps, a)
		return nil
	}
	for i := range r.Apps {
		q := &r.Apps[i]
		name, err := q.name()
		if err != nil {
			return nil, err
		}
		a, err := r.fromRequest(q, name)
		if err := add(a, err, name); err != nil {
			return nil, err
		}
	}
	if r.Manifest != nil {
		for i := range r.Manifest.Apps {
			ra := &r.Manifest.Apps[i]
			a, err := r.fromManifest(ra, r.Images[i])
			if err := add(a, err, ra.Name); err != nil {
				return nil, err
			}
		}
	}
	return apps, nil
}

func (q *AppRequest) name() (string, error) {
	if q.Name != "" {
		if !pod.ValidName(q.Name) {
			return "", fmt.Errorf("app name %q is not made of lower-case letters and digits with single hyphens between them", q.Name)
		}
		return q.Name, nil
	}
	candidates := []string{q.Reference}
	if q.Image.App != nil {
		candidates = slices.Insert(candidates, 0, q.Image.App.Name)
	}
	for _, c := range append(candidates, q.Image.Names...) {
		if n := pod.NameOf(c); n != "" {
			return n, nil
		}
	}
	return "app", nil
}

// checkImage asks of every image that it may and can run here.
func (r *Request) checkImage(rec *image.Record) error {
	if rec.Trust == image.TrustNone && !r.AllowUntrusted {
		return hint.Wrap(fmt.Errorf("nothing vouches for image %s", rec.ID.Short()),
			"name it by digest, or accept the risk with --insecure-options=image")
	}
	for _, l := range []struct {
		name string
		here []string
	}{{"os", []string{"linux"}}, {"arch", architectures(runtime.GOARCH)}} {
		is := rec.Labels[l.name]
		switch {
		case slices.Contains(l.here, is):
		case is != "":
			return fmt.Errorf("image %s is for %s %q, this machine is %s", rec.ID.Short(), l.name, is, l.here[0])
		case rec.Format == image.ACI: // as rkt has always asked; Docker takes what does not say
			return fmt.Errorf("image %s has no label %q", rec.ID.Short(), l.name)
		}
	}
	return nil
}

// architectures are the names, OCI's and appc's, of what a machine can run.
func architectures(goarch string) []string {
	switch goarch {
	case "amd64":
		return []string{"amd64", "x86_64", "386", "i386"}
	case "arm64":
		return []string{"arm64", "aarch64"}
	}
	return []string{goarch}
}

// imageApp is the image's app as a pod manifest says it, with the exec of
// entry point and default arguments.
func imageApp(rec *image.Record) *pod.App {
	in := rec.App
	if in == nil {
		return &pod.App{}
	}
	a := &pod.App{
		Exec:              slices.Concat(in.Entrypoint, in.Cmd),
		EventHandlers:     slices.Clone(in.EventHandlers),
		User:              in.User,
		Group:             in.Group,
		SupplementaryGIDs: slices.Clone(in.SupplementaryGIDs),
		WorkingDirectory:  workingDir(rec),
		Ports:             slices.Clone(in.Ports),
		Isolators:         slices.Clone(in.Isolators),
		UserAnnotations:   maps.Clone(in.UserAnnotations),
		UserLabels:        maps.Clone(in.UserLabels),
	}
	setEnv(&a.Environment, in.Environment)
	for _, m := range in.Mounts {
		a.MountPoints = append(a.MountPoints, pod.MountPoint{Name: m.Name, Path: m.Path, ReadOnly: m.ReadOnly})
	}
	return a
}

func newApp(rec image.Record) *app {
	a := &app{image: rec, keep: map[string]bool{}}
	if rec.App != nil {
		a.stopSignal = rec.App.StopSignal
		for _, m := range rec.App.Mounts {
			a.keep[path.Clean(m.Path)] = m.KeepContent
		}
	}
	a.Image.ID = rec.ID
	return a
}

// setEnv sets each NAME=VALUE; what has no = is left out, as execve's readers do.
func setEnv(env *pod.Pairs, list []string) {
	for _, e := range list {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" {
			env.Set(name, value)
		}
	}
}

func checkEnv(list []string) error {
	for _, e := range list {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			return fmt.Errorf("environment %q is not NAME=VALUE", e)
		}
		if err := pod.ValidateEnvironment(name, value); err != nil {
			return err
		}
	}
	return nil
}

// fromRequest lays the command line over the image's app.
func (r *Request) fromRequest(q *AppRequest, name string) (*app, error) {
	if err := r.checkImage(&q.Image); err != nil {
		return nil, err
	}
	a := newApp(q.Image)
	a.Name, a.ReadOnlyRootFS = name, q.ReadOnlyRootFS
	a.describeImage(q.Reference)
	if q.Image.App == nil && q.Exec == "" {
		return nil, hint.Wrap(fmt.Errorf("image %s does not say what to run", q.Image.ID.Short()), "say it with --exec")
	}
	o := imageApp(&q.Image)
	if err := refuseGrants(o.Isolators, q.Isolators); err != nil {
		return nil, err
	}
	switch {
	case q.Exec != "":
		o.Exec = append([]string{q.Exec}, q.Args...)
	case len(q.Args) > 0:
		o.Exec = slices.Concat(q.Image.App.Entrypoint, q.Args)
	}
	if q.User != "" {
		o.User = q.User
		if q.Image.Format == image.OCI {
			o.Group = "" // belongs to the user it came with
		}
	}
	if q.Group != "" {
		o.Group = q.Group
	}
	if q.SupplementaryGIDs != nil {
		o.SupplementaryGIDs = q.SupplementaryGIDs
	}
	if q.WorkingDir != "" {
		o.WorkingDirectory = q.WorkingDir
	}
	for _, list := range [][]string{r.InheritEnv, r.SetEnv, q.Environment} {
		if err := checkEnv(list); err != nil {
			return nil, err
		}
	}
	var env pod.Pairs
	setEnv(&env, r.InheritEnv)
	for _, e := range o.Environment {
		env.Set(e.Name, e.Value)
	}
	setEnv(&env, r.SetEnv)
	setEnv(&env, q.Environment)
	o.Environment = env
	var err error
	if o.Isolators, err = q.isolators(o.Isolators); err != nil {
		return nil, err
	}
	o.UserAnnotations = merge(o.UserAnnotations, q.UserAnnotations)
	o.UserLabels = merge(o.UserLabels, q.UserLabels)
	a.App = o
	for _, p := range q.Annotations {
		if _, taken := q.Image.Annotations[p.Name]; !taken {
			a.Annotations.Set(p.Name, p.Value)
		}
	}
	a.Mounts = mergeMounts(r.Mounts, q.Mounts)
	for i, s := range []contract.Stream{q.Stdin, q.Stdout, q.Stderr} {
		if s != "" {
			a.streams[i] = s
			a.Annotations.Set(annotationStream+streamNames()[i], string(s))
		}
	}
	return a, a.finish()
}

// describeImage names the image in the manifest, for people: the ID decides.
func (a *app) describeImage(reference string) {
	if reference == "" && len(a.image.Names) > 0 {
		reference = a.image.Names[0]
	}
	if reference != "" {
		a.Annotations.Set(pod.AnnotationImage, reference)
	}
	name := ""
	if a.image.App != nil {
		name = a.image.App.Name
	}
	if name == "" {
		name, _ = strings.CutPrefix(reference, "docker://")
		name, _, _ = strings.Cut(name, "@")
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			a.Image.Labels.Set("version", name[i+1:])
			name = name[:i]
		}
	}
	if pod.ValidIdentifier(name) {
		a.Image.Name = name
		for _, l := range []string{"version", "os", "arch"} {
			if v := a.image.Labels[l]; v != "" {
				a.Image.Labels.Set(l, v)
			}
		}
	} else {
		a.Image.Labels = nil
	}
}

func merge(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	if a == nil {
		a = map[string]string{}
	}
	maps.Copy(a, b)
	return a
}

// mergeMounts: an app's own mounts replace the common ones on the same path.
func mergeMounts(common, own []pod.Mount) []pod.Mount {
	var all []pod.Mount
	for _, m := range common {
		if !slices.ContainsFunc(own, func(o pod.Mount) bool { return samePath(o.Path, m.Path) }) {
			all = append(all, m)
		}
	}
	return append(all, own...)
}

// isolators lays the command line's over the image's.
func (q *AppRequest) isolators(list []image.Isolator) ([]image.Isolator, error) {
	replace := func(with image.Isolator, kinds ...string) {
		list = slices.DeleteFunc(list, func(i image.Isolator) bool { return slices.Contains(kinds, i.Name) })
		list = append(list, with)
	}
	if q.CapsRetain != nil && q.CapsRemove != nil {
		return nil, errors.New("capabilities cannot be both retained and removed")
	}
	if q.CapsRetain != nil {
		replace(pod.CapsIsolator(pod.IsolatorCapsRetain, q.CapsRetain), pod.IsolatorCapsRetain, pod.IsolatorCapsRemove, pod.IsolatorCapsAmbient)
	}
	if q.CapsRemove != nil {
		replace(pod.CapsIsolator(pod.IsolatorCapsRemove, q.CapsRemove), pod.IsolatorCapsRetain, pod.IsolatorCapsRemove, pod.IsolatorCapsAmbient)
	}
	if q.Seccomp != nil {
		replace(q.Seccomp.Isolator(), pod.IsolatorSeccompRetain, pod.IsolatorSeccompRemove, pod.IsolatorSeccompProfile)
	}
	if q.NoNewPrivs != nil {
		replace(pod.NoNewPrivsIsolator(*q.NoNewPrivs), pod.IsolatorNoNewPrivs)
	}
	if q.OOMScoreAdj != nil {
		replace(pod.OOMScoreAdjIsolator(*q.OOMScoreAdj), pod.IsolatorOOMScoreAdj)
	}
	return replaced(list, q.Isolators), nil
}

// fromManifest takes an app of a pod manifest: its `app` replaces the image's
// (appc 0.8.11, "Pod Manifest Schema"), or is laid over it (AnnotationMerge).
func (r *Request) fromManifest(ra *pod.RuntimeApp, rec image.Record) (*app, error) {
	if err := r.checkImage(&rec); err != nil {
		return nil, err
	}
	a := newApp(rec)
	a.RuntimeApp = *ra
	a.Image.ID = rec.ID
	a.Annotations = slices.Clone(ra.Annotations)
	a.Mounts = slices.Clone(ra.Mounts)
	isMerge, err := ra.Merge()
	switch {
	case err != nil:
		return nil, err
	case isMerge:
		a.App, err = laidOver(ra, &rec)
		if err != nil {
			return nil, err
		}
		a.Annotations = slices.DeleteFunc(a.Annotations, func(p pod.Pair) bool {
			return p.Name == pod.AnnotationMerge || p.Name == pod.AnnotationCommand || p.Name == pod.AnnotationArgs
		})
	case ra.App != nil:
		c := *ra.App
		a.App = &c
	case rec.App == nil:
		return nil, fmt.Errorf("image %s does not say what to run, and the manifest has no app section", rec.ID.Short())
	default:
		a.App = imageApp(&rec)
		if err := refuseGrants(a.App.Isolators, nil); err != nil {
			return nil, err
		}
	}
	for i, name := range streamNames() {
		v, ok := ra.Annotations.Get(annotationStream + name)
		if !ok {
			continue
		}
		a.streams[i] = contract.Stream(v)
	}
	return a, a.finish()
}

// laidOver is a manifest's app over the image's.
func laidOver(ra *pod.RuntimeApp, rec *image.Record) (*pod.App, error) {
	o := imageApp(rec)
	var entry, args []string
	if rec.App != nil {
		entry, args = rec.App.Entrypoint, rec.App.Cmd
	}
	if v, ok := ra.Annotations.Get(pod.AnnotationCommand); ok {
		args = nil
		if err := json.Unmarshal([]byte(v), &entry); err != nil {
			return nil, fmt.Errorf("annotation %q: %w", pod.AnnotationCommand, err)
		}
	}
	if v, ok := ra.Annotations.Get(pod.AnnotationArgs); ok {
		args = nil
		if err := json.Unmarshal([]byte(v), &args); err != nil {
			return nil, fmt.Errorf("annotation %q: %w", pod.AnnotationArgs, err)
		}
	}
	o.Exec = slices.Concat(entry, args)
	m := ra.App
	if m == nil {
		return o, refuseGrants(o.Isolators, nil)
	}
	if m.User != "" {
		o.User = m.User
		o.Group = ""
	}
	if m.Group != "" {
		o.Group = m.Group
	}
	if m.SupplementaryGIDs != nil {
		o.SupplementaryGIDs = m.SupplementaryGIDs
	}
	if m.WorkingDirectory != "" {
		o.WorkingDirectory = m.WorkingDirectory
	}
	for _, e := range m.Environment {
		o.Environment.Set(e.Name, e.Value)
	}
	for _, mp := range m.MountPoints {
		o.MountPoints = slices.DeleteFunc(o.MountPoints, func(i pod.MountPoint) bool { return i.Name == mp.Name })
		o.MountPoints = append(o.MountPoints, mp)
	}
	for _, p := range m.Ports {
		o.Ports = slices.DeleteFunc(o.Ports, func(i image.Port) bool { return i.Name == p.Name })
		o.Ports = append(o.Ports, p)
	}
	for _, h := range m.EventHandlers {
		o.EventHandlers = slices.DeleteFunc(o.EventHandlers, func(i image.EventHandler) bool { return i.Name == h.Name })
		o.EventHandlers = append(o.EventHandlers, h)
	}
	if err := refuseGrants(o.Isolators, m.Isolators); err != nil {
		return nil, err
	}
	for _, is := range m.Isolators {
		o.Isolators = slices.DeleteFunc(o.Isolators, func(i image.Isolator) bool { return sameKind(i.Name, is.Name) })
	}
	o.Isolators = append(o.Isolators, m.Isolators...)
	o.UserAnnotations = merge(o.UserAnnotations, m.UserAnnotations)
	o.UserLabels = merge(o.UserLabels, m.UserLabels)
	return o, nil
}

// sameKind: retain, remove and ambient sets of one thing replace each other.
func sameKind(a, b string) bool {
	kind := func(s string) string {
		s = strings.TrimSuffix(s, "-retain-set")
		s = strings.TrimSuffix(s, "-ambient-set")
		return strings.TrimSuffix(s, "-remove-set")
	}
	return kind(a) == kind(b)
}

// finish fills in what must not be left open, and checks the whole.
func (a *app) finish() error {
	if err := a.keepNotify(); err != nil {
		return err
	}
	o := a.App
	if len(o.Exec) == 0 || o.Exec[0] == "" {
		return hint.Wrap(fmt.Errorf("image %s does not say what to run", a.image.ID.Short()), "say it with --exec")
	}
	if o.User == "" {
		o.User = "0"
		if o.Group == "" {
			o.Group = "0"
		}
	}
	for i, s := range a.streams {
		name := streamNames()[i]
		switch {
		case s == "" || s == contract.Null || s == contract.Inherit:
		case s == contract.Log && i > 0:
		default:
			return fmt.Errorf("mode %q of %s is not known", s, name)
		}
	}
	return nil
}

// workingDir is absolute: Docker has always read a relative one from the root.
func workingDir(rec *image.Record) string {
	d := rec.App.WorkingDir
	if d != "" && rec.Format == image.OCI {
		d = path.Join("/", d)
	}
	return d
}
