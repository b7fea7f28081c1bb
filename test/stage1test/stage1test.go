// SPDX-License-Identifier: Apache-2.0

// Package stage1test is what every flavor promises: one set of tests, run against
// each by the name or the image that chooses it. What a flavor can do it says in
// its manifest, and nowhere else do flavors differ. A test that needs a feature
// that the flavor lacks is not run; in its place a pod that asks for the feature
// has to be refused before anything starts.
//
//	go test -tags e2e ./test/stage1test                     each flavor, of heavy ones a part
//	go test -tags e2e ./test/stage1test -flavors=fly,kvm    these, all of it
//	go test -tags e2e ./test/stage1test -stage1=FILE.aci    another one, by what --stage1-path takes
//	make flavors                                            all of everything
package stage1test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// A Flavor is one that the tests are run against.
type Flavor struct {
	Name     string
	Choose   string // the flag that chooses it
	Manifest contract.Manifest
	Absent   string // why it cannot be run here; ""
	Core     bool   // only the tests that are Core: it is a heavy one
}

// Has tells whether the flavor says that it can do all of that: features, and
// optional entry points.
func (f *Flavor) Has(needs ...contract.Feature) bool { return f.Lacks(needs...) == "" }

// Lacks is the first of needs that it cannot do.
func (f *Flavor) Lacks(needs ...contract.Feature) contract.Feature {
	for _, n := range needs {
		if !slices.Contains(f.Manifest.Features, n) && len(f.Manifest.Entrypoints[string(n)]) == 0 {
			return n
		}
	}
	return ""
}

// Net is the cheapest network that the flavor can give a pod.
func (f *Flavor) Net() string {
	switch {
	case f.Has(contract.NetHost):
		return "--net=host"
	case f.Has(contract.NetNone):
		return "--net=none"
	}
	return "--net=default"
}

// Pause stands in lists of features for the optional entry points.
const Pause contract.Feature = "pause"

// A Case is one test.
type Case struct {
	Name  string
	Needs []contract.Feature
	Core  bool
	Test  func(t *T)
}

// T is a test of a flavor, on a data directory that its tests share.
type T struct {
	*testing.T
	Host   *rkt.Host
	Flavor *Flavor
	Image  string // the tiny image's ID
}

// Args are those of rkt that run a script in a pod of one app, with flags of the
// pod and of the app.
func (t *T) Args(pod, app []string, script string) []string {
	args := []string{"run", t.Flavor.Choose}
	if !slices.ContainsFunc(pod, func(f string) bool { return strings.HasPrefix(f, "--net") }) {
		args = append(args, t.Flavor.Net())
	}
	args = append(append(args, pod...), t.Image)
	return append(append(args, app...), "--exec=/bin/sh", "--", "-c", script)
}

// Run runs such a pod to its end.
func (t *T) Run(pod, app []string, script string) rkt.Result {
	t.Helper()
	return t.Host.Rkt(t.Args(pod, app, script)...)
}

// Want runs such a pod, which has to say want on standard output and end with 0.
func (t *T) Want(want string, pod, app []string, script string) {
	t.Helper()
	if r := t.Run(pod, app, script); r.Stdout != want || r.Status != 0 {
		t.Errorf("%q %q %q: stdout %q, want %q (status %d)\n%s", pod, app, script, r.Stdout, want, r.Status, r.Stderr)
	}
}

// Start starts such a pod and waits until its script has said "ready". It returns
// the pod's UUID.
func (t *T) Start(pod, app []string, script string) (*rkt.Process, string) {
	t.Helper()
	before := t.Host.Pods()
	p := t.Host.Start(t.Args(pod, app, script)...)
	p.Expect("ready")
	for _, uuid := range t.Host.Pods() {
		if !slices.Contains(before, uuid) {
			return p, uuid
		}
	}
	t.Fatal("there is no new pod")
	return nil, ""
}

// Table is what came of it, for people.
type Table struct {
	mu      sync.Mutex
	flavors []string
	rows    []string
	cells   map[[2]string]string
	notes   []string
}

func (tb *Table) set(row, flavor, cell string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if tb.cells == nil {
		tb.cells = map[[2]string]string{}
	}
	if !slices.Contains(tb.flavors, flavor) {
		tb.flavors = append(tb.flavors, flavor)
	}
	if row == "" {
		tb.notes = append(tb.notes, flavor+": "+cell)
		return
	}
	if !slices.Contains(tb.rows, row) {
		tb.rows = append(tb.rows, row)
	}
	tb.cells[[2]string{row, flavor}] = cell
}

// What stands in a cell.
const (
	passed  = "ok"
	failed  = "FAIL"
	refused = "refused" // a feature it lacks, and was asked for
	able    = "able"    // which it has
	without = "–"       // needs a feature that it lacks
	skipped = "skip"
	spared  = "·" // of a heavy flavor
)

// Print writes it, if there is anything to tell.
func (tb *Table) Print(w io.Writer) {
	if len(tb.flavors) == 0 {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "\nTEST\t%s\n", strings.Join(tb.flavors, "\t"))
	for _, row := range tb.rows {
		fmt.Fprint(tw, row)
		for _, f := range tb.flavors {
			cell := tb.cells[[2]string{row, f}]
			if cell == "" && slices.ContainsFunc(tb.notes, func(n string) bool { return strings.HasPrefix(n, f+": absent") }) {
				cell = "absent"
			}
			fmt.Fprint(tw, "\t", cell)
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush()
	fmt.Fprintf(w, "%s the flavor lacks what the test needs · %s left out of a heavy flavor: make flavors\n", without, spared)
	for _, n := range tb.notes {
		fmt.Fprintln(w, n)
	}
}

// Run runs all tests against the flavors, and notes in tb what came of them.
func Run(t *testing.T, install rkt.Install, flavors []Flavor, tb *Table) {
	for i := range flavors {
		f := &flavors[i]
		if f.Absent != "" {
			tb.set("", f.Name, "absent: "+f.Absent)
			t.Logf("flavor %s is absent: %s", f.Name, f.Absent)
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			h := rkt.New(t, install)
			dir, err := images.Layout()
			if err != nil {
				t.Skipf("%v", err)
			}
			id := h.Must("fetch", "--full", "oci:"+dir+":"+images.Tiny).Out()
			for _, c := range Cases() {
				runCase(t, tb, f, h, id, c)
			}
			for _, r := range requests() {
				runRequest(t, tb, f, h, id, r)
			}
		})
	}
}

func runCase(t *testing.T, tb *Table, f *Flavor, h *rkt.Host, id string, c Case) {
	switch {
	case !f.Has(c.Needs...):
		tb.set(c.Name, f.Name, without)
		return
	case f.Core && !c.Core:
		tb.set(c.Name, f.Name, spared)
		return
	}
	t.Run(c.Name, func(t *testing.T) {
		tb.set(c.Name, f.Name, failed) // unless it comes to an end
		defer func() {
			switch {
			case t.Skipped():
				tb.set(c.Name, f.Name, skipped)
			case !t.Failed():
				tb.set(c.Name, f.Name, passed)
			}
		}()
		c.Test(&T{T: t, Host: h.For(t), Flavor: f, Image: id})
		if pids := rkt.Leftovers(h.Dir, nil); pids != nil && !t.Skipped() {
			h.For(t).Gone() // a moment is theirs
		}
	})
}
