// SPDX-License-Identifier: Apache-2.0

//go:build e2e && failpoint

// Package crash kills rkt at each of its failpoints, before and after every
// rename and mount, and then asks of `rkt gc` that nothing is left, and of the
// store that every committed image still opens. `make crash`.
package crash

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod/network/rules"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/registry"
	"github.com/rkt/rkt/test/rkt"
)

var (
	armed  rkt.Install // built with the tag failpoint
	server *registry.Server
	layout string
)

func TestMain(m *testing.M) { os.Exit(rkt.Apart(func() int { return run(m) })) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "rkt-crash-")
	if err == nil {
		defer os.RemoveAll(dir)
		armed, err = rkt.Build(dir, "failpoint")
	}
	if err == nil {
		layout, err = images.Layout()
	}
	if err == nil {
		blobs := filepath.Join(dir, "blobs")
		if err = os.Mkdir(blobs, 0o700); err == nil {
			server, err = registry.Start(blobs)
		}
	}
	if err == nil {
		defer server.Close()
		for _, image := range []string{images.Etcd, images.Tiny, images.Plain} {
			if err == nil {
				err = server.Push(layout, image, image+":latest")
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// A story is what is done before the command that dies, the command, and what
// holds after gc. "$UUID" in a command is the UUID of the only pod.
type story struct {
	before [][]string
	// harm is done to the data directory before the command; may be nil.
	harm    func(t *testing.T, dir string)
	command []string
	// again: the same command succeeds after gc.
	again bool
	// only is how the points begin that are meant; "" are all.
	only string
	// never is how the points begin that the command passes only on a slow machine.
	never string
	// user, if there is one, is how the machine looks to an ordinary user who does
	// all of it, in a cgroup of theirs (rkt.Host.ByUser).
	user string
}

func stories() map[string]story {
	tiny := "oci:" + layout + ":tiny"
	// An app that ends at once never sees the flavor's programs; this one does.
	run := []string{"run", "--net=none", tiny, "--exec=/bin/sleep", "--", "0.1"}
	fetch := []string{"fetch", tiny}
	return map[string]story{
		"fetch from a layout":   {command: fetch, again: true},
		"fetch from a registry": {command: []string{"fetch", server.URL("etcd")}, again: true},
		"fetch shared layers":   {before: [][]string{{"fetch", "oci:" + layout + ":shell"}}, command: []string{"fetch", server.URL("etcd")}, again: true},
		"prepare":               {before: [][]string{fetch}, command: []string{"prepare", tiny, "--exec=/bin/true"}, again: true},
		"run":                   {before: [][]string{fetch}, command: run, again: true},
		"run of a moment":       {before: [][]string{fetch}, command: []string{"run", "--net=none", tiny, "--exec=/bin/true"}, again: true, never: "native/"},
		"run with volumes": {before: [][]string{fetch}, again: true,
			command: []string{"run", "--net=none", "--volume=v,kind=empty", tiny, "--mount=volume=v,target=/v", "--readonly-rootfs=true", "--exec=/bin/sleep", "--", "0.1"}},
		"run with limits": {before: [][]string{fetch}, again: true,
			command: []string{"run", "--net=none", "--pids-limit=100", tiny, "--memory=64M", "--cpu=1", "--exec=/bin/sleep", "--", "0.1"}},
		"run with devices": {before: [][]string{fetch}, again: true,
			command: []string{"run", "--net=none", tiny, "--device=/dev/null:/dev/x", "--exec=/bin/sleep", "--", "0.1"}},
		"run with users of its own": {before: [][]string{fetch}, again: true,
			command: []string{"run", "--net=none", "--private-users", "--volume=v,kind=empty", tiny, "--mount=volume=v,target=/v", "--exec=/bin/sleep", "--", "0.1"}},
		"gc of users": {before: [][]string{fetch, {"run", "--net=none", "--private-users", tiny, "--exec=/bin/true"}}, again: true,
			command: []string{"gc", "--grace-period=0s"}},
		"run of two apps": {before: [][]string{fetch}, again: true,
			command: []string{"run", "--net=none", tiny, "--name=a", "--exec=/bin/true", tiny, "--name=b", "--exec=/bin/true"}},
		"run on a network": {before: [][]string{fetch}, again: true,
			command: []string{"run", "--net=default,default-restricted", "--port=web:tcp:80:8080", tiny, "--exec=/bin/sleep", "--", "0.1"}},
		"gc of a network": {before: [][]string{fetch, {"run", tiny, "--exec=/bin/true"}}, again: true,
			command: []string{"gc", "--grace-period=0s"}},
		"run-prepared": {before: [][]string{fetch, {"prepare", tiny, "--exec=/bin/sleep", "--", "0.1"}}, command: []string{"run-prepared", "--net=none", "$UUID"}},
		"rm":           {before: [][]string{fetch, run}, command: []string{"rm", "$UUID"}},
		"gc":           {before: [][]string{fetch, run, run, {"prepare", tiny, "--exec=/bin/true"}}, command: []string{"gc", "--grace-period=0s", "--expire-prepared=0s"}, again: true},
		"image gc":     {before: [][]string{fetch, {"fetch", "oci:" + layout + ":shell"}}, command: []string{"image", "gc", "--grace-period=0s"}, again: true},
		"image rm":     {before: [][]string{fetch, {"fetch", "oci:" + layout + ":shell"}}, command: []string{"image", "rm", tiny}},
		"image verify": {before: [][]string{fetch}, harm: harm, command: []string{"image", "verify"}, again: true},
	}
}

// harm changes what is stored, in ways that can be made good from here.
func harm(t *testing.T, dir string) {
	t.Helper()
	layers, err := filepath.Glob(filepath.Join(dir, "layers/sha256-*"))
	if err != nil || len(layers) == 0 {
		t.Fatalf("no layers: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "images/rkt/names/*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no names: %v", err)
	}
	for _, l := range layers {
		if err := os.WriteFile(filepath.Join(l, "harm"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range names {
		if err := os.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCrash(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for name, s := range stories() {
		t.Run(name, s.test)
	}
}

func (s story) test(t *testing.T) {
	points := s.trace(t)
	if len(points) == 0 {
		t.Fatalf("rkt %s passes no failpoint", strings.Join(s.command, " "))
	}
	for _, p := range points {
		t.Run(p, func(t *testing.T) { s.dieAt(t, p) })
	}
}

// setUp makes a data directory in which everything before the command was
// done, and returns the command with its UUID filled in.
func (s story) setUp(t *testing.T) (*rkt.Host, []string) {
	t.Helper()
	h := rkt.New(t, armed)
	if s.user != "" {
		h = byUser(t, h, s.user)
	}
	before := s.before
	if len(before) > 0 && before[0][0] == "fetch" {
		fetched(t, h, before[0], s.user)
		before = before[1:]
	}
	for _, args := range before {
		h.Must(args...)
	}
	if s.harm != nil {
		s.harm(t, h.Dir)
	}
	args := slices.Clone(s.command)
	for i := range args {
		if args[i] == "$UUID" {
			args[i] = h.Pods()[0]
		}
	}
	return h, args
}

// stores are data directories in which a command to fetch was done, each by its words
// and how the user who did it sees the machine.
var stores = map[string]string{}

// fetched makes h's data directory as the command leaves an empty one. It is done
// once, and copied then.
func fetched(t *testing.T, h *rkt.Host, args []string, user string) {
	t.Helper()
	key := strings.Join(append([]string{user}, args...), "\x00")
	if stores[key] == "" {
		h.Must(args...)
		dir := filepath.Join(armed.Dir, fmt.Sprintf("store-%d", len(stores)))
		duplicate(t, h.Dir, dir)
		stores[key] = dir
		return
	}
	duplicate(t, stores[key], h.Dir)
}

func duplicate(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cannot copy a data directory: %v\n%s", err, out)
	}
}

// trace runs the command unharmed and returns the points it passes, each once.
func (s story) trace(t *testing.T) []string {
	t.Helper()
	h, args := s.setUp(t)
	file := filepath.Join(filepath.Dir(h.Dir), "trace") // in reach of a user
	env := h.Env
	h.Env = append(slices.Clone(env), "RKT_FAILPOINT_TRACE="+file)
	h.Must(args...)
	h.Env = env
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var points []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if p := lines.Text(); !slices.Contains(points, p) && strings.HasPrefix(p, s.only) && (s.never == "" || !strings.HasPrefix(p, s.never)) {
			points = append(points, lines.Text())
		}
	}
	return points
}

func (s story) dieAt(t *testing.T, point string) {
	h, args := s.setUp(t)
	env := h.Env
	h.Env = append(slices.Clone(env), "RKT_FAILPOINT="+point)
	dying := h.Rkt(args...)
	// When the pod is over its status is the app's, whatever its networks did.
	if dying.Status == 0 && !strings.Contains(dying.Stderr, "cannot give the pod's networks back") {
		t.Errorf("killed at %s, rkt ended with status 0", point)
	}
	h.Env = env
	h.Gone()
	pods := h.Pods()

	// gc twice: the first may only mark. image gc, within its grace period,
	// removes no image, but finishes what was begun.
	for range 2 {
		h.Must("gc", "--grace-period=0s", "--expire-prepared=0s")
	}
	h.Must("image", "gc")
	if pods := h.Pods(); len(pods) != 0 {
		t.Errorf("after gc, pods %q are left", pods)
	}
	if left := rkt.Leftovers(h.Dir, pods); left != nil {
		t.Errorf("after gc: %q", left)
	}
	if s.user != "" {
		userGone(t)
	} else {
		networksGone(t, h)
		usersGone(t, h)
	}
	everyImageOpens(t, h)
	if s.again {
		h.Must(args...)
		// What runs an image has shown that it opens.
		if args[0] == "fetch" || args[0] == "image" {
			everyImageOpens(t, h)
		}
	}

	// And all of it can go, to the last file.
	for range 2 {
		h.Must("gc", "--grace-period=0s", "--expire-prepared=0s")
	}
	h.Must("image", "gc", "--grace-period=0s")
	for _, pattern := range []string{"pods/*/*", "layers/sha*", "layers/tmp/*", "images/rkt/records/*", "images/rkt/names/*", "images/rkt/tmp/*", "images/blobs/*/*"} {
		if found, _ := filepath.Glob(filepath.Join(h.Dir, pattern)); len(found) != 0 {
			t.Errorf("after gc and image gc, left: %q", found)
		}
	}
}

// networksGone: nobody holds an address or a port, and no rules are left.
func networksGone(t *testing.T, h *rkt.Host) {
	t.Helper()
	for _, pattern := range []string{"networks/*/leases/[^.]*", "networks/ports/[^.]*"} {
		if found, _ := filepath.Glob(filepath.Join(h.Dir, pattern)); found != nil {
			t.Errorf("after gc, leases are left: %q", found)
		}
	}
	if tables, err := exec.Command("nft", "list", "tables").Output(); err != nil || strings.Contains(string(tables), string(rules.Table(h.Dir))+"\n") {
		t.Errorf("after gc, rules are left: %v\n%s", err, tables)
	}
}

// usersGone: gc has removed the locks of ranges that nobody has. A pod of another
// rkt of this machine may have ended since; what stays through several is left.
func usersGone(t *testing.T, h *rkt.Host) {
	t.Helper()
	var left []string
	for range 5 {
		left = nil
		locks, _ := filepath.Glob("/run/rkt/users/*")
		for _, path := range locks {
			f, err := os.Open(path)
			if err != nil {
				continue
			}
			if flock.TryLock(f, flock.Exclusive) == nil {
				left = append(left, path)
			}
			_ = f.Close()
		}
		if left == nil {
			return
		}
		h.Must("gc", "--grace-period=0s")
	}
	t.Errorf("after gc, the locks of ranges that nobody has are left: %q", left)
}

// everyImageOpens: each image that the store lists runs, and skopeo reads the
// store as an OCI layout.
func everyImageOpens(t *testing.T, h *rkt.Host) {
	t.Helper()
	images := strings.Fields(h.Must("image", "list", "--no-legend", "--full", "--fields=id").Stdout)
	for _, id := range images {
		if r := h.Rkt("run", "--net=none", id, "--exec=/bin/sh", "--", "-c", "test -e /srv/content && echo whole"); r.Out() != "whole" {
			t.Errorf("image %s does not open: status %d, %q\n%s", id, r.Status, r.Stdout, r.Stderr)
		}
	}
	layout := filepath.Join(h.Dir, "images")
	if _, err := os.Stat(filepath.Join(layout, "index.json")); err != nil {
		if len(images) > 0 {
			t.Errorf("the store has images and no index: %v", err)
		}
		return
	}
	var index struct{ n int }
	out, err := exec.Command("jq", "-r", ".manifests | length", filepath.Join(layout, "index.json")).Output()
	if err != nil {
		t.Errorf("index.json: %v", err)
		return
	}
	if _, err := fmt.Sscan(string(out), &index.n); err != nil || index.n != len(images) {
		t.Errorf("index.json has %d manifests, image list %d (%v)", index.n, len(images), err)
	}
}
