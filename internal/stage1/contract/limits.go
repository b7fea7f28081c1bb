// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"maps"
	"slices"

	"github.com/rkt/rkt/internal/plainjson"
)

// Limits are what an app, or all apps of the pod together, may use. A field left
// at zero limits nothing.
type Limits struct {
	// CPU is thousandths of a processor; CPUShares the weight when processors are
	// short, 1024 being usual; CPUSet the processors that may be used ("0-2,7").
	CPU       int64  `json:"cpu,omitempty"`
	CPUShares int64  `json:"cpuShares,omitempty"`
	CPUSet    string `json:"cpuSet,omitempty"`
	// Memory is bytes, MemoryRequest those that are reclaimed last, MemoryHigh
	// where the kernel begins to slow the app down, Swap bytes beside Memory.
	Memory        int64 `json:"memory,omitempty"`
	MemoryRequest int64 `json:"memoryRequest,omitempty"`
	MemoryHigh    int64 `json:"memoryHigh,omitempty"`
	Swap          int64 `json:"swap,omitempty"`
	// PIDs counts processes and threads.
	PIDs int64 `json:"pids,omitempty"`
	// Bytes and operations a second, of each block device, of reading and of
	// writing.
	BlockBandwidth int64 `json:"blockBandwidth,omitempty"`
	BlockIOPS      int64 `json:"blockIOPS,omitempty"`
}

// Rlimit is one of setrlimit(2)'s, by its number.
type Rlimit struct {
	Name     string `json:"name"` // for messages
	Resource int    `json:"resource"`
	Soft     uint64 `json:"soft"` // 2⁶⁴-1 is unlimited
	Hard     uint64 `json:"hard"`
}

// AsideSuffix, after the pod's Cgroup, is where stage0 goes if it must leave its
// own cgroup for the pod's to have controllers.
const AsideSuffix = "-rkt"

// Limited reports whether the pod has cgroups beyond Cgroup itself.
func (p *Pod) Limited() bool { return len(p.Controllers) > 0 }

// CgroupDirs are all directories that are the pod's: Cgroup first, then those in
// version 1 hierarchies, each once.
func (p *Pod) CgroupDirs() []string {
	var dirs []string
	if p.Cgroup != "" {
		dirs = append(dirs, p.Cgroup)
	}
	for _, c := range slices.Sorted(maps.Keys(p.Controllers)) {
		if dir := p.Controllers[c]; !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// AppControllers are the app's own directories, by controller.
func (p *Pod) AppControllers(app string) map[string]string {
	m := make(map[string]string, len(p.Controllers))
	for c, dir := range p.Controllers {
		m[c] = dir + "/" + app
		if p.together(c) {
			m[c] = dir
		}
	}
	return m
}

// together: version 1 of blkio does not apply a cgroup's limits to those below
// it, so apps that have none of their own are in the pod's itself.
func (p *Pod) together(controller string) bool {
	return controller == "io" && p.Controllers[controller] != p.Cgroup && (p.Limits.BlockBandwidth > 0 || p.Limits.BlockIOPS > 0)
}

func optInt(w *plainjson.Writer, name string, n int64) {
	if n != 0 {
		w.Key(name).Int(n)
	}
}

func (l *Limits) write(w *plainjson.Writer) {
	if *l == (Limits{}) {
		return
	}
	w.Key("limits").Begin('{')
	optInt(w, "cpu", l.CPU)
	optInt(w, "cpuShares", l.CPUShares)
	w.OptString("cpuSet", l.CPUSet)
	optInt(w, "memory", l.Memory)
	optInt(w, "memoryRequest", l.MemoryRequest)
	optInt(w, "memoryHigh", l.MemoryHigh)
	optInt(w, "swap", l.Swap)
	optInt(w, "pids", l.PIDs)
	optInt(w, "blockBandwidth", l.BlockBandwidth)
	optInt(w, "blockIOPS", l.BlockIOPS)
	w.End('}')
}

func readLimits(r *plainjson.Reader) (l Limits) {
	for name := range r.Object() {
		switch name {
		case "cpu":
			l.CPU = r.Int64()
		case "cpuShares":
			l.CPUShares = r.Int64()
		case "cpuSet":
			l.CPUSet = r.String()
		case "memory":
			l.Memory = r.Int64()
		case "memoryRequest":
			l.MemoryRequest = r.Int64()
		case "memoryHigh":
			l.MemoryHigh = r.Int64()
		case "swap":
			l.Swap = r.Int64()
		case "pids":
			l.PIDs = r.Int64()
		case "blockBandwidth":
			l.BlockBandwidth = r.Int64()
		case "blockIOPS":
			l.BlockIOPS = r.Int64()
		}
	}
	return l
}

func (l *Rlimit) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(l.Name)
	w.Key("resource").Int(int64(l.Resource))
	w.Key("soft").Uint(l.Soft)
	w.Key("hard").Uint(l.Hard)
	w.End('}')
}

func readRlimit(r *plainjson.Reader) (l Rlimit) {
	for name := range r.Object() {
		switch name {
		case "name":
			l.Name = r.String()
		case "resource":
			l.Resource = r.Int()
		case "soft":
			l.Soft = uint64(r.Uint())
		case "hard":
			l.Hard = uint64(r.Uint())
		}
	}
	return l
}

// Aside is where stage0 may have gone for the pod's sake (AsideSuffix); "" if
// it never has to.
func (p *Pod) Aside() string {
	for _, dir := range p.Controllers {
		if dir == p.Cgroup {
			return p.Cgroup + AsideSuffix
		}
	}
	return ""
}

// OOMLine is the event of an app's kills, told by the count of its memory
// cgroup; "" if there were none or nobody counted.
func (p *Pod) OOMLine(app string, kills func(dir string) int64, at int64) string {
	dir, ok := p.AppControllers(app)["memory"]
	if !ok {
		return ""
	}
	n := kills(dir)
	if n <= 0 {
		return ""
	}
	return OOMLine(app, int(n), at)
}
