// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/google/go-cmp/cmp"
)

// TestLibcni runs networks with the specification's own library and with ours,
// and compares what the plugins were given.
func TestLibcni(t *testing.T) {
	for _, version := range Versions() {
		for _, do := range []string{"", "fail"} {
			t.Run(version+do, func(t *testing.T) {
				r := runner(t)
				n, file := chain(t, version, nil, map[string]string{"ADD": do}, nil)
				rec := record(n)
				for name, v := range map[string]any{IPs: []string{"10.0.0.2/24"}, MAC: "02:00:00:00:00:01"} {
					if err := rec.Capabilities.Set(name, v); err != nil {
						t.Fatal(err)
					}
				}
				ctx := context.Background()
				mustPrepare(t, r, rec)
				_, addErr := r.Add(ctx, rec)
				if addErr == nil {
					if err := r.Check(ctx, rec, rec.NetNS); err != nil && err != ErrNoCheck {
						t.Error(err)
					}
					if err := r.Del(ctx, rec, rec.NetNS); err != nil {
						t.Error(err)
					}
				}
				ours := trace(t, file)
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}

				text, err := json.Marshal(n)
				if err != nil {
					t.Fatal(err)
				}
				list, err := libcni.ConfListFromBytes(text)
				if err != nil {
					t.Fatal(err)
				}
				lib := libcni.NewCNIConfigWithCacheDir(r.Path, t.TempDir(), nil)
				rt := &libcni.RuntimeConf{ContainerID: rec.ContainerID, NetNS: rec.NetNS, IfName: rec.IfName, Args: append([][2]string{{"IgnoreUnknown", "1"}}, rec.Args...),
					CapabilityArgs: map[string]any{IPs: []string{"10.0.0.2/24"}, MAC: "02:00:00:00:00:01"}}
				_, libErr := lib.AddNetworkList(ctx, list, rt)
				if (libErr == nil) != (addErr == nil) {
					t.Fatalf("ADD: libcni %v, ours %v", libErr, addErr)
				}
				if libErr == nil {
					if err := lib.CheckNetworkList(ctx, list, rt); err != nil && atLeast(version, "0.4.0") {
						t.Error(err)
					}
					if err := lib.DelNetworkList(ctx, list, rt); err != nil {
						t.Error(err)
					}
				}
				theirs := trace(t, file)
				if addErr != nil {
					ours = ours[:2] // libcni leaves it to its caller to undo
				}
				for _, list := range [][]seen{ours, theirs} {
					for _, s := range list {
						for k := range s.Env {
							if len(k) < 4 || k[:4] != "CNI_" { // libcni gives everything that it has itself
								delete(s.Env, k)
							}
						}
						if p, ok := s.Stdin["prevResult"].(map[string]any); ok {
							delete(p, "last") // libcni drops what it does not know
							if dns, _ := p["dns"].(map[string]any); len(dns) == 0 {
								delete(p, "dns") // and adds this
							}
						}
					}
				}
				if d := cmp.Diff(theirs, ours); d != "" {
					t.Errorf("libcni's calls, and ours:\n%s", d)
				}
			})
		}
	}
}

// results are what plugins print, for the comparison and for fuzzing.
func results() []string {
	return []string{
		`{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","gateway":"10.0.0.1","routes":[{"dst":"0.0.0.0/0"},{"dst":"10.1.0.0/16","gw":"10.0.0.9"}]},"ip6":{"ip":"fd00::2/64"},"dns":{"nameservers":["10.0.0.1"],"domain":"x.y","search":["a"],"options":["ndots:1"]}}`,
		`{"cniVersion":"0.1.0","ip4":{"ip":"10.0.0.2/24"},"dns":{}}`,
		`{"cniVersion":"0.3.1","interfaces":[{"name":"br0","mac":"02:00:00:00:00:01"},{"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/x"}],"ips":[{"version":"4","interface":1,"address":"10.0.0.2/24","gateway":"10.0.0.1"},{"version":"4","address":"10.9.0.2/24"},{"version":"6","interface":1,"address":"fd00::2/64","gateway":"fd00::1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"},{"dst":"::/0"}],"dns":{}}`,
		`{"cniVersion":"0.4.0","ips":[{"version":"6","address":"fd00::2/64"}]}`,
		`{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"interface":0,"address":"10.0.0.2/32","gateway":"169.254.1.1"}],"routes":[{"dst":"0.0.0.0/0"}]}`,
		`{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mtu":1400,"sandbox":"/x","socketPath":"/s","pciID":"0000:04:00.5"}],"ips":[{"address":"10.0.0.2/24"}],"routes":[{"dst":"1.2.3.0/24","gw":"10.0.0.1","mtu":1300,"advmss":1260,"priority":5,"table":100,"scope":0}]}`,
		`{"cniVersion":"1.0.0"}`,
	}
}

// TestConversion compares each result, in each version, with what the
// specification's library makes of it.
func TestConversion(t *testing.T) {
	for i, text := range results() {
		theirs, err := create.CreateFromBytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		ours, from, err := DecodeResult([]byte(text), "1.0.0")
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, to := range Versions() {
			t.Run(fmt.Sprint(i, " from ", from, " to ", to), func(t *testing.T) {
				conv, wantErr := theirs.GetAsVersion(to)
				got, err := ours.Encode(to)
				if (err == nil) != (wantErr == nil) {
					t.Fatalf("libcni %v, ours %v", wantErr, err)
				}
				if err != nil {
					return
				}
				want, err := json.Marshal(conv)
				if err != nil {
					t.Fatal(err)
				}
				var a, b map[string]any
				if json.Unmarshal(want, &a) != nil || json.Unmarshal(got, &b) != nil {
					t.Fatalf("%s\n%s", want, got)
				}
				for _, m := range []map[string]any{a, b} {
					if dns, _ := m["dns"].(map[string]any); len(dns) == 0 {
						delete(m, "dns")
					}
				}
				// libcni marks new results as 1.0.0's and lets attributes through
				// that came with 1.1.0, also downwards: we do not.
				if !atLeast(to, "1.1.0") && from == "1.1.0" {
					strip(a)
				}
				if d := cmp.Diff(a, b); d != "" {
					t.Errorf("libcni's, and ours:\n%s", d)
				}
			})
		}
	}
}

// strip removes what came with version 1.1.0.
func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			switch k {
			case "mtu", "socketPath", "pciID", "advmss", "priority", "table", "scope":
				delete(v, k)
			default:
				strip(x)
			}
		}
	case []any:
		for _, x := range v {
			strip(x)
		}
	}
}

// TestLoadLikeLibcni: both find the same chain for a list with plugins in a
// directory of its own.
func TestLoadLikeLibcni(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "10-a.conflist"), `{"cniVersion":"1.1.0","cniVersions":["0.4.0","9.9.9"],"name":"a","plugins":[{"type":"x","n":1}],"disableCheck":"true"}`)
	write(t, filepath.Join(dir, "a", "20-z.conf"), `{"type":"z"}`)
	write(t, filepath.Join(dir, "a", "10-y.conf"), `{"type":"y","capabilities":{"b":true,"a":true,"c":false}}`)
	write(t, filepath.Join(dir, "a", "30-not.json"), `{"type":"not"}`)
	theirs, err := libcni.LoadNetworkConf(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Load([]Dir{{Path: dir}})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := all.Find("a")
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, p := range theirs.Plugins {
		types = append(types, p.Network.Type)
	}
	var got []string
	for _, p := range ours.Plugins {
		got = append(got, p.Type)
	}
	if d := cmp.Diff(types, got); d != "" {
		t.Error(d)
	}
	if theirs.CNIVersion != ours.Versions[len(ours.Versions)-1] || theirs.DisableCheck != ours.DisableCheck {
		t.Errorf("libcni %q %v, ours %q %v", theirs.CNIVersion, theirs.DisableCheck, ours.Versions, ours.DisableCheck)
	}
	if d := cmp.Diff([]string{"a", "b"}, ours.Plugins[1].Capabilities); d != "" {
		t.Error(d)
	}
}
