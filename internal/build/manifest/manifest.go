// SPDX-License-Identifier: Apache-2.0

// Package manifest is what an image under construction says of itself, in the
// words of appc or of OCI: the same edits for both. It does no I/O.
package manifest

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/hint"
)

// ErrAbsent: what was to be removed is not there.
var ErrAbsent = errors.New("there is none")

// Port is a port of an image's.
type Port struct {
	Name            string
	Protocol        string
	Port            uint
	Count           uint
	SocketActivated bool
}

// Mount is a place where an image wants a volume.
type Mount struct {
	Name, Path string
	ReadOnly   bool
}

// Document is a manifest that is edited. What one of the two forms has no word
// for is an error of type *NoWordError. Edits that would make it invalid are
// refused, and leave it as it was.
type Document interface {
	SetName(string) error
	SetExec([]string) error
	SetUser(string) error
	SetGroup(string) error
	SetSupplementaryGroups([]int) error
	SetWorkingDirectory(string) error
	SetEventHandler(name string, exec []string) error

	AddAnnotation(name, value string) error
	RemoveAnnotation(name string) error
	AddLabel(name, value string) error
	RemoveLabel(name string) error
	AddEnvironment(name, value string) error
	RemoveEnvironment(name string) error
	AddPort(Port) error
	RemovePort(nameOrNumber string) error
	AddMount(Mount) error
	RemoveMount(nameOrPath string) error
	AddIsolator(name string, value []byte) error
	RemoveIsolator(name string) error
	AddDependency(Dependency) error
	RemoveDependency(name string) error

	// Environment is NAME=VALUE in the image's order, User, Group and
	// WorkingDirectory are as the image has them.
	Environment() []string
	User() (user, group string)
	WorkingDirectory() string
}

// Dependency is an image that an ACI stands on.
type Dependency struct {
	Name   string
	ID     string
	Labels []Label
	Size   uint64
}

// Label is a name and a value.
type Label struct{ Name, Value string }

// NoWordError says that a form of image cannot hold what was asked for.
type NoWordError struct{ Form, What string }

func (e *NoWordError) Error() string {
	return fmt.Sprintf("%s images have no %s", e.Form, e.What)
}

// absent is ErrAbsent with the name of what is not there.
func absent(what, name string) error {
	return fmt.Errorf("cannot remove %s %q: %w", what, name, ErrAbsent)
}

// archs are appc's words for Go's architectures, where they differ.
func appcArch(goarch string) string {
	switch goarch {
	case "386":
		return "i386"
	case "arm64":
		return "aarch64"
	case "arm":
		return "armv7l"
	case "ppc64":
		return "ppc64"
	}
	return goarch
}

func host() (os, arch string) { return "linux", runtime.GOARCH }

// ParsePort reads NAME PROTOCOL NUMBER.
func ParsePort(name, protocol, number string) (Port, error) {
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return Port{}, fmt.Errorf("cannot add port %q: %q is no port", name, number)
	}
	if protocol = strings.ToLower(protocol); protocol != "tcp" && protocol != "udp" {
		return Port{}, hint.Wrap(fmt.Errorf("cannot add port %q: protocol %q is neither tcp nor udp", name, protocol), "the order is NAME PROTOCOL PORT")
	}
	return Port{Name: name, Protocol: protocol, Port: uint(n)}, nil
}
