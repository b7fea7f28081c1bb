// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/prepare"
)

// parseWish reads a command line as `rkt run` does.
func parseWish(args ...string) (*wish, error) {
	w := &wish{}
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	w.registerPod(fs)
	registerRunOptions(fs, &w.Options, &w.net, &w.dns)
	w.registerApps(fs)
	unavailable(fs)
	_, err := w.parse(fs, args)
	return w, err
}

func TestGrammar(t *testing.T) {
	yes, n := true, -5
	for name, c := range map[string]struct {
		args   []string
		images []string
		apps   []prepare.AppRequest
	}{
		"one image": {[]string{"a"}, []string{"a"}, []prepare.AppRequest{{}}},
		"arguments to the end": {
			[]string{"a", "--", "x", "--exec=y", "--"},
			[]string{"a"}, []prepare.AppRequest{{Args: []string{"x", "--exec=y", "--"}}},
		},
		"two images, each with its own": {
			[]string{"--set-env=P=1", "a", "--exec", "/bin/sh", "--user=1", "--", "-c", "exit", "---", "--net=host", "b", "--user", "2", "--name=n"},
			[]string{"a", "b"},
			[]prepare.AppRequest{{Exec: "/bin/sh", User: "1", Args: []string{"-c", "exit"}}, {User: "2", Name: "n"}},
		},
		"flags of an app after its arguments": {
			[]string{"a", "--", "x", "---", "--group=g"},
			[]string{"a"}, []prepare.AppRequest{{Args: []string{"x"}, Group: "g"}},
		},
		"no arguments in the block": {[]string{"a", "--", "---", "b"}, []string{"a", "b"}, []prepare.AppRequest{{}, {}}},
		"empty tokens":              {[]string{"", "a", "", "b"}, []string{"a", "b"}, []prepare.AppRequest{{}, {}}},
		"the last counts": {
			[]string{"a", "--user=1", "--user=2", "--supplementary-gids=1,2", "--supplementary-gids=3", "--caps-retain=CAP_CHOWN", "--caps-retain=CAP_KILL"},
			[]string{"a"}, []prepare.AppRequest{{User: "2", SupplementaryGIDs: []int{3}, CapsRetain: []string{"CAP_KILL"}}},
		},
		"the value of a flag may look like anything": {
			[]string{"a", "--exec", "--", "--working-dir", "/-"},
			[]string{"a"}, []prepare.AppRequest{{Exec: "--", WorkingDir: "/-"}},
		},
		"isolation": {
			[]string{"a", "--cap-remove=CAP_MKNOD", "--no-new-privs", "--oom-score-adj=-5", "--readonly-rootfs", "--seccomp=mode=remove,errno=EPERM,chmod"},
			[]string{"a"}, []prepare.AppRequest{{
				CapsRemove: []string{"CAP_MKNOD"}, NoNewPrivs: &yes, OOMScoreAdj: &n, ReadOnlyRootFS: true,
				Seccomp: &pod.Seccomp{Names: []string{"chmod"}, Errno: "EPERM"},
			}},
		},
		"no capability at all": {[]string{"a", "--caps-retain="}, []string{"a"}, []prepare.AppRequest{{CapsRetain: []string{}}}},
		"what is switched off is not refused": {
			[]string{"--mds-register=false", "a", "--readonly-rootfs=false"},
			[]string{"a"}, []prepare.AppRequest{{}},
		},
		"annotations and labels": {
			[]string{"a", "--annotation=x.org/y=1=2", "--user-annotation=A=b", "--user-label=C="},
			[]string{"a"}, []prepare.AppRequest{{
				Annotations: pod.Pairs{{Name: "x.org/y", Value: "1=2"}}, UserAnnotations: map[string]string{"A": "b"}, UserLabels: map[string]string{"C": ""},
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := parseWish(c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.images, w.images); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.apps, w.Apps); d != "" {
				t.Error(d)
			}
		})
	}
}

// --volume is the pod's wherever it stands; --mount is everybody's only before
// the first image.
func TestVolumesAndMounts(t *testing.T) {
	w, err := parseWish("--mount=volume=v,target=/all", "--volume=v,kind=empty", "a", "--volume=w,kind=host,source=/", "--mount", "volume=w,target=/w", "b")
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Volumes) != 2 || w.Volumes[1].Source != "/" {
		t.Errorf("volumes: %+v", w.Volumes)
	}
	if d := cmp.Diff([]pod.Mount{{Volume: "v", Path: "/all"}}, w.Mounts); d != "" {
		t.Error(d)
	}
	if len(w.Apps[0].Mounts) != 1 || len(w.Apps[1].Mounts) != 0 {
		t.Errorf("mounts: %+v", w.Apps)
	}
}

func TestOptions(t *testing.T) {
	w, err := parseWish("--net=host", "a", "--dns=192.0.2.1,192.0.2.2", "--dns=2001:db8::1", "--dns-search=a.example", "--dns-opt=ndots:1",
		"--hosts-entry=192.0.2.1=x,192.0.2.1=y", "--hosts-entry=192.0.2.2=z", "--hostname=h", "--ipc=parent", "--stop-timeout=1m30s", "--interactive")
	if err != nil {
		t.Fatal(err)
	}
	want := prepare.Options{
		Networks: []pod.NetworkRequest{{Name: "host"}}, Hostname: "h", HostIPC: true, Interactive: true, StopSeconds: 90,
		DNS: pod.DNS{Servers: []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}, Search: []string{"a.example"}, Options: []string{"ndots:1"}},
		Hosts: []pod.HostsEntry{
			{IP: "192.0.2.1", Names: []string{"x", "y"}}, {IP: "192.0.2.2", Names: []string{"z"}},
		},
	}
	if d := cmp.Diff(want, w.Options); d != "" {
		t.Error(d)
	}
	for _, words := range []string{"host", "none"} {
		if w, err = parseWish("--dns="+words, "a"); err != nil || w.Options.DNSMode != words {
			t.Errorf("--dns=%s: %q, %v", words, w.Options.DNSMode, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# c\n; c\n\n A=file \nB=x=y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := parseWish("--set-env=A=flag", "--set-env-file="+file, "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("INHERITED", "yes")
	w.env.into(&w.Request)
	if d := cmp.Diff([]string{"A=file", "B=x=y", "A=flag"}, w.SetEnv); d != "" {
		t.Error(d)
	}
	if len(w.InheritEnv) != 0 {
		t.Errorf("inherited without being asked: %q", w.InheritEnv)
	}
	w, err = parseWish("--inherit-env", "a")
	if err != nil {
		t.Fatal(err)
	}
	w.env.into(&w.Request)
	if !strings.Contains("\n"+strings.Join(w.InheritEnv, "\n")+"\n", "\nINHERITED=yes\n") {
		t.Errorf("INHERITED is not in %q", w.InheritEnv)
	}
}

func TestPullPolicy(t *testing.T) {
	for args, want := range map[string]string{
		"a": "", "--pull-policy=never a": "never", "--store-only a": "never", "--no-store a": "update", "--no-store=false a": "",
	} {
		if w, err := parseWish(strings.Fields(args)...); err != nil || w.pullPolicy != want {
			t.Errorf("%s: %q, %v; want %q", args, w.pullPolicy, err, want)
		}
	}
}

// Whatever is typed, the grammar loses nothing: each image has its app, and
// what follows "--" arrives as it is.
func FuzzGrammar(f *testing.F) {
	for _, s := range []string{"a", "a -- b --- c", "--net=host a --exec /x -- --", "--volume v,kind=empty a --mount volume=v,target=/x", "--- a", "a --user", "-- --", "--=", "-x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Split(s, " ")
		for _, a := range args {
			if strings.HasPrefix(a, "--set-env-file") || a == "--inherit-env" {
				t.Skip("reads files")
			}
		}
		w, err := parseWish(args...)
		if err != nil {
			return
		}
		if len(w.images) != len(w.Apps) || len(w.images) == 0 && w.podManifest == "" {
			t.Fatalf("%q: %d images, %d apps", args, len(w.images), len(w.Apps))
		}
		for _, i := range w.images {
			if i == "" || isFlag(i) {
				t.Fatalf("%q: image %q", args, i)
			}
		}
	})
}
