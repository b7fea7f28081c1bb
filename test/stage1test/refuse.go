// SPDX-License-Identifier: Apache-2.0

package stage1test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/test/rkt"
)

// A request is a pod that asks for a feature.
type request struct {
	feature contract.Feature
	// also are features that it cannot but ask for as well, told of before it.
	also []contract.Feature
	pod  []string // flags, and those of its app
	app  []string
	// prepare: it is asked of `rkt prepare`, for run would want more of its caller.
	prepare bool
	env     []string // of rkt, beside the usual
	// manifest is the app in a pod manifest, in place of flags.
	manifest string
}

// requests has one for each feature: a test compares it with contract.Features.
func requests() []request {
	pod := func(f contract.Feature, flags ...string) request { return request{feature: f, pod: flags} }
	app := func(f contract.Feature, flags ...string) request { return request{feature: f, app: flags} }
	return []request{
		app(contract.MultipleApps), // two of them
		pod(contract.Interactive, "--interactive"),
		app(contract.ReadOnlyRoot, "--readonly-rootfs"),
		{feature: contract.Volumes, pod: []string{"--volume=v,kind=empty"}, app: []string{"--mount=volume=v,target=/v"}},
		pod(contract.Hostname, "--hostname=other"),
		pod(contract.DNS, "--dns=192.0.2.7"),
		pod(contract.NetHost, "--net=host"),
		pod(contract.NetNone, "--net=none"),
		pod(contract.NetContained, "--net=default"),
		{feature: contract.Ports, also: []contract.Feature{contract.NetContained}, pod: []string{"--net=default", "--port=web:tcp:80:8080"}},
		{feature: contract.Sockets, pod: []string{"--port=web:tcp:80:socket"}, prepare: true},
		{feature: contract.Notify, env: []string{"NOTIFY_SOCKET=@rkt-stage1test-nobody"}},
		pod(contract.HostIPC, "--ipc=parent"),
		pod(contract.PrivateUsers, "--private-users"),
		app(contract.Capabilities, "--caps-retain=CAP_KILL"),
		{feature: contract.Ambient, also: []contract.Feature{contract.Capabilities}, app: []string{"--user=12", "--caps-retain=CAP_KILL"}},
		app(contract.Seccomp, "--seccomp=mode=remove,mount"),
		app(contract.NoNewPrivs, "--no-new-privs"),
		app(contract.AppArmor, "--apparmor-profile=other"),
		app(contract.SELinux, "--selinux-context=a:b:c"),
		app(contract.Devices, "--device=/dev/full"),
		{feature: contract.EventHandlers, manifest: `"exec":["/bin/true"],"user":"0","group":"0","eventHandlers":[{"name":"pre-start","exec":["/bin/true"]}]`},
		app(contract.Logs, "--stdout=log"),
		app(contract.LimitCPU, "--cpu=500m"),
		app(contract.LimitMemory, "--memory=64M"),
		app(contract.LimitPIDs, "--pids-limit=20"),
		app(contract.LimitBlockIO, "--block-iops=1000"),
		app(contract.Rlimits, "--rlimit=core=0"),
		app(contract.OOMScoreAdj, "--oom-score-adj=100"),
		pod(contract.Sysctls, "--sysctl=kernel.shmmni=100"),
	}
}

// args are those of rkt.
func (r *request) args(t testing.TB, f *Flavor, id string) []string {
	verb := "run"
	if r.prepare {
		verb = "prepare"
	}
	args := append([]string{verb, f.Choose}, r.pod...)
	if !r.prepare && !slices.ContainsFunc(r.pod, func(s string) bool { return strings.HasPrefix(s, "--net=") }) {
		args = append(args, f.Net())
	}
	if r.manifest != "" {
		return append(args, "--pod-manifest="+podManifest(t, `{"name":"a","image":{"id":"`+id+`"},"app":{`+r.manifest+`}}`))
	}
	started := []string{"--exec=/bin/sh", "--", "-c", "echo started", "---"}
	args = append(append(append(args, id, "--name=a"), r.app...), started...)
	if r.feature == contract.MultipleApps {
		args = append(append(args, id, "--name=b"), started...)
	}
	return args
}

// podManifest writes a pod manifest of apps into a file.
func podManifest(t testing.TB, apps string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pod")
	if err := os.WriteFile(path, []byte(`{"acVersion":"0.8.11","acKind":"PodManifest","apps":[`+apps+`]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// runRequest asks a flavor for a feature that it does not have.
func runRequest(t *testing.T, tb *Table, f *Flavor, h *rkt.Host, id string, r request) {
	lacks := f.Lacks(append(slices.Clone(r.also), r.feature)...)
	row := "refuse " + string(r.feature)
	if f.Has(r.feature) {
		tb.set(row, f.Name, able)
		return
	}
	t.Run(row, func(t *testing.T) {
		tb.set(row, f.Name, failed)
		h := h.For(t)
		h.Env = append(slices.Clone(h.Env), r.env...)
		pods, mounts := h.Pods(), mountinfo(t)
		got := h.Rkt(r.args(t, f, id)...)
		want := `flavor "` + f.Manifest.Name + `" lacks the feature "` + string(lacks) + `"`
		if got.Status != 254 || !strings.Contains(got.Stderr, want) {
			t.Errorf("status %d, %q; want 254 and %q", got.Status, got.Stderr, want)
		}
		if got.Stdout != "" {
			t.Errorf("it began: %q", got.Stdout)
		}
		if now := h.Pods(); !slices.Equal(now, pods) {
			t.Errorf("a pod is there: %q, before %q", now, pods)
		}
		if now := mountinfo(t); now != mounts {
			t.Errorf("something is mounted:\n%s\nbefore:\n%s", now, mounts)
		}
		if left := rkt.Leftovers(h.Dir, nil); left != nil {
			t.Errorf("left on the host: %q", left)
		}
		if !t.Failed() {
			tb.set(row, f.Name, refused)
		}
	})
}

// mountinfo are this process's mounts, but for those of other tests' directories,
// which come and go.
func mountinfo(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
