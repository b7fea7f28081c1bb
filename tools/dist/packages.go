// SPDX-License-Identifier: Apache-2.0

package main

import "time"

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
	// tree is what it installs of what was built. nil, and why: it was not built.
	tree func(l layout, built string) (t tree, why string, err error)
	// scripts: it has the maintainer scripts of dist/package.
	scripts bool
}

// packages are all there are. Package rkt alone runs pods: the kernel is all that
// the default flavor and network need.
func packages() []product {
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
		debSuggests:   []string{"passt | slirp4netns", "systemd-container", "qemu-system", "containernetworking-plugins", "bash-completion"},
		rpmRequires:   []string{"/bin/sh", "/usr/bin/find", "/usr/bin/getent", "/usr/sbin/groupadd", "/usr/sbin/useradd"},
		rpmRecommends: []string{"ca-certificates", "/usr/bin/newuidmap"},
		rpmSuggests:   []string{"passt", "slirp4netns", "systemd-container", "qemu-kvm", "containernetworking-plugins"},
		tree: func(l layout, built string) (tree, string, error) {
			t, err := l.base(built)
			return t, "", err
		},
		scripts: true,
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
