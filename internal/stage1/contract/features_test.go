// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// declared are the constants of type Feature in this package's source.
func declared(t *testing.T) (all []Feature) {
	t.Helper()
	pkgs, err := parser.ParseDir(token.NewFileSet(), ".", func(fi fs.FileInfo) bool { return !strings.HasSuffix(fi.Name(), "_test.go") }, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range pkgs["contract"].Files {
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.ValueSpec); ok && len(s.Values) == 1 {
				if typ, ok := s.Type.(*ast.Ident); ok && typ.Name == "Feature" {
					text, err := strconv.Unquote(s.Values[0].(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, Feature(text))
				}
			}
			return true
		})
	}
	return all
}

// TestFeatures: each is told of once.
func TestFeatures(t *testing.T) {
	var told []Feature
	for _, f := range Features() {
		if f.Means == "" || slices.Contains(told, f.Feature) {
			t.Errorf("feature %q is told of twice, or without a word", f.Feature)
		}
		told = append(told, f.Feature)
	}
	all := declared(t)
	if len(all) < 10 {
		t.Fatalf("found only %q", all)
	}
	for _, f := range all {
		if !slices.Contains(told, f) {
			t.Errorf("feature %q is not in Features", f)
		}
	}
	if len(told) != len(all) {
		t.Errorf("%d features are told of, %d are declared", len(told), len(all))
	}
}

// TestNeeds: whatever a document has of a feature, it asks for it, and for nothing
// else.
func TestNeeds(t *testing.T) {
	five := 5
	text := ""
	asks := map[Feature]func(*Pod){
		MultipleApps:  func(p *Pod) { p.Apps = append(p.Apps, App{}) },
		Interactive:   func(p *Pod) { p.Interactive = true },
		ReadOnlyRoot:  func(p *Pod) { p.Apps[0].ReadOnlyRoot = true },
		Volumes:       func(p *Pod) { p.Apps[0].Mounts = []Mount{{}} },
		Hostname:      func(p *Pod) { p.Hostname = "other" },
		DNS:           func(p *Pod) { p.Resolv = &text },
		NetHost:       func(p *Pod) { p.Network = NetworkHost },
		NetNone:       func(p *Pod) { p.Network = NetworkNone },
		NetContained:  func(p *Pod) { p.Network = NetworkContained },
		Ports:         func(p *Pod) { p.Ports = []Port{{}} },
		Notify:        func(p *Pod) { p.Notify = true },
		Sockets:       func(p *Pod) { p.Apps[0].Sockets = []Socket{{}} },
		HostIPC:       func(p *Pod) { p.HostIPC = true },
		PrivateUsers:  func(p *Pod) { p.Users.Count = 1 },
		Capabilities:  func(p *Pod) { p.Apps[0].Capabilities = []string{} },
		Ambient:       func(p *Pod) { p.Apps[0].Ambient, p.Apps[0].User = []string{"CAP_KILL"}, "12" },
		Seccomp:       func(p *Pod) { p.Apps[0].Seccomp.Mode = "unconfined" },
		NoNewPrivs:    func(p *Pod) { p.Apps[0].NoNewPrivs = true },
		AppArmor:      func(p *Pod) { p.Apps[0].AppArmor = "x" },
		SELinux:       func(p *Pod) { p.Apps[0].SELinux = "x" },
		Devices:       func(p *Pod) { p.Apps[0].DeviceRules = []string{"x"} },
		EventHandlers: func(p *Pod) { p.Apps[0].PostStop = []string{"x"} },
		Logs:          func(p *Pod) { p.Apps[0].Stderr = Log },
		LimitCPU:      func(p *Pod) { p.Limits.CPUSet = "0" },
		LimitMemory:   func(p *Pod) { p.Apps[0].Limits.MemoryHigh = 1 },
		LimitPIDs:     func(p *Pod) { p.Apps[0].Limits.PIDs = 1 },
		LimitBlockIO:  func(p *Pod) { p.Limits.BlockIOPS = 1 },
		Rlimits:       func(p *Pod) { p.Apps[0].Rlimits = []Rlimit{{}} },
		OOMScoreAdj:   func(p *Pod) { p.Apps[0].OOMScoreAdj = &five },
		Sysctls:       func(p *Pod) { p.Sysctls = map[string]string{"kernel.x": "1"} },
	}
	plain := func() *Pod {
		return &Pod{UUID: "u", Hostname: "rkt-u", Apps: []App{{}}, Hosts: &text, HostsIfMissing: true, ConfineDevices: true}
	}
	if got := plain().Needs(); len(got) > 0 {
		t.Errorf("a plain pod needs %q", got)
	}
	for _, f := range Features() {
		ask := asks[f.Feature]
		if f.Promised != (ask == nil) {
			t.Errorf("%s: is it asked for?", f.Feature)
			continue
		}
		if ask == nil {
			continue
		}
		p := plain()
		ask(p)
		if got := p.Needs(); !slices.Equal(got, []Feature{f.Feature}) {
			t.Errorf("%s: needs %q", f.Feature, got)
		}
		p.Features = p.Needs()
		if p.Lacking([]Feature{"other"}) != f.Feature || p.Lacking([]Feature{"other", f.Feature}) != "" {
			t.Errorf("%s: lacking", f.Feature)
		}
	}
}
