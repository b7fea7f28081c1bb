// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// allFeatures is a flavor that can do everything.
func allFeatures() Flavor {
	return Flavor{Path: "/opt/stage1-all.json", Manifest: contract.Manifest{Name: "all", ContractVersion: contract.Version,
		Features: []contract.Feature{contract.MultipleApps, contract.Interactive, contract.ReadOnlyRoot, contract.Volumes,
			contract.Hostname, contract.DNS, contract.NetHost, contract.NetNone, contract.NetContained, contract.Ports, contract.Sockets, contract.Notify, contract.Capabilities, contract.Seccomp,
			contract.NoNewPrivs, contract.OOMScoreAdj, contract.ProtectedPaths, contract.EventHandlers, contract.Logs, contract.HostIPC, contract.Devices, contract.Ambient, contract.AppArmor, contract.SELinux,
			contract.LimitCPU, contract.LimitMemory, contract.LimitPIDs, contract.LimitBlockIO, contract.Rlimits, contract.Sysctls}}}
}

type fixture struct {
	t   testing.TB
	dir string
	st  *store.Store
	req Request
	rec image.Record
	say []string
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir()}
	var err error
	if f.st, err = store.Open(f.dir); err != nil {
		t.Fatal(err)
	}
	f.rec = f.image("docker://registry-1.docker.io/library/web:1.2", 'a', 'b')
	f.rec.App.Entrypoint, f.rec.App.Cmd = []string{"/bin/web"}, []string{"serve"}
	f.req = Request{DataDir: f.dir, Flavor: allFeatures(), Apps: []AppRequest{{Image: f.rec}},
		Warn: func(s string) { f.say = append(f.say, s) }}
	return f
}

// image makes a record with a tree for each of the letters.
func (f *fixture) image(name string, letters ...byte) image.Record {
	f.t.Helper()
	digest := func(c byte) image.Digest { return image.Digest("sha256:" + strings.Repeat(string(c), 64)) }
	rec := image.Record{ID: digest(letters[0]).ID(), Format: image.OCI, Names: []string{name}, Trust: image.TrustDigest,
		App: &image.App{}, Labels: map[string]string{"os": "linux", "arch": runtime.GOARCH, "version": "1.2"}}
	for _, c := range letters {
		rec.Layers = append(rec.Layers, image.Layer{DiffID: digest(c)})
		if err := os.MkdirAll(f.st.LayerPath(digest(c)), 0o755); err != nil {
			f.t.Fatal(err)
		}
	}
	return rec
}

func (f *fixture) app() *AppRequest { return &f.req.Apps[0] }

func (f *fixture) pod() (*lifecycle.Pod, *contract.Pod, *pod.Manifest) {
	f.t.Helper()
	p, err := Pod(f.st, f.req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { p.Close() })
	c, err := p.Contract()
	if err != nil {
		f.t.Fatal(err)
	}
	m, err := p.Manifest()
	if err != nil {
		f.t.Fatal(err)
	}
	return p, c, m
}

// refused asks for an error with these words in it, and for nothing on disk.
func (f *fixture) refused(words ...string) error {
	f.t.Helper()
	p, err := Pod(f.st, f.req)
	if err == nil {
		p.Close()
		f.t.Errorf("was not refused; want %q", words)
		return nil
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			f.t.Errorf("error %q lacks %q", err, w)
		}
	}
	pods, lerr := lifecycle.List(f.dir, lifecycle.Phases()...)
	if lerr != nil || len(pods) > 0 {
		f.t.Errorf("left on disk: %v, %v", pods, lerr)
	}
	return err
}

func TestPod(t *testing.T) {
	f := newFixture(t)
	for _, durable := range []bool{false, true} {
		f.req.Durable = durable
		p, c, m := f.pod()
		if p.Phase() != lifecycle.Prepare || p.LockFile() == nil {
			t.Errorf("phase %s, lock %v", p.Phase(), p.LockFile())
		}
		run := lifecycle.RunDir(f.dir, p.ID())
		c.Cgroup = "" // depends on the machine
		hosts := hostsFile("rkt-"+c.UUID, nil)
		want := &contract.Pod{Version: 1, UUID: string(p.ID()), Flavor: "/opt/stage1-all.json",
			Features: []contract.Feature{contract.NetContained}, Hostname: "rkt-" + string(p.ID()),
			Network: "contained", Networks: []contract.Network{{Name: "default", IfName: "eth0"}}, StopSeconds: 10, Hosts: &hosts, HostsIfMissing: true,
			Apps: []contract.App{{Name: "web", Exec: []string{"/bin/web", "serve"}, User: "0", Group: "0", WorkingDir: "/",
				Layers: []string{filepath.Join(f.req.DataDir, "layers", "skeleton"), f.st.LayerPath(f.rec.Layers[0].DiffID), f.st.LayerPath(f.rec.Layers[1].DiffID)},
				Upper:  run + "/private/upper-web", Work: run + "/private/work-web",
				Environment: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
					"SHELL=/bin/sh", "USER=root", "LOGNAME=root", "HOME=/root", "AC_APP_NAME=web"}}}}
		if d := cmp.Diff(want, c); d != "" {
			t.Error(d)
		}
		a := m.Apps[0]
		if a.Image.ID != f.rec.ID || a.Image.Name != "registry-1.docker.io/library/web" || a.ImageReference() != string(f.rec.ID) {
			t.Errorf("image %+v", a.Image)
		}
		if v, _ := a.Image.Labels.Get("version"); v != "1.2" {
			t.Errorf("labels %v", a.Image.Labels)
		}
		if err := m.Validate(); err != nil {
			t.Error(err)
		}
		for _, d := range []string{"private/upper-web", "private/work-web"} {
			if st, err := os.Stat(filepath.Join(p.Dir(), d)); err != nil || !st.IsDir() {
				t.Errorf("%s: %v", d, err)
			}
		}
		if err := p.ToFast(lifecycle.Run); err != nil {
			t.Error(err)
		}
	}
}

func TestExec(t *testing.T) {
	for name, c := range map[string]struct {
		exec string
		args []string
		want []string
	}{
		"image's own": {"", nil, []string{"/bin/web", "serve"}},
		"arguments":   {"", []string{"-x"}, []string{"/bin/web", "-x"}},
		"exec":        {"/bin/sh", nil, []string{"/bin/sh"}},
		"exec, args":  {"/bin/sh", []string{"-c", "exit 7"}, []string{"/bin/sh", "-c", "exit 7"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.app().Exec, f.app().Args = c.exec, c.args
			_, doc, m := f.pod()
			if !slices.Equal(doc.Apps[0].Exec, c.want) || !slices.Equal(m.Apps[0].App.Exec, c.want) {
				t.Errorf("%q, want %q", doc.Apps[0].Exec, c.want)
			}
		})
	}
	f := newFixture(t)
	f.rec.App.Entrypoint, f.rec.App.Cmd = nil, nil
	if err := f.refused("does not say what to run"); hint.Of(err) == "" {
		t.Error("no hint")
	}
	f.app().Image.App = nil
	f.app().Args = []string{"x"}
	f.refused("does not say what to run")
	f.app().Exec = "/bin/x"
	f.pod()
}

func TestEnvironmentPrecedence(t *testing.T) {
	f := newFixture(t)
	f.rec.App.Environment = []string{"A=image", "B=image", "C=image", "PATH=/image", "AC_APP_NAME=liar", "A=again"}
	f.req.InheritEnv = []string{"A=parent", "Z=parent", "HOME=/parent"}
	f.req.SetEnv = []string{"B=file", "C=file", "D=file", "D=flag"}
	f.app().Environment = []string{"C=app", "E=a=b", "F="}
	_, c, m := f.pod()
	env := c.Apps[0].Environment
	slices.Sort(env)
	want := []string{"A=again", "AC_APP_NAME=web", "B=file", "C=app", "D=flag", "E=a=b", "F=", "HOME=/parent",
		"LOGNAME=root", "PATH=/image", "SHELL=/bin/sh", "USER=root", "Z=parent"}
	if d := cmp.Diff(want, env); d != "" {
		t.Error(d)
	}
	if v, _ := m.Apps[0].App.Environment.Get("C"); v != "app" {
		t.Errorf("manifest's environment: %v", m.Apps[0].App.Environment)
	}
	f.app().Environment = []string{"noequals"}
	if _, err := Pod(f.st, f.req); err == nil {
		t.Error("a variable without = was accepted")
	}
}

func TestUser(t *testing.T) {
	for name, c := range map[string]struct {
		format              image.Format
		iUser, iGroup       string
		user, group         string
		wantUser, wantGroup string
	}{
		"nothing":         {image.OCI, "", "", "", "", "0", "0"},
		"image's":         {image.OCI, "www", "", "", "", "www", ""},
		"image's both":    {image.OCI, "1", "2", "", "", "1", "2"},
		"user, OCI":       {image.OCI, "1", "2", "12", "", "12", ""},
		"user, no group":  {image.OCI, "", "", "12", "", "12", ""},
		"user, appc":      {image.ACI, "1", "2", "12", "", "12", "2"},
		"both":            {image.OCI, "1", "2", "3", "4", "3", "4"},
		"group alone":     {image.OCI, "", "", "", "5", "0", "5"},
		"owner of a file": {image.ACI, "0", "0", "/etc/x", "/etc/y", "/etc/x", "/etc/y"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.app().Image.Format = c.format
			f.rec.App.User, f.rec.App.Group = c.iUser, c.iGroup
			f.app().User, f.app().Group = c.user, c.group
			_, doc, _ := f.pod()
			if a := doc.Apps[0]; a.User != c.wantUser || a.Group != c.wantGroup {
				t.Errorf("%q:%q, want %q:%q", a.User, a.Group, c.wantUser, c.wantGroup)
			}
		})
	}
}

func TestImageRefused(t *testing.T) {
	f := newFixture(t)
	f.app().Image.Trust = image.TrustNone
	if err := f.refused("nothing vouches"); !strings.Contains(hint.Of(err), "--insecure-options=image") {
		t.Errorf("hint %q", hint.Of(err))
	}
	f.req.AllowUntrusted = true
	f.pod()

	f = newFixture(t)
	f.rec.Labels["os"] = "windows"
	f.refused("windows")
	f.rec.Labels["os"] = "linux"
	f.rec.Labels["arch"] = "sparc64"
	f.refused("sparc64")
	delete(f.rec.Labels, "arch")
	f.app().Image.Format = image.ACI
	f.refused(`no label "arch"`)
	f.app().Image.Format = image.OCI
	f.pod()

	f = newFixture(t)
	if err := os.RemoveAll(f.st.LayerPath(f.rec.Layers[1].DiffID)); err != nil {
		t.Fatal(err)
	}
	f.refused("gone")
	f.app().Image.Layers = nil
	f.refused("no layers")
}

func TestNames(t *testing.T) {
	f := newFixture(t)
	f.req.Apps = append(f.req.Apps, AppRequest{Image: f.rec})
	if err := f.refused(`multiple apps with name "web"`); hint.Of(err) == "" {
		t.Error("no hint")
	}
	f.req.Apps[1].Name = "Web"
	f.refused("Web")
	f.req.Apps[1].Name = "web2"
	_, c, _ := f.pod()
	if c.Apps[0].Name != "web" || c.Apps[1].Name != "web2" || c.Apps[0].Upper == c.Apps[1].Upper {
		t.Errorf("%+v", c.Apps)
	}
	f.req.Flavor.Manifest.Features = []contract.Feature{contract.NetNone}
	if _, err := Pod(f.st, f.req); err == nil || !strings.Contains(err.Error(), "multiple-apps") {
		t.Errorf("two apps: %v", err)
	}
	f = newFixture(t)
	f.req.Apps = nil
	f.refused("no image")
}

// Each thing asked for is refused, by flavor and feature, by one that lacks it.
func TestFeatures(t *testing.T) {
	yes, n := true, 5
	for feature, ask := range map[contract.Feature]func(*fixture){
		contract.Interactive:  func(f *fixture) { f.req.Options.Interactive = true },
		contract.ReadOnlyRoot: func(f *fixture) { f.app().ReadOnlyRootFS = true },
		contract.Hostname:     func(f *fixture) { f.req.Options.Hostname = "h" },
		contract.DNS:          func(f *fixture) { f.req.Options.DNS.Servers = []string{"1.1.1.1"} },
		contract.NetHost:      func(f *fixture) { f.req.Options.Networks = network("host") },
		contract.NetNone:      func(f *fixture) { f.req.Options.Networks = network("none") },
		contract.NetContained: func(f *fixture) {},
		contract.Ports: func(f *fixture) {
			f.req.Ports = []pod.ExposedPort{{Name: "p", HostPort: 80, PodPort: &image.Port{Name: "p", Protocol: "tcp", Port: 80}}}
		},
		contract.Capabilities: func(f *fixture) { f.app().CapsRetain = []string{} },
		contract.Seccomp:      func(f *fixture) { f.app().Seccomp = &pod.Seccomp{Names: []string{"reboot"}} },
		contract.NoNewPrivs:   func(f *fixture) { f.app().NoNewPrivs = &yes },
		contract.OOMScoreAdj:  func(f *fixture) { f.app().OOMScoreAdj = &n },
		contract.Logs:         func(f *fixture) { f.app().Stdout = contract.Log },
		contract.HostIPC:      func(f *fixture) { f.req.Options.HostIPC = true },
		contract.Notify:       func(f *fixture) { f.req.Options.Notify = true },
		contract.Rlimits: func(f *fixture) {
			f.app().Isolators = []image.Isolator{pod.RlimitsIsolator([]pod.Rlimit{{Name: "core"}})}
		},
		contract.Sysctls: func(f *fixture) {
			f.req.Isolators = []image.Isolator{pod.SysctlIsolator(map[string]string{"net.core.somaxconn": "9"})}
		},
		contract.EventHandlers: func(f *fixture) {
			f.rec.App.EventHandlers = []image.EventHandler{{Name: "pre-start", Exec: []string{"/x"}}}
		},
		contract.Volumes: func(f *fixture) {
			f.req.Volumes = []pod.Volume{{Name: "v", Kind: pod.EmptyVolume}}
			f.app().Mounts = []pod.Mount{{Volume: "v", Path: "/v"}}
		},
	} {
		t.Run(string(feature), func(t *testing.T) {
			f := newFixture(t)
			ask(f)
			f.req.Flavor.Manifest.Features = slices.DeleteFunc(f.req.Flavor.Manifest.Features,
				func(g contract.Feature) bool { return g == feature })
			err := f.refused(`"all"`, string(feature))
			if u := (*UnsupportedError)(nil); !errors.As(err, &u) || u.Feature != feature {
				t.Errorf("%v", err)
			}
			f.req.Flavor = allFeatures()
			// The document says so, for flavors that look again.
			if _, c, _ := f.pod(); !slices.Contains(c.Features, feature) {
				t.Errorf("the document's features are %q", c.Features)
			}
		})
	}
	// What nobody asked for is left out without a word.
	f := newFixture(t)
	f.req.Flavor.Manifest.Features = []contract.Feature{contract.NetNone}
	f.req.Options.Networks = network("none")
	if _, c, _ := f.pod(); c.Hosts != nil {
		t.Error("a hosts file for a flavor that has no use for it")
	}
}

func TestIsolators(t *testing.T) {
	f := newFixture(t)
	f.rec.App.Isolators = []image.Isolator{pod.CapsIsolator(pod.IsolatorCapsRetain, []string{"CAP_KILL"}), pod.OOMScoreAdjIsolator(7)}
	_, c, _ := f.pod()
	if a := c.Apps[0]; !slices.Equal(a.Capabilities, []string{"CAP_KILL"}) || *a.OOMScoreAdj != 7 {
		t.Errorf("%+v", a)
	}
	yes := true
	f.app().CapsRemove, f.app().NoNewPrivs = []string{"CAP_MKNOD"}, &yes
	f.app().Seccomp = &pod.Seccomp{Retain: true, Names: []string{"@appc.io/all"}}
	_, c, m := f.pod()
	if a := c.Apps[0]; len(a.Capabilities) != len(pod.DefaultCapabilities())-1 || !a.NoNewPrivs || a.Seccomp.Mode != "unconfined" {
		t.Errorf("%+v", a)
	}
	if l := m.Apps[0].App.Isolators; len(l) != 4 {
		t.Errorf("manifest's isolators %+v", l)
	}
	f.app().Seccomp = &pod.Seccomp{Names: []string{"@appc.io/empty"}}
	if _, c, _ = f.pod(); c.Apps[0].Seccomp.Mode != "" {
		t.Errorf("%+v", c.Apps[0].Seccomp)
	}

	f = newFixture(t)
	f.app().CapsRetain, f.app().CapsRemove = []string{"CAP_KILL"}, []string{"CAP_KILL"}
	f.refused("both retained and removed")
	f = newFixture(t)
	f.app().CapsRetain = []string{"CAP_NOSUCH"}
	f.refused("CAP_NOSUCH")
	f = newFixture(t)
	f.rec.App.Isolators = []image.Isolator{{Name: "os/linux/other", Value: image.Raw(`"x"`)}}
	if err := f.refused("os/linux/other", `"web"`); !strings.Contains(hint.Of(err), "--pod-manifest") {
		t.Errorf("hint %q", hint.Of(err))
	}
}

func TestVolumes(t *testing.T) {
	f := newFixture(t)
	src := t.TempDir()
	f.rec.App.Mounts = []image.MountPoint{
		{Name: "given", Path: "/given", ReadOnly: true},
		{Name: "loose", Path: "/loose"},
		{Name: "keep", Path: "/keep", KeepContent: true},
		{Name: "over", Path: "/over"},
	}
	no := false
	f.req.Volumes = []pod.Volume{
		{Name: "given", Kind: pod.HostVolume, Source: src + "/"},
		{Name: "tmp", Kind: pod.EmptyVolume, Mode: "1777"},
		{Name: "rw", Kind: pod.HostVolume, Source: src, ReadOnly: &no, Recursive: &no},
		{Name: "idle", Kind: pod.HostVolume, Source: "/nonexistent"},
	}
	f.req.Mounts = []pod.Mount{{Volume: "tmp", Path: "/z/common"}, {Volume: "tmp", Path: "/over/"}}
	f.app().Mounts = []pod.Mount{{Volume: "rw", Path: "/over"}, {Volume: "rw", Path: "/loose/below"}}
	p, c, m := f.pod()
	vol := filepath.Join(lifecycle.RunDir(f.dir, p.ID()), "private/volumes")
	want := []contract.Mount{
		{Volume: "given", Source: src, Target: "/given", ReadOnly: true, Recursive: true},
		{Volume: "web-loose", Source: vol + "/web-loose", Target: "/loose"},
		{Volume: "rw", Source: src, Target: "/loose/below"},
		{Volume: "rw", Source: src, Target: "/over"},
		{Volume: "tmp", Source: vol + "/tmp", Target: "/z/common"},
	}
	if d := cmp.Diff(want, c.Apps[0].Mounts); d != "" {
		t.Error(d)
	}
	if len(f.say) != 2 || !strings.Contains(f.say[0], "loose") || !strings.Contains(f.say[1], "idle") {
		t.Errorf("warnings %q", f.say)
	}
	if len(m.Volumes) != 5 || m.Volumes[4].Name != "web-loose" {
		t.Errorf("manifest's volumes %+v", m.Volumes)
	}
	for name, mode := range map[string]fs.FileMode{"tmp": 0o777 | fs.ModeSticky, "web-loose": 0o755} {
		if st, err := os.Stat(filepath.Join(p.Dir(), "private/volumes", name)); err != nil || st.Mode() != mode|fs.ModeDir {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	// Docker's VOLUME under a read-only root stays writable.
	f.app().ReadOnlyRootFS = true
	_, c, _ = f.pod()
	if !slices.Contains(c.Apps[0].Mounts, contract.Mount{Volume: "keep", Target: "/keep", Keep: true}) {
		t.Errorf("%+v", c.Apps[0].Mounts)
	}
}

func TestVolumesRefused(t *testing.T) {
	for words, ask := range map[string]func(*fixture){
		"no such volume":   func(f *fixture) { f.app().Mounts = []pod.Mount{{Volume: "nope", Path: "/x"}} },
		"does not exist":   func(f *fixture) { f.req.Volumes[0].Source = "/nonexistent/x" },
		"multiple volumes": func(f *fixture) { f.req.Volumes = append(f.req.Volumes, f.req.Volumes[0]) },
		"multiple mounts": func(f *fixture) {
			f.app().Mounts = append(f.app().Mounts, pod.Mount{Volume: "v", Path: "/v/../v"})
		},
		"without overlay": func(f *fixture) { f.req.NoOverlay = true },
		"is taken": func(f *fixture) {
			f.rec.App.Mounts = []image.MountPoint{{Name: "m", Path: "/m"}}
			f.req.Volumes = append(f.req.Volumes, pod.Volume{Name: "web-m", Kind: pod.EmptyVolume})
		},
	} {
		t.Run(words, func(t *testing.T) {
			f := newFixture(t)
			f.req.Volumes = []pod.Volume{{Name: "v", Kind: pod.HostVolume, Source: "/"}}
			f.app().Mounts = []pod.Mount{{Volume: "v", Path: "/v"}}
			ask(f)
			f.refused(words)
		})
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	f := newFixture(t)
	id, err := pod.NewUUID()
	if err != nil {
		t.Fatal(err)
	}
	f.req.UUID = id
	if os.Geteuid() == 0 {
		// root may do all; a name that is too long for a directory it cannot make.
		f.req.Apps[0].Name = strings.Repeat("a", pod.MaxNameLength)
		f.req.Volumes = []pod.Volume{{Name: "v", Kind: pod.EmptyVolume}}
		f.req.Apps[0].Mounts = []pod.Mount{{Volume: "w", Path: "/w", AppVolume: &pod.Volume{Name: strings.Repeat("w", 128), Kind: pod.EmptyVolume}}}
		f.req.Apps[0].Mounts[0].Volume = f.req.Apps[0].Mounts[0].AppVolume.Name
	} else {
		uid := 4242
		f.req.Volumes = []pod.Volume{{Name: "v", Kind: pod.EmptyVolume, UID: &uid}}
		f.req.Apps[0].Mounts = []pod.Mount{{Volume: "v", Path: "/v"}}
	}
	f.refused("cannot prepare pod")
}

func TestRootAttributes(t *testing.T) {
	f := newFixture(t)
	top := f.st.LayerPath(f.rec.Layers[1].DiffID)
	if err := os.Chmod(top, 0o551|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(top, 11, 12); err != nil {
			t.Fatal(err)
		}
	}
	p, _, _ := f.pod()
	want, err := os.Stat(top)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.Stat(filepath.Join(p.Dir(), "private/upper-web"))
	if err != nil || got.Mode() != want.Mode() {
		t.Errorf("mode %v, %v; want %v", got.Mode(), err, want.Mode())
	}
	if g, w := owner(got), owner(want); g != w {
		t.Errorf("owner %v, want %v", g, w)
	}
}

// TestPrivate: where a group reads pods it reads nothing of what apps write, and
// its setgid bit does not get into their files.
func TestPrivate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: for a group")
	}
	const group = 47110
	f := newFixture(t)
	f.req.Volumes = []pod.Volume{{Name: "v", Kind: pod.EmptyVolume}}
	f.req.Apps[0].Mounts = []pod.Mount{{Volume: "v", Path: "/v"}}
	for _, phase := range lifecycle.Phases() {
		dir := filepath.Join(f.dir, "pods", string(phase))
		if err := errors.Join(os.MkdirAll(dir, 0o750), os.Chown(dir, 0, group), os.Chmod(dir, 0o750|fs.ModeSetgid)); err != nil {
			t.Fatal(err)
		}
	}
	p, _, _ := f.pod()
	for name, want := range map[string]struct {
		mode fs.FileMode
		gid  uint32
	}{
		".":                 {0o750 | fs.ModeDir | fs.ModeSetgid, group},
		"pod":               {0o640, group},
		"contract.json":     {0o640, group},
		"private":           {0o700 | fs.ModeDir, 0},
		"private/upper-web": {0o755 | fs.ModeDir, 0},
		"private/work-web":  {0o700 | fs.ModeDir, 0},
		"private/volumes":   {0o700 | fs.ModeDir, 0},
		"private/volumes/v": {0o755 | fs.ModeDir, 0},
	} {
		st, err := os.Lstat(filepath.Join(p.Dir(), name))
		if err != nil || st.Mode() != want.mode || owner(st) != [2]uint32{0, want.gid} {
			t.Errorf("%s: %v of %v, %v; want %v of group %d", name, st.Mode(), owner(st), err, want.mode, want.gid)
		}
	}
}

func owner(fi fs.FileInfo) [2]uint32 {
	st := fi.Sys().(*syscall.Stat_t)
	return [2]uint32{st.Uid, st.Gid}
}

func BenchmarkPod(b *testing.B) {
	f := newFixture(b)
	for b.Loop() {
		p, err := Pod(f.st, f.req)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.ToFast(lifecycle.Run); err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}

// A port of the host leads to the app's port of that name, or to one that is told.
func TestPorts(t *testing.T) {
	f := newFixture(t)
	f.rec.App.Ports = []image.Port{{Name: "http", Protocol: "tcp", Port: 80, Count: 3}}
	f.req.Options.Networks = []pod.NetworkRequest{{Name: "default", Args: []string{"IP=172.16.28.9"}}, {Name: "default-restricted"}}
	f.req.Ports = []pod.ExposedPort{{Name: "http", HostPort: 8080, HostIP: "127.0.0.1"},
		{Name: "dns", HostPort: 53, PodPort: &image.Port{Name: "dns", Protocol: "udp", Port: 5353}}}
	_, c, _ := f.pod()
	want := []contract.Port{{Name: "http", Protocol: "tcp", HostIP: "127.0.0.1", HostPort: 8080, PodPort: 80, Count: 3},
		{Name: "dns", Protocol: "udp", HostPort: 53, PodPort: 5353}}
	if d := cmp.Diff(want, c.Ports); d != "" {
		t.Error(d)
	}
	if len(c.Networks) != 2 || c.Networks[1].IfName != "eth1" || c.Networks[0].Args[0] != "IP=172.16.28.9" {
		t.Errorf("%+v", c.Networks)
	}
	for words, p := range map[string]pod.ExposedPort{
		"too many":                  {Name: "http", HostPort: 65534},
		`no app has a port "https"`: {Name: "https", HostPort: 443},
	} {
		f := newFixture(t)
		f.rec.App.Ports = []image.Port{{Name: "http", Protocol: "tcp", Port: 80, Count: 3}}
		f.req.Ports = []pod.ExposedPort{p}
		f.refused(words)
	}
}
