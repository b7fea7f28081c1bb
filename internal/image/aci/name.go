// SPDX-License-Identifier: Apache-2.0

package aci

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Name is how images are asked for: a name and the labels that an image must
// have. Of equal names of labels there is one.
type Name struct {
	Name   ACIdentifier
	Labels Labels
}

// maxName bounds the text of a Name, bytes.
const maxName = 1024

// ParseName reads NAME[:VERSION][,LABEL=VALUE]…; ":VERSION" is the label
// "version" for short.
func ParseName(s string) (Name, error) {
	n, err := parseName(s)
	if err != nil {
		return Name{}, fmt.Errorf("cannot read image name %q: %w", s, err)
	}
	return n, nil
}

func parseName(s string) (Name, error) {
	if len(s) > maxName {
		return Name{}, fmt.Errorf("it is longer than %d bytes", maxName)
	}
	head, rest, more := strings.Cut(s, ",")
	name, version, versioned := strings.Cut(head, ":")
	n := Name{Name: ACIdentifier(name)}
	if err := n.Name.Validate(); err != nil {
		return Name{}, err
	}
	if versioned {
		if version == "" || strings.Contains(version, ":") {
			return Name{}, fmt.Errorf("%q is no version", version)
		}
		n.Labels = Labels{{"version", version}}
	}
	for more {
		var pair string
		pair, rest, more = strings.Cut(rest, ",")
		label, value, ok := strings.Cut(pair, "=")
		if !ok || value == "" {
			return Name{}, fmt.Errorf("%q is no LABEL=VALUE", pair)
		}
		n.Labels = append(n.Labels, Label{ACIdentifier(label), value})
	}
	seen := map[ACIdentifier]bool{}
	for _, l := range n.Labels {
		if seen[l.Name] && l.Name == "version" && versioned {
			return Name{}, errors.New("it has two versions")
		}
		seen[l.Name] = true
	}
	if err := n.Labels.validate(); err != nil {
		return Name{}, err
	}
	return n, nil
}

// String is n as ParseName reads it: the version after a colon, the other
// labels by name.
func (n Name) String() string {
	s := string(n.Name)
	if v, ok := n.Labels.Get("version"); ok {
		s += ":" + v
	}
	rest := slices.DeleteFunc(slices.Clone(n.Labels), func(l Label) bool { return l.Name == "version" })
	slices.SortFunc(rest, func(a, b Label) int { return strings.Compare(string(a.Name), string(b.Name)) })
	for _, l := range rest {
		s += "," + string(l.Name) + "=" + l.Value
	}
	return s
}

// Version is the label "version", or "".
func (n Name) Version() string { v, _ := n.Labels.Get("version"); return v }

// Here is n with the labels "os" and "arch" of this machine where it has none.
func (n Name) Here() Name {
	n.Labels = slices.Clone(n.Labels)
	for _, l := range (Labels{{"os", "linux"}, {"arch", hostArches()[0]}}) {
		if _, ok := n.Labels.Get(l.Name); !ok {
			n.Labels = append(n.Labels, l)
		}
	}
	return n
}

// Match says whether an image of that name and with those labels is one that
// is asked for by n, and if not, why. Labels of the image that n does not
// mention do not matter.
func (n Name) Match(name string, labels map[string]string) error {
	if name != string(n.Name) {
		return fmt.Errorf("its name is %q, not %q", name, n.Name)
	}
	for _, l := range n.Labels {
		switch have, ok := labels[string(l.Name)]; {
		case !ok:
			return fmt.Errorf("it has no label %q, which should be %q", l.Name, l.Value)
		case have != l.Value:
			return fmt.Errorf("its label %q is %q, not %q", l.Name, have, l.Value)
		}
	}
	return nil
}

// hostArches are this machine's architectures in appc's words, its own first.
func hostArches() []string {
	here := map[string][]string{
		"amd64":   {"amd64", "x86_64", "i386"},
		"arm64":   {"aarch64", "arm64"},
		"386":     {"i386"},
		"arm":     {"armv7l", "armv6l"},
		"ppc64le": {"ppc64le"},
		"s390x":   {"s390x"},
	}[runtime.GOARCH]
	if here == nil {
		here = []string{runtime.GOARCH}
	}
	return here
}
