// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/spf13/pflag"
)

// podJSON is rkt's v1.Pod, as `list` and `status` print it. Unlike rkt's, whose
// pods had seconds and apps nanoseconds, all times are nanoseconds since the
// epoch (docs/commands/list.md).
type podJSON struct {
	Name            string            `json:"name"` // the UUID
	State           string            `json:"state"`
	Networks        []networkJSON     `json:"networks,omitempty"`
	AppNames        []string          `json:"app_names,omitempty"` // deprecated in rkt: apps has them
	Apps            []appJSON         `json:"apps,omitempty"`
	CreatedAt       *int64            `json:"created_at,omitempty"`
	StartedAt       *int64            `json:"started_at,omitempty"`
	UserAnnotations map[string]string `json:"user_annotations,omitempty"`
	UserLabels      map[string]string `json:"user_labels,omitempty"`
	PrivateUsers    *usersJSON        `json:"private_users,omitempty"` // of a pod that was started
	Limits          *limitsJSON       `json:"limits,omitempty"`        // of all apps together
	Usage           *usageJSON        `json:"usage,omitempty"`         // in status, of a pod that runs
}

// networkJSON is one of the pod's networks, in rkt's words and some of our own. A
// pod with the host's network or with none has no entry.
type networkJSON struct {
	NetName    string `json:"netName"`
	NetConf    string `json:"netConf"`    // path of its configuration; "" if built in
	PluginPath string `json:"pluginPath"` // of its plugin; "" if built in
	IfName     string `json:"ifName"`
	IP         string `json:"ip"`
	Args       string `json:"args"`
	Mask       string `json:"mask"`
	IP6        string `json:"ip6,omitempty"`
	Prefix6    int    `json:"prefix6,omitempty"`
	MAC        string `json:"mac,omitempty"`
	HostIfName string `json:"hostIfName,omitempty"`
}

// usersJSON are users and groups of the host that are the pod's own.
type usersJSON struct {
	First int64 `json:"first"`
	Count int64 `json:"count"`
}

type appJSON struct {
	Name            string            `json:"name"`
	State           string            `json:"state"` // unknown, created, running, exited
	CreatedAt       *int64            `json:"created_at,omitempty"`
	StartedAt       *int64            `json:"started_at,omitempty"`
	FinishedAt      *int64            `json:"finished_at,omitempty"`
	ExitCode        *int              `json:"exit_code,omitempty"`
	ImageID         string            `json:"image_id"`
	Mounts          []mountJSON       `json:"mounts,omitempty"`
	UserAnnotations map[string]string `json:"user_annotations,omitempty"`
	UserLabels      map[string]string `json:"user_labels,omitempty"`
	Limits          *limitsJSON       `json:"limits,omitempty"`
	Usage           *usageJSON        `json:"usage,omitempty"`
	OOMKills        int               `json:"oom_kills,omitempty"` // processes that the OOM killer has ended
}

type mountJSON struct {
	Name          string `json:"name"`
	ContainerPath string `json:"container_path"`
	HostPath      string `json:"host_path"`
	ReadOnly      bool   `json:"read_only"`
}

// podView is what is known about a pod, in one look.
type podView struct {
	id       pod.UUID
	state    lifecycle.State
	manifest *pod.Manifest // nil if there is none (yet)
	created  time.Time
	events   contract.Events // empty if it was never started
	networks []contract.Attached
	paused   bool
}

// shown is the state that tables and JSON have.
func (v *podView) shown() string {
	if v.paused {
		return "paused"
	}
	return string(v.state)
}

// look reads what tables show. A pod that is gone is lifecycle.ErrNotFound. A
// view comes back with every other error, too, with what could be read.
func look(p *lifecycle.Pod) (v podView, err error) {
	v.id = p.ID()
	if v.state, err = p.State(); err != nil {
		return v, err
	}
	if v.created, err = p.Created(); err != nil {
		return v, err
	}
	if ran(v.state) {
		if v.events, err = p.Events(); err != nil {
			return v, err
		}
		n, err := p.Networks()
		if err != nil {
			return v, err
		}
		v.networks = n.Networks
		v.paused = isPaused(p, v.state)
	}
	v.manifest, err = p.Manifest()
	if errors.Is(err, fs.ErrNotExist) && !ran(v.state) {
		err = nil // not written yet, or never to be
	}
	return v, err
}

// addresses are the pod's networks as tables show them.
func (v *podView) addresses() string {
	var words []string
	for _, n := range v.networks {
		var of []string
		if n.IP != "" {
			of = append(of, "ip4="+n.IP)
		}
		if n.IP6 != "" {
			of = append(of, "ip6="+n.IP6)
		}
		words = append(words, n.NetName+":"+strings.Join(of, ","))
	}
	return strings.Join(words, ", ")
}

// ran reports whether a pod in that state was started.
func ran(s lifecycle.State) bool {
	switch s {
	case lifecycle.StateRunning, lifecycle.StateExited, lifecycle.StateExitedDeleting, lifecycle.StateExitedGarbage:
		return true
	}
	return false
}

// json adds what only JSON shows: what apps mount.
func (v *podView) json(p *lifecycle.Pod) (podJSON, error) {
	j := podJSON{Name: string(v.id), State: v.shown(), CreatedAt: nanos(v.created), StartedAt: nanos(v.events.Started)}
	for _, n := range v.networks {
		j.Networks = append(j.Networks, networkJSON{n.NetName, n.NetConf, n.PluginPath, n.IfName, n.IP, n.Args, n.Mask,
			n.IP6, n.Prefix6, n.MAC, n.HostIfName})
	}
	if u := v.events.Users; u.Private() {
		j.PrivateUsers = &usersJSON{u.First, u.Count}
	}
	if v.manifest == nil {
		return j, nil
	}
	j.UserAnnotations, j.UserLabels = v.manifest.UserAnnotations, v.manifest.UserLabels
	mounts, limits := map[string][]mountJSON{}, map[string]*limitsJSON{}
	if c, err := p.Contract(); err == nil {
		j.Limits = podLimitsJSON(c)
		for _, a := range c.Apps {
			limits[a.Name] = newLimitsJSON(a.Limits)
			for _, m := range a.Mounts {
				if !m.Keep {
					mounts[a.Name] = append(mounts[a.Name], mountJSON{m.Volume, m.Target, m.Source, m.ReadOnly})
				}
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return j, err
	}
	for i := range v.manifest.Apps {
		ra := &v.manifest.Apps[i]
		ev := v.events.Apps[ra.Name]
		a := appJSON{Name: ra.Name, State: appState(v.state, ev), ImageID: string(ra.Image.ID), CreatedAt: j.CreatedAt,
			StartedAt: nanos(ev.Started), FinishedAt: nanos(ev.Finished), Mounts: mounts[ra.Name],
			Limits: limits[ra.Name], OOMKills: ev.OOMKills}
		if ra.App != nil {
			a.UserAnnotations, a.UserLabels = ra.App.UserAnnotations, ra.App.UserLabels
		}
		if ev.Ended {
			a.ExitCode = &ev.Status
		}
		j.AppNames = append(j.AppNames, ra.Name)
		j.Apps = append(j.Apps, a)
	}
	return j, nil
}

// appState is the state of an app in a pod, in rkt's words.
func appState(s lifecycle.State, e contract.AppEvents) string {
	switch {
	case e.Ended:
		return "exited"
	case s == lifecycle.StatePrepared, s == lifecycle.StateRunning && e.PID == 0:
		return "created"
	case s == lifecycle.StateRunning:
		return "running"
	case ran(s):
		return "exited" // killed with the pod, status unknown
	}
	return "unknown"
}

func nanos(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixNano()
	return &n
}

// imageName is how tables name an app's image: the reference it was found by.
func imageName(a *pod.RuntimeApp) string {
	name := a.Image.Name
	if canonical, ok := a.Annotations.Get(pod.AnnotationImage); ok {
		name = ref.Display(canonical)
	} else if v, ok := a.Image.Labels.Get("version"); ok && name != "" {
		name += ":" + v
	}
	if name == "" {
		return "--"
	}
	return name
}

// uuidFile is the flag --uuid-file of verbs that take pods.
type uuidFile struct{ path string }

func (u *uuidFile) register(fs *pflag.FlagSet) {
	fs.StringVar(&u.path, "uuid-file", "", "read the pod's UUID from `FILE`, as --uuid-file-save writes it")
}

// args checks a verb's arguments: UUIDs, or the file.
func (u *uuidFile) args(check argsCheck) argsCheck {
	return func(args []string) error {
		if u.path == "" {
			return check(args)
		}
		if len(args) > 0 {
			return errors.New("a UUID does not go with --uuid-file")
		}
		return nil
	}
}

// uuids are the pods that were asked for.
func (u *uuidFile) uuids(args []string) ([]string, error) {
	if u.path == "" {
		return args, nil
	}
	f, err := os.Open(u.path)
	if err != nil {
		return nil, fmt.Errorf("cannot read UUID file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return nil, fmt.Errorf("cannot read UUID file: %w", err)
	}
	id, err := pod.ParseUUID(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("cannot read UUID file %q: it does not hold one UUID", u.path)
	}
	return []string{string(id)}, nil
}

// openPod finds a pod by the UUID, or the beginning of one, that the user gave.
func (c *cli) openPod(uuid string) (*lifecycle.Pod, error) {
	dir, err := c.global.dataDir()
	if err != nil {
		return nil, err
	}
	p, err := lifecycle.Open(dir, uuid)
	if errors.Is(err, lifecycle.ErrNotFound) && hint.Of(err) == "" {
		err = hint.Wrap(err, "`rkt list` shows the pods of "+dir)
	}
	return p, err
}
