// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/registry"
)

// bench is what all rows stand on: one busybox root, known to each contender.
type bench struct {
	o      options
	layout string   // the tests' OCI layout
	root   string   // the tiny image, unpacked
	id     string   // the tiny image in rkt's store
	rkt    []string // rkt and its global flags, on a data directory with the tiny image
	podman []string // podman on a storage of its own
	tiny   string   // the tiny image in podman's storage
	noPod  string   // why podman is absent

	registry *registry.Server // with the big images, once big was asked for
}

func newBench(o options) (*bench, error) {
	b := &bench{o: o, root: filepath.Join(o.work, "root")}
	var err error
	if b.layout, err = images.Layout(); err != nil {
		return nil, err
	}
	if err := b.unpackRoot(); err != nil {
		return nil, err
	}
	b.rkt = b.rktOn("data")
	if b.id, err = b.fetch(b.rkt, "oci:"+b.layout+":"+images.Tiny); err != nil {
		return nil, err
	}
	p := filepath.Join(o.work, "podman")
	b.podman = []string{"podman", "--root", p + "/root", "--runroot", p + "/run", "--tmpdir", p + "/tmp", "--cgroup-manager=cgroupfs", "--log-level=error"}
	if out, err := b.output(b.podman, "pull", "-q", "oci:"+b.layout+":"+images.Tiny); err != nil {
		b.noPod = firstLine(err.Error())
	} else {
		b.tiny = strings.TrimSpace(out)
	}
	return b, nil
}

// rktOn is rkt on a data directory below the work directory.
func (b *bench) rktOn(dir string) []string {
	return []string{b.o.rkt, "--dir=" + filepath.Join(b.o.work, dir), "--insecure-options=image"}
}

// collect lets rkt give back what killed pods left.
func (b *bench) collect() {
	if _, err := b.output(b.rkt, "gc", "--grace-period=0s"); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	}
}

// fetch stores an image and returns its ID.
func (b *bench) fetch(rkt []string, ref string) (string, error) {
	out, err := b.output(rkt, "fetch", "--full", ref)
	return strings.TrimSpace(out), err
}

func (b *bench) output(command []string, args ...string) (string, error) {
	argv := append(slices.Clone(command), args...)
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

func (b *bench) unpackRoot() error {
	raw, err := b.output([]string{"skopeo"}, "inspect", "--raw", "oci:"+b.layout+":"+images.Tiny)
	if err != nil {
		return err
	}
	var m struct{ Layers []struct{ Digest string } }
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		return err
	}
	if err := os.Mkdir(b.root, 0o755); err != nil {
		return err
	}
	for _, l := range m.Layers {
		blob := filepath.Join(b.layout, "blobs", strings.ReplaceAll(l.Digest, ":", "/"))
		if _, err := b.output([]string{"tar"}, "-C", b.root, "-xzf", blob); err != nil {
			return err
		}
	}
	// What the runtimes would otherwise make on their first run only.
	for _, d := range []string{"proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(b.root, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// bundle makes an OCI bundle of the tiny root for crun and runc: what `crun
// spec` writes, with no rlimits (this kind of machine may not raise them) and,
// unless hostNet is false, the host's network.
func (b *bench) bundle(name string, hostNet bool, argv ...string) (string, error) {
	dir := filepath.Join(b.o.work, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	spec := exec.Command("crun", "spec")
	spec.Dir = dir
	if out, err := spec.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot make a bundle: %w: %s", err, out)
	}
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var c map[string]any
	if err := json.Unmarshal(text, &c); err != nil {
		return "", err
	}
	process := c["process"].(map[string]any)
	process["args"], process["terminal"] = argv, false
	delete(process, "rlimits")
	c["root"] = map[string]any{"path": b.root}
	c["mounts"] = slices.DeleteFunc(c["mounts"].([]any), func(m any) bool { return m.(map[string]any)["destination"] == "/sys/fs/cgroup" })
	if hostNet {
		linux := c["linux"].(map[string]any)
		linux["namespaces"] = slices.DeleteFunc(linux["namespaces"].([]any), func(n any) bool { return n.(map[string]any)["type"] == "network" })
	}
	if text, err = json.Marshal(c); err != nil {
		return "", err
	}
	return dir, os.WriteFile(file, text, 0o644)
}

// podmanRun is a podman that runs argv in the tiny image. It must be told
// limits, since it raises them otherwise.
func (b *bench) podmanRun(flags []string, argv ...string) []string {
	args := append(slices.Clone(b.podman), "run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
	return append(append(append(args, flags...), b.tiny), argv...)
}

// without are results for a contender that cannot take part.
func without(name, why string) result { return result{name: name, absent: why} }
