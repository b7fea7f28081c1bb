// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/layout"
)

// A row of the table. results[0] is rkt's; the budget is against the contender
// named peer, or in the row's unit if peer is "".
type row struct {
	name, title string
	peer        string
	budget      float64
	ideal       float64 // 0 is none
	n           int
	run         func(b *bench, n int) ([]result, error)
}

// The names of contenders that are spoken of elsewhere.
const (
	crunBare    = "crun, no cgroups"
	podmanHolds = "podman (conmon)"
)

var rows = []row{
	{"start", "start to exit of /bin/true, host network", crunBare, 1.0, 0.8, 200, startHost},
	{"start-none", "the same with a network namespace", "podman", 0.10, 0.05, 40, startNone},
	{"start-net", "the same with the default network, against podman's bridge", "podman", 0.10, 0.05, 30, startNet},
	{"network", "what the default network adds to a start (least less least)", "", 15, 0, 60, network},
	{"private-users", "start with seccomp, capabilities, limits and users of its own", "rkt, without", 1.3, 0, 200, privateUsers},
	{"flavors", "start to exit of /bin/true in each flavor, in a virtual machine first", "", 3000, 200, 10, flavors},
	{"memory", "memory held per idle pod beside the app (PSS, ten pods)", "", 4096, 2048, 10, memory},
	{"list", "rkt list with 1,000 pods", "", 100, 0, 20, list},
	{"image-list", "rkt image list with 1,000 images", "", 100, 0, 20, imageList},
	{"gc", "rkt gc of 1,000 exited pods", "", 5000, 0, 1, gc},
	{"scale", "start with 1,000 images and 1,000 pods in the data directory", "rkt, one image", 1.1, 0, 100, scale},
	{"pull", "pull of a six-layer, 1.1 GB image from a registry on loopback", "podman", 0.5, 0, 3, pull},
	{"pull-memory", "memory of all processes at the peak of that pull (PSS)", "", 146_484, 0, 2, pullMemory},
	{"build", "no-change rebuild of a Dockerfile of ten instructions, each with its cache", "buildah", 0.2, 0.1, 5, build},
	{"pull-shared", "pull of an image that shares five of those six layers", "rkt, that layer alone", 1.25, 0, 3, pullShared},
}

func startHost(b *bench, n int) ([]result, error) {
	bundle, err := b.bundle("bundle-host", true, "/bin/true")
	if err != nil {
		return nil, err
	}
	return b.race(n,
		contender{name: "rkt", argv: append(slices.Clone(b.rkt), "run", "--net=host", b.id, "--exec=/bin/true")},
		contender{name: crunBare, argv: []string{"crun", "--cgroup-manager=disabled", "run", "-b", bundle, "rkt-bench-a"}},
		contender{name: "crun", argv: []string{"crun", "run", "-b", bundle, "rkt-bench-b"}},
		contender{name: "runc", argv: []string{"runc", "run", "-b", bundle, "rkt-bench-c"}},
		contender{name: "systemd-nspawn", argv: []string{"systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", b.root, "--as-pid2", "/bin/true"}},
		contender{name: "podman", argv: b.podmanRun([]string{"--net=host"}, "/bin/true")})
}

func startNone(b *bench, n int) ([]result, error) {
	bundle, err := b.bundle("bundle-none", false, "/bin/true")
	if err != nil {
		return nil, err
	}
	return b.race(n,
		contender{name: "rkt", argv: append(slices.Clone(b.rkt), "run", "--net=none", b.id, "--exec=/bin/true")},
		contender{name: crunBare, argv: []string{"crun", "--cgroup-manager=disabled", "run", "-b", bundle, "rkt-bench-d"}},
		contender{name: "runc", argv: []string{"runc", "run", "-b", bundle, "rkt-bench-e"}},
		contender{name: "podman", argv: b.podmanRun([]string{"--net=none"}, "/bin/true")})
}

// startNet has the network as a contained pod gets it: an interface, addresses,
// masquerading.
func startNet(b *bench, n int) ([]result, error) {
	return b.race(n,
		contender{name: "rkt", argv: append(slices.Clone(b.rkt), "run", b.id, "--exec=/bin/true")},
		contender{name: "rkt, no network", argv: append(slices.Clone(b.rkt), "run", "--net=none", b.id, "--exec=/bin/true")},
		contender{name: "rkt, with a port", argv: append(slices.Clone(b.rkt), "run", "--port=web:tcp:80:8080", b.id, "--exec=/bin/true")},
		contender{name: "podman", argv: b.podmanRun([]string{"--net=bridge"}, "/bin/true")})
}

// privateUsers is what isolation costs, where all of it is asked for.
func privateUsers(b *bench, n int) ([]result, error) {
	run := func(pod, app []string) []string {
		argv := append(append(slices.Clone(b.rkt), "run", "--net=none"), pod...)
		return append(append(append(argv, b.id), app...), "--exec=/bin/true")
	}
	limits := []string{"--memory=256M", "--cpu=1", "--pids-limit=100"}
	lists := []string{"--seccomp=mode=remove,errno=EPERM,reboot,swapon,mount", "--caps-retain=CAP_CHOWN,CAP_SETUID,CAP_SETGID"}
	return race(n,
		contender{name: "rkt", argv: run(append([]string{"--private-users"}, limits...), lists)},
		contender{name: "rkt, without", argv: run(nil, nil)},
		contender{name: "rkt, users alone", argv: run([]string{"--private-users"}, nil)},
		contender{name: "rkt, limits alone", argv: run(limits, nil)})
}

// flavors are those that are installed, each without a network but fly, which has
// the host's alone. The budget is that of a machine under emulation; where KVM runs
// guests it is far below.
func flavors(b *bench, n int) ([]result, error) {
	var contenders []contender
	var missing []result
	for _, f := range []string{"kvm", "coreos", "host", "fly", "native"} {
		network := "--net=none"
		if f == "fly" {
			network = "--net=host"
		}
		c := contender{name: "rkt, " + f, argv: append(slices.Clone(b.rkt), "run", "--stage1="+f, network, b.id, "--exec=/bin/true")}
		if _, err := once(c); err != nil {
			if missing == nil && contenders == nil {
				return nil, hint.Wrap(err, "make stage1-kvm stage1-coreos, and measure that: -rkt=build/bin/rkt")
			}
			missing = append(missing, without(c.name, firstLine(err.Error())))
			continue
		}
		contenders = append(contenders, c)
	}
	contenders = append(contenders, contender{name: "systemd-nspawn", argv: []string{"systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", b.root, "--as-pid2", "/bin/true"}})
	results, err := race(n, contenders...)
	return append(results, missing...), err
}

// network is the difference that the pod's user feels.
func network(b *bench, n int) ([]result, error) {
	r, err := race(n,
		contender{name: "rkt, default", argv: append(slices.Clone(b.rkt), "run", b.id, "--exec=/bin/true")},
		contender{name: "rkt, none", argv: append(slices.Clone(b.rkt), "run", "--net=none", b.id, "--exec=/bin/true")})
	if err != nil {
		return nil, err
	}
	return append([]result{{name: "rkt", unit: "ms", samples: []float64{r[0].least() - r[1].least()}}}, r...), nil
}

// race is race, without podman where it is not to be had.
func (b *bench) race(n int, contenders ...contender) ([]result, error) {
	if b.noPod != "" {
		contenders = slices.DeleteFunc(contenders, func(c contender) bool { return c.name == "podman" })
	}
	results, err := race(n, contenders...)
	if b.noPod != "" {
		results = append(results, without("podman", b.noPod))
	}
	return results, err
}

// list measures with 1,000 pods; with 1 and 100 to see that it is linear.
func list(b *bench, n int) ([]result, error) {
	var contenders []contender
	for _, pods := range []int{1000, 100, 1} {
		rkt, err := b.withPods(pods)
		if err != nil {
			return nil, err
		}
		name := "rkt"
		if pods != 1000 {
			name = fmt.Sprintf("rkt, %d pods", pods)
		}
		contenders = append(contenders, contender{name: name, argv: append(slices.Clone(rkt), "list"), check: func(out []byte) error {
			if got := strings.Count(string(out), "\n") - 1; got != pods {
				return fmt.Errorf("rkt list shows %d pods, want %d", got, pods)
			}
			return nil
		}})
	}
	return race(n, contenders...)
}

// withPods is rkt on a data directory with that many exited pods, made by
// running them, once per bench.
func (b *bench) withPods(n int) ([]string, error) {
	dir := fmt.Sprintf("pods-%d", n)
	rkt := b.rktOn(dir)
	if _, err := os.Stat(filepath.Join(b.o.work, dir)); err == nil {
		return rkt, nil
	}
	id, err := b.fetch(rkt, "oci:"+b.layout+":"+images.Tiny)
	if err != nil {
		return nil, err
	}
	for range n {
		if _, err := b.output(rkt, "run", "--net=host", id, "--exec=/bin/true"); err != nil {
			return nil, err
		}
	}
	return rkt, nil
}

func gc(b *bench, n int) ([]result, error) {
	var all []float64
	for range n {
		rkt, err := b.withPods(1000)
		if err != nil {
			return nil, err
		}
		took, err := once(contender{argv: append(slices.Clone(rkt), "gc", "--grace-period=0s")})
		if err != nil {
			return nil, err
		}
		if out, err := b.output(rkt, "list", "--no-legend"); err != nil || out != "" {
			return nil, fmt.Errorf("pods are left after gc: %q, %w", out, err)
		}
		all = append(all, float64(took.Nanoseconds())/1e6)
		if err := os.RemoveAll(filepath.Join(b.o.work, "pods-1000")); err != nil {
			return nil, err
		}
	}
	return []result{{name: "rkt", unit: "ms", samples: all}}, nil
}

// scale runs on two data directories by turns: one with one image, one with
// 1,000 images that differ in their configuration, and 1,000 exited pods.
func scale(b *bench, n int) ([]result, error) {
	full, err := b.withPods(1000)
	if err != nil {
		return nil, err
	}
	if err := b.fetchThousand(full); err != nil {
		return nil, err
	}
	one := b.rktOn("one")
	id, err := b.fetch(one, "oci:"+b.layout+":"+images.Tiny)
	if err != nil {
		return nil, err
	}
	run := []string{"run", "--net=host", id, "--exec=/bin/true"}
	return race(n, contender{name: "rkt", argv: append(full, run...)}, contender{name: "rkt, one image", argv: append(one, run...)})
}

// fetchThousand gives rkt's data directory 1,000 images that differ in their
// configuration.
func (b *bench) fetchThousand(rkt []string) error {
	dir := filepath.Join(b.o.work, "thousand")
	if _, err := os.Stat(dir); err != nil {
		if err := thousandImages(dir, b.root); err != nil {
			return err
		}
	}
	for i := range 1000 {
		if _, err := b.fetch(rkt, fmt.Sprintf("oci:%s:%d", dir, i)); err != nil {
			return err
		}
	}
	return nil
}

// imageList measures with 1,000 images, and with one to see what they cost.
func imageList(b *bench, n int) ([]result, error) {
	full, one := b.rktOn("images-1000"), b.rktOn("images-1")
	if err := b.fetchThousand(full); err != nil {
		return nil, err
	}
	if _, err := b.fetch(one, "oci:"+b.layout+":"+images.Tiny); err != nil {
		return nil, err
	}
	lists := func(want int) func([]byte) error {
		return func(out []byte) error {
			if got := strings.Count(string(out), "\n") - 1; got != want {
				return fmt.Errorf("rkt image list shows %d images, want %d", got, want)
			}
			return nil
		}
	}
	return race(n, contender{name: "rkt", argv: append(full, "image", "list"), check: lists(1000)},
		contender{name: "rkt, one image", argv: append(one, "image", "list"), check: lists(1)})
}

func thousandImages(dir, root string) error {
	l, err := layout.Create(dir)
	if err != nil {
		return err
	}
	layer, err := l.AddLayer(layout.Gzip, func(tw *layout.Tar) error {
		return layout.Copy(tw, filepath.Join(root, "usr/bin/busybox"), "/bin/true")
	})
	if err != nil {
		return err
	}
	for i := range 1000 {
		c := layout.Config{Cmd: []string{"/bin/true"}, Labels: map[string]string{"number": strconv.Itoa(i)}}
		if _, err := l.AddImage(strconv.Itoa(i), c, layer); err != nil {
			return err
		}
	}
	return nil
}

// memory starts n idle pods of each kind and sums the proportional set size
// of the processes that hold them, without the app itself.
func memory(b *bench, n int) ([]result, error) {
	bundle, err := b.bundle("bundle-idle", true, "/bin/sleep", "1000")
	if err != nil {
		return nil, err
	}
	kinds := []struct {
		name string
		argv func(i int) []string
	}{
		{"rkt", func(int) []string {
			return append(slices.Clone(b.rkt), "run", "--net=host", b.id, "--exec=/bin/sleep", "--", "1000")
		}},
		{"crun", func(i int) []string { return []string{"crun", "run", "-b", bundle, fmt.Sprintf("rkt-bench-i%d", i)} }},
		{"runc", func(i int) []string { return []string{"runc", "run", "-b", bundle, fmt.Sprintf("rkt-bench-j%d", i)} }},
		{"systemd-nspawn", func(i int) []string {
			return []string{"systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", b.root, "-x", fmt.Sprintf("--machine=rkt-bench-%d", i), "--as-pid2", "/bin/sleep", "1000"}
		}},
		{podmanHolds, func(int) []string { return b.podmanRun([]string{"--net=host"}, "/bin/sleep", "1000") }},
	}
	var results []result
	for _, k := range kinds {
		if k.name == podmanHolds && b.noPod != "" {
			results = append(results, without(k.name, b.noPod))
			continue
		}
		samples, err := idle(n, k.name, k.argv)
		switch {
		case err != nil && k.name == "rkt":
			return nil, err
		case err != nil:
			results = append(results, without(k.name, firstLine(err.Error())))
		default:
			results = append(results, result{name: k.name, unit: "KiB", samples: samples})
		}
	}
	return results, nil
}

// idle measures n pods that sleep side by side.
func idle(n int, name string, argv func(i int) []string) (samples []float64, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	var started []*os.Process
	defer func() {
		for _, p := range started {
			for _, pid := range append(descendants(p.Pid), conmonOf(p.Pid)...) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			_ = p.Kill()
			_, _ = p.Wait()
		}
	}()
	for i := range n {
		a := argv(i)
		path, err := lookPath(a[0])
		if err != nil {
			return nil, err
		}
		p, err := os.StartProcess(path, a, &os.ProcAttr{Files: []*os.File{null, null, null}, Env: os.Environ()})
		if err != nil {
			return nil, err
		}
		started = append(started, p)
	}
	for _, p := range started {
		if err := sleeping(p.Pid); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	time.Sleep(time.Second) // let start-up garbage be given back, for all alike
	for _, p := range started {
		holders := append([]int{p.Pid}, descendants(p.Pid)...)
		if name == podmanHolds {
			break // the client could go: conmon holds the container
		}
		kib := 0.0
		for _, pid := range holders {
			if comm(pid) != "sleep" && comm(pid) != "busybox" {
				kib += pss(pid)
			}
		}
		samples = append(samples, kib)
	}
	if name == podmanHolds {
		for _, pid := range conmonOf(started[0].Pid) {
			samples = append(samples, pss(pid))
		}
	}
	return samples, nil
}
