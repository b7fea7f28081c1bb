// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// appName is the one app's of a step's pod.
const appName = "step"

// native makes a pod of the step and becomes it.
func (o *order) native() (int, error) {
	flavor, err := o.flavor()
	if err != nil {
		return 0, err
	}
	doc, err := o.document(flavor.Path)
	if err != nil {
		return 0, err
	}
	p, err := o.pod(doc)
	if err != nil {
		return 0, err
	}
	start, err := launch.Begin(flavor, doc, nil)
	if err != nil {
		return 0, err
	}
	ready, err := launch.MakeReady(p)
	if err == nil {
		if err = start.Lay(doc, p.Dir()); err != nil {
			ready.Drop()
		}
	}
	if err != nil {
		start.Abort()
		return 0, err
	}
	return start.Exec(ready)
}

func (o *order) flavor() (launch.Flavor, error) {
	if o.Step.Flavor != "" {
		return launch.Load(o.Step.Flavor)
	}
	return launch.Find("native", "")
}

// pod writes the pod, in phase prepare and locked. Its overlay's directories are
// elsewhere, behind links.
func (o *order) pod(doc *contract.Pod) (*lifecycle.Pod, error) {
	p, err := lifecycle.Create(o.DataDir, o.UUID)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(p.Dir(), contract.PrivateDir), 0o700); err != nil {
		return nil, err
	}
	for name, target := range map[string]string{
		lifecycle.UpperDir(appName): o.Step.Upper,
		lifecycle.WorkDir(appName):  filepath.Join(o.Dir, "overlay"),
	} {
		if err := os.Symlink(target, filepath.Join(p.Dir(), name)); err != nil {
			return nil, err
		}
	}
	manifest, err := o.manifest()
	if err != nil {
		return nil, err
	}
	failpoint.Hit("engine/before-files")
	// Nobody else reads them: the environment has the secrets that are given so.
	if err := os.WriteFile(filepath.Join(p.Dir(), contract.File), append(doc.Encode(), '\n'), 0o600); err != nil {
		return nil, err
	}
	// It is there already, empty: it is the lock.
	if err := os.Chmod(filepath.Join(p.Dir(), lifecycle.ManifestFile), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(p.Dir(), lifecycle.ManifestFile), manifest, 0o600); err != nil {
		return nil, err
	}
	failpoint.Hit("engine/after-files")
	p.Wrote(doc)
	return p, nil
}

// manifest is for `rkt list`, should the pod be in rkt's own data directory.
func (o *order) manifest() ([]byte, error) {
	m := pod.Manifest{ACKind: pod.Kind, ACVersion: pod.SpecVersion, Apps: []pod.RuntimeApp{{
		Name:  appName,
		Image: pod.RuntimeImage{Name: "acbuild"},
		App:   &pod.App{Exec: o.Step.Argv, User: "0", Group: "0"},
	}}}
	return m.Encode()
}

// document is the step in stage1's words.
func (o *order) document(flavor string) (*contract.Pod, error) {
	s := &o.Step
	dir := lifecycle.RunDir(o.DataDir, o.UUID)
	a := contract.App{
		Name:   appName,
		Layers: append(s.Lower[:len(s.Lower):len(s.Lower)], filepath.Join(o.Dir, "skeleton")),
		Upper:  filepath.Join(dir, lifecycle.UpperDir(appName)),
		Work:   filepath.Join(dir, lifecycle.WorkDir(appName)),
		Exec:   s.Argv, Environment: s.Env, WorkingDir: s.Dir, User: s.User, Group: s.Group,
		Stdin: contract.Null,
	}
	if a.WorkingDir == "" {
		a.WorkingDir = "/"
	}
	if o.Stdin {
		a.Stdin = contract.Inherit
	}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		a.Mounts = append(a.Mounts, contract.Mount{Volume: m.Target, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	hosts := hostsFile(s.hostname()) + added(s.Hosts)
	doc := &contract.Pod{
		Version: contract.Version, UUID: string(o.UUID), Flavor: flavor, Hostname: s.hostname(), Apps: []contract.App{a},
		Network: contract.NetworkNone, Hosts: &hosts, HostsIfMissing: len(s.Hosts) == 0, Interactive: s.Interactive,
		StopSeconds: stopSeconds, OverlayOptions: overlayOptions(),
	}
	switch s.Network {
	case NetworkHost:
		doc.Network = contract.NetworkHost
	case NetworkDefault:
		doc.Network = contract.NetworkContained
		doc.Networks = []contract.Network{{Name: pod.NetDefault, IfName: "eth0"}}
		doc.NetworkConfig, doc.NetworkShared, doc.NetworkPlugins = s.NetworkConfig, s.NetworkShared, s.NetworkPlugins
		doc.NetworkProgram = s.UserNetwork.Program
	}
	var err error
	if !userns.Initial() {
		if doc.KeepGroups, err = userns.OneGroup(); err != nil {
			return nil, err
		}
	}
	if doc.NetworkProgram == "" { // which passes questions on to the host's servers
		doc.Resolv, err = resolv(s.Network)
	}
	doc.Features = doc.Needs()
	return doc, err
}

// overlayOptions keep a layer in the plain form that other machines read: no
// directory stands for one of another name, no file for the content of another.
// Marks of a user namespace's overlay (userxattr) imply both.
func overlayOptions() []string {
	if !userns.Initial() {
		return []string{"userxattr", "index=off"}
	}
	return []string{"redirect_dir=off", "metacopy=off", "index=off"}
}

// resolv is the command's /etc/resolv.conf: the host's, but for servers that only
// the host itself reaches; nil leaves the image's own, or the network's.
func resolv(network string) (*string, error) {
	if network != NetworkHost && network != NetworkDefault {
		return nil, nil
	}
	f, err := os.Open("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 1 << 20
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("cannot use /etc/resolv.conf: it is larger than %d bytes", most)
	}
	if err != nil {
		return nil, err
	}
	text := string(b)
	if network == NetworkDefault {
		var servers int
		if text, servers = reachable(text); servers == 0 {
			return nil, nil
		}
	}
	return &text, nil
}

// reachable leaves out name servers on loopback, which is the pod's own.
func reachable(text string) (string, int) {
	var b strings.Builder
	servers := 0
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			addr, err := netip.ParseAddr(f[1])
			if err != nil || addr.IsLoopback() {
				continue
			}
			servers++
		}
		b.WriteString(line)
	}
	return b.String(), servers
}

func added(lines []string) string {
	text := ""
	for _, l := range lines {
		text += l + "\n"
	}
	return text
}

// hostsFile is hosts(5) for images that have none.
func hostsFile(hostname string) string {
	return "127.0.0.1\tlocalhost localhost.localdomain " + hostname + "\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
}
