// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNetworks(t *testing.T) {
	var list []NetworkRequest
	for _, s := range []string{"default:IP=172.16.28.7;IP6=fd00::7,lan", "default-restricted"} {
		var err error
		if list, err = AddNetworks(list, s); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := AddNetworks(nil, "lan:ips=10.0.0.1;ips=fd00::1;aliases=a;aliases=b"); err != nil || len(n[0].Args) != 4 {
		t.Errorf("lists: %+v, %v", n, err)
	}
	want := []NetworkRequest{{"default", []string{"IP=172.16.28.7", "IP6=fd00::7"}}, {Name: "lan"}, {Name: "default-restricted"}}
	if d := cmp.Diff(want, list); d != "" {
		t.Error(d)
	}
	for s, words := range map[string]string{
		"":                      "name is empty",
		"a,":                    "name is empty",
		"a,a":                   "given twice",
		"a:IP=1;IP=2":           "given twice",
		"host:IP=1":             "takes no arguments",
		"all:IP=1":              "takes no arguments",
		"host,default":          "does not go with others",
		"default,none":          "does not go with others",
		"a:IP":                  "not KEY=VALUE",
		"a:":                    "not KEY=VALUE",
		"../x":                  "not a network's name",
		"a b":                   "not a network's name",
		"a:K=v w":               "white space",
		strings.Repeat("x", 65): "not a network's name",
	} {
		if _, err := AddNetworks(nil, s); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := AddNetworks(want, "lan"); err == nil {
		t.Error("a network of an earlier flag is taken again")
	}
}

func TestPortOfNoImage(t *testing.T) {
	p, err := ParsePort("web:udp:53:[2001:db8::1]:5353")
	if err != nil || p.PodPort == nil || p.PodPort.Port != 53 || p.PodPort.Protocol != "udp" || p.HostIP != "2001:db8::1" || p.HostPort != 5353 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = ParsePort("web:sctp:1:2"); err != nil || p.PodPort.Protocol != "sctp" || p.HostPort != 2 || p.HostIP != "" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, s := range []string{"web:tcp:80", "web:tcp:0:80", "web:icmp:1:2", "web:tcp:80:localhost:80", "web:tcp::80"} {
		if p, err := ParsePort(s); err == nil {
			t.Errorf("%q: %+v", s, p)
		}
	}
}

func FuzzAddNetworks(f *testing.F) {
	f.Add("default:IP=172.16.28.7;IP6=fd00::7,lan")
	f.Add("host")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := AddNetworks(nil, s)
		if err != nil {
			return
		}
		var words []string
		for _, n := range list {
			w := n.Name
			if n.Args != nil {
				w += ":" + strings.Join(n.Args, ";")
			}
			words = append(words, w)
		}
		if back := strings.Join(words, ","); back != s {
			t.Errorf("%q reads as %q", s, back)
		}
	})
}
