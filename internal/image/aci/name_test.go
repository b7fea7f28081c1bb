// SPDX-License-Identifier: Apache-2.0

package aci

import (
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseName(t *testing.T) {
	for in, want := range map[string]Name{
		"coreos.com/etcd":               {Name: "coreos.com/etcd"},
		"coreos.com/etcd:v3.5":          {"coreos.com/etcd", Labels{{"version", "v3.5"}}},
		"coreos.com/etcd,version=v3.5":  {"coreos.com/etcd", Labels{{"version", "v3.5"}}},
		"a.b/c:1,os=linux,arch=aarch64": {"a.b/c", Labels{{"version", "1"}, {"os", "linux"}, {"arch", "aarch64"}}},
		"a,arch=amd64":                  {"a", Labels{{"arch", "amd64"}}},
		"a,channel=b:c=d@e":             {"a", Labels{{"channel", "b:c=d@e"}}},
		"a.b/c~d_e:1.0+git@x":           {"a.b/c~d_e", Labels{{"version", "1.0+git@x"}}},
	} {
		got, err := ParseName(in)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got)\n%s", in, err, d)
		}
	}
	for in, says := range map[string]string{
		"":                        "AC Identifier",
		"A":                       "AC Identifier",
		"a//b":                    "AC Identifier",
		"a:":                      `"" is no version`,
		"a:1:2":                   `"1:2" is no version`,
		"a:1,version=2":           "two versions",
		"a,version=1,version=1":   "twice",
		"a,os=linux,os=linux":     "twice",
		"a,os":                    "no LABEL=VALUE",
		"a,os=":                   "no LABEL=VALUE",
		"a,":                      "no LABEL=VALUE",
		"a,=x":                    "AC Identifier",
		"a,name=b":                `cannot be called "name"`,
		"a,x=\x01":                "control character",
		strings.Repeat("a", 1025): "longer than",
	} {
		if n, err := ParseName(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v; want %q", in, n, err, says)
		}
	}
}

func TestMatch(t *testing.T) {
	labels := map[string]string{"version": "1", "os": "linux", "channel": ""}
	for in, says := range map[string]string{
		"a":                    "",
		"a:1":                  "",
		"a:1,os=linux":         "",
		"a/b":                  `its name is "a", not "a/b"`,
		"a:2":                  `its label "version" is "1", not "2"`,
		"a,arch=amd64":         `it has no label "arch", which should be "amd64"`,
		"a,os=linux,channel=x": `its label "channel" is "", not "x"`,
	} {
		n, err := ParseName(in)
		if err != nil {
			t.Fatal(err)
		}
		err = n.Match("a", labels)
		if got := ""; err != nil && err.Error() != says || err == nil && got != says {
			t.Errorf("%s: %v, want %q", in, err, says)
		}
	}
}

func TestHere(t *testing.T) {
	n := Name{Name: "a", Labels: Labels{{"os", "plan9"}}}
	h := n.Here()
	if v, _ := h.Labels.Get("os"); v != "plan9" || len(n.Labels) != 1 {
		t.Errorf("%+v", h)
	}
	want := map[string]string{"amd64": "amd64", "arm64": "aarch64"}[runtime.GOARCH]
	if v, _ := h.Labels.Get("arch"); v != want && want != "" {
		t.Errorf("arch %q", v)
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"coreos.com/etcd:v3.5,os=linux,arch=amd64", "a,version=1", "a:1:2", "a,b=c=d", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if err := n.Name.Validate(); err != nil {
			t.Fatal(err)
		}
		// A comma or a colon in a value would be read otherwise.
		again, err := ParseName(n.String())
		if err != nil || again.String() != n.String() || len(again.Labels) != len(n.Labels) {
			if v := n.Version(); strings.Contains(v, ":") {
				return // only by ,version= can it have one
			}
			t.Fatalf("%q: %+v prints as %q: %+v, %v", s, n, n.String(), again, err)
		}
		labels := map[string]string{}
		for _, l := range n.Labels {
			labels[string(l.Name)] = l.Value
		}
		if err := n.Match(string(n.Name), labels); err != nil {
			t.Fatal(err)
		}
	})
}
