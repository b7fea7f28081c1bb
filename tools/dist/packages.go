// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/rkt/rkt/tools/programs"
)

// names are the architectures' in each kind of package, by Go's.
var names = map[string]struct{ deb, rpm string }{
	"amd64": {"amd64", "x86_64"},
	"arm64": {"arm64", "aarch64"},
}

const (
	maintainer = "rkt maintainers <maintainers@rkt.invalid>"
	homepage   = "https://github.com/rkt/rkt"
	license    = "Apache-2.0"
)

// A product is one package, in words that deb and rpm share.
type product struct {
	name, summary, description string
	// What it needs, wants and may use, in each system's words.
	debDepends, debRecommends, debSuggests  []string
	rpmRequires, rpmRecommends, rpmSuggests []string
	// flavor is the flavor that it is of, and tool what makes it: arguments of go run.
	flavor string
	tool   []string
	// tree is what it installs of what was built. missing, why it was not built, is "" if it
	// was.
	tree func(l layout, built string) (t tree, missing string, err error)
	// scripts: it has the maintainer scripts of dist/package.
	scripts bool
}

// packages are all there are, at one version and for one architecture. Package rkt
// alone runs pods: the kernel is all that the default flavor and network need.
func packages(version, arch string) []product {
	qemu := "qemu-system-x86"
	if arch == "arm64" {
		qemu = "qemu-system-arm"
	}
	sameDeb, sameRPM := "rkt (= "+version+")", "rkt = "+version+"-1"
	return []product{{
		name:    "rkt",
		summary: "run any container image as a pod, with no daemon",
		description: `rkt fetches Docker, OCI and App Container images, verifies and stores them,
and runs them as pods, at the level of isolation chosen. There is no daemon:
a running pod is a child of whoever called rkt, be it a shell, systemd or a
kubelet.

The default flavor and the default network need nothing but the kernel.
This package has acbuild and actool, too, which build images.`,
		// groupadd and useradd, for rkt's groups and its helper's user.
		debDepends:    []string{"passwd"},
		debRecommends: []string{"ca-certificates", "uidmap"},
		debSuggests:   []string{"passt | slirp4netns", programs.KVM, programs.CoreOS, "systemd-container", "containernetworking-plugins", "bash-completion"},
		rpmRequires:   []string{"/bin/sh", "/usr/bin/find", "/usr/bin/getent", "/usr/sbin/groupadd", "/usr/sbin/useradd"},
		rpmRecommends: []string{"ca-certificates", "/usr/bin/newuidmap"},
		rpmSuggests:   []string{"passt", "slirp4netns", programs.KVM, programs.CoreOS, "systemd-container", "containernetworking-plugins"},
		tree: func(l layout, built string) (tree, string, error) {
			t, err := l.base(built)
			return t, "", err
		},
		scripts: true,
	}, {
		name:    programs.KVM,
		summary: "rkt's flavor kvm: pods in virtual machines",
		description: `With it, "rkt run --stage1=kvm" runs a pod in a virtual machine of its own:
for code that is not trusted with the host's kernel.

It has the machine's kernel, which is Debian's, and its first program. QEMU
runs it, with KVM where that works, by emulation otherwise.`,
		// Debian 12 has virtiofsd in qemu-system-common, of QEMU's own version; later it
		// is a package.
		debDepends:  []string{sameDeb, qemu + " (>= 1:7.2)", "virtiofsd | qemu-system-common (<< 1:8)"},
		rpmRequires: []string{sameRPM, "qemu-kvm >= 7.2", "virtiofsd"},
		flavor:      "kvm", tool: []string{"./tools/stage1-kvm"},
		tree: layout.kvm,
	}, {
		name:    programs.CoreOS,
		summary: "rkt's flavor coreos: pods with a systemd of their own",
		description: `With it, "rkt run --stage1=coreos" runs a pod as systemd-nspawn runs a
container, with systemd as its first process. Both are of this package, with
the libraries that they need: the host may have another systemd, or none.

What it has are files of Debian's packages; /usr/share/doc/rkt-stage1-coreos
says which.`,
		debDepends:  []string{sameDeb},
		rpmRequires: []string{sameRPM},
		flavor:      "coreos", tool: []string{"./tools/stage1-coreos", "-image=false"},
		tree: layout.coreOS,
	}}
}

// meta is a package at one version.
type meta struct {
	product
	version string
	arch    string // Go's word
	when    time.Time
	changes string // for %changelog
}
