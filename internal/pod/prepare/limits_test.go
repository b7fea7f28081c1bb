// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func resource(t *testing.T, name, text string) image.Isolator {
	t.Helper()
	i, err := pod.ResourceIsolator(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestLimitFeatures: a flavor that cannot limit is named, for an app's limit and
// for the pod's.
func TestLimitFeatures(t *testing.T) {
	for name, feature := range map[string]contract.Feature{
		pod.IsolatorCPU: contract.LimitCPU, pod.IsolatorMemory: contract.LimitMemory, pod.IsolatorPIDs: contract.LimitPIDs,
		pod.IsolatorBlockIOPS: contract.LimitBlockIO, pod.IsolatorBlockBandwidth: contract.LimitBlockIO,
	} {
		for _, whole := range []bool{false, true} {
			f := newFixture(t)
			f.req.Flavor.Manifest.Features = []contract.Feature{contract.NetNone}
			if list := []image.Isolator{resource(t, name, "5000")}; whole {
				f.req.Isolators = list
			} else {
				f.app().Isolators = list
			}
			f.refused(`"all"`, string(feature))
		}
	}
}

// TestLimits: the command line replaces the image's, the pod has its own, and
// the document says in which hierarchies the pod's cgroups will be.
func TestLimits(t *testing.T) {
	homes, err := cgroup.Homes([]string{"memory", "pids"})
	if err != nil {
		t.Skipf("needs cgroup controllers: %v", err)
	}
	f := newFixture(t)
	f.rec.App.Isolators = []image.Isolator{resource(t, pod.IsolatorMemory, "limit=1G,request=1M"), pod.OOMScoreAdjIsolator(7)}
	f.app().Image = f.rec
	f.app().Isolators = []image.Isolator{resource(t, pod.IsolatorMemory, "512Mi")}
	f.req.Isolators = []image.Isolator{resource(t, pod.IsolatorPIDs, "50")}
	_, c, m := f.pod()
	if l := c.Apps[0].Limits; l != (contract.Limits{Memory: 512 << 20}) || *c.Apps[0].OOMScoreAdj != 7 {
		t.Errorf("app %+v", c.Apps[0])
	}
	if c.Limits != (contract.Limits{PIDs: 50}) || len(m.Isolators) != 1 || len(m.Apps[0].App.Isolators) != 2 {
		t.Errorf("pod %+v, manifest %+v", c.Limits, m.Isolators)
	}
	for controller, dir := range homes {
		if got := c.Controllers[controller]; got != filepath.Join(dir, "rkt-"+c.UUID) {
			t.Errorf("%s in %q", controller, got)
		}
	}
	if len(c.Controllers) != 2 {
		t.Errorf("controllers %v", c.Controllers)
	}
	f = newFixture(t)
	if _, c, _ := f.pod(); c.Controllers != nil {
		t.Errorf("without limits: controllers %v", c.Controllers)
	}
}

// TestVersion1Refuses what only version 2 can do.
func TestVersion1Refuses(t *testing.T) {
	block := contract.Limits{BlockIOPS: 5}
	v1 := map[string]string{"memory": "/m/rkt-x", "io": "/b/rkt-x"}
	v2 := map[string]string{"memory": "/u/rkt-x", "io": "/u/rkt-x"}
	for _, c := range []struct {
		whole, app contract.Limits
		want       string
	}{
		{contract.Limits{}, contract.Limits{MemoryHigh: 1}, "high mark"},
		{contract.Limits{MemoryHigh: 1}, contract.Limits{}, "high mark"},
		{block, block, "blkio"},
		{block, contract.Limits{}, ""},
		{contract.Limits{}, block, ""},
	} {
		doc := &contract.Pod{Cgroup: "/u/rkt-x", Controllers: v1, Limits: c.whole, Apps: []contract.App{{Name: "a", Limits: c.app}}}
		err := checkVersion1(doc)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v %+v: %v, want %q", c.whole, c.app, err, c.want)
		}
		if doc.Controllers = v2; checkVersion1(doc) != nil {
			t.Errorf("version 2: %v", checkVersion1(doc))
		}
	}
}
