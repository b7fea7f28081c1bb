// SPDX-License-Identifier: Apache-2.0

//go:build e2e && failpoint

package cni

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rkt/rkt/test/rkt"
)

var armed = sync.OnceValues(func() (rkt.Install, error) {
	return rkt.Build(filepath.Join(os.Getenv(inside), "armed"), "failpoint")
})

// TestCrash kills whoever attaches a pod and gives back what it held, at each
// step of theirs: gc gives everything back, and the next pod starts.
func TestCrash(t *testing.T) {
	needs(t, "bridge", "host-local", "portmap", "firewall", "tuning", "ptp")
	start := func(t *testing.T) (*world, []string) {
		w := newWorldOf(t, armed)
		w.configure("10-web.conflist", chainConf)
		w.configure("20-side.conf", `{'name': 'side', 'type': 'ptp', 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.80.2.0/24'}}`)
		return w, []string{"run", "--net=web,side", "--port=www:tcp:80:8088", w.tiny, "--exec=/bin/true"}
	}
	w, args := start(t)
	file := filepath.Join(t.TempDir(), "trace")
	env := w.Env
	w.Env = append(slices.Clone(env), "RKT_FAILPOINT_TRACE="+file)
	w.Must(args...)
	w.Env = env
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	points := strings.Fields(string(text))
	slices.Sort(points)
	points = slices.DeleteFunc(slices.Compact(points), func(p string) bool { return !strings.HasPrefix(p, "cni/") })
	if len(points) < 6 {
		t.Fatalf("rkt run passes only %q", points)
	}
	run(t, "ip", "link", "del", "web0")
	for _, p := range points {
		t.Run(p, func(t *testing.T) {
			w, args := start(t)
			before := w.state()
			env := w.Env
			w.Env = append(slices.Clone(env), "RKT_FAILPOINT="+p)
			w.Rkt(args...)
			w.Env = env
			w.Gone()
			w.Must("net", "gc")
			w.unchanged(before, "web0")
			w.Must(args...)
			w.Must("gc", "--grace-period=0s")
			w.unchanged(before, "web0")
			if pods := w.Pods(); len(pods) > 0 {
				t.Errorf("left pods: %v", pods)
			}
			run(t, "ip", "link", "del", "web0")
		})
	}
}
