// SPDX-License-Identifier: Apache-2.0

// Package programs is the list of rkt's programs, and compiles them: for `make
// build`, for the packages and for the tests.
package programs

// Where programs lie below an installation's directory.
const (
	bin     = "bin"
	libexec = "libexec/rkt"
)

// Packages beside rkt's own: flavors that bring much with them.
const (
	KVM    = "rkt-stage1-kvm"
	CoreOS = "rkt-stage1-coreos"
)

// A Program is one that is installed.
type Program struct {
	// Name is that of its directory below cmd, and the file's.
	Name string
	// Dir is where it lies, below the installation's directory.
	Dir string
	// Links are its other names, beside it.
	Links []string
	// Flavors are those whose manifest it prints, each given its name: `NAME
	// manifest FLAVOR` becomes stage1-FLAVOR.json beside it.
	Flavors []string
	// Trees are flavors that the program is, too, in a tree of their own
	// (tools/stage1-coreos).
	Trees []string
	// Package is the one that installs it; "" is rkt's own.
	Package string
	// Within: it is installed inside of what a tool makes of it (tools/stage1-kvm),
	// and not by itself.
	Within bool
	// Link are flags of its own for the linker.
	Link string
}

// List returns all of them. A new program is a line here; the directories below
// cmd and the list are compared by a test.
func List() []Program {
	return []Program{
		{Name: "rkt", Dir: bin},
		{Name: "acbuild", Dir: bin, Links: []string{"actool"}},
		{Name: "fetch", Dir: libexec},
		{Name: "network", Dir: libexec},
		{Name: "doctor", Dir: libexec},
		{Name: "systemd", Dir: libexec},
		{Name: "join", Dir: libexec, Link: "-E main.enter"},
		{Name: "stage1-native", Dir: libexec, Flavors: []string{"native"}},
		{Name: "stage1-fly", Dir: libexec, Flavors: []string{"fly"}},
		{Name: "stage1-kvm", Dir: libexec, Flavors: []string{"kvm"}, Package: KVM},
		{Name: "kvm-init", Dir: libexec, Package: KVM, Within: true},
		{Name: "stage1-nspawn", Dir: libexec, Flavors: []string{"host"}, Trees: []string{"coreos"}},
	}
}
