// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// shelf is a Source of networks that write down what is done to them.
type shelf struct {
	names []string
	log   *[]string
}

func (s shelf) Names() ([]string, error) { return s.names, nil }

func (s shelf) Find(name string) (Driver, error) {
	if !slices.Contains(s.names, name) {
		return nil, ErrUnknown
	}
	if name == "broken" {
		return nil, errors.New("its file is torn")
	}
	return drawer{name, s.log}, nil
}

func (s shelf) Former(a contract.Attached) (Driver, error) {
	if a.Driver != "drawer" {
		return nil, ErrUnknown
	}
	return s.Find(a.NetName)
}

func (s shelf) Collect(_ context.Context, alive func(pod.UUID) bool) error {
	*s.log = append(*s.log, "collect")
	return nil
}

type drawer struct {
	name string
	log  *[]string
}

func (d drawer) Traits() Traits {
	return Traits{Name: "drawer", DefaultRoute: d.name == "wan", Masquerade: d.name == "wan", Forwards: true}
}

func (d drawer) Add(_ context.Context, a *Attachment) (contract.Attached, error) {
	words := []string{"add", d.name, a.Network.IfName}
	if a.DefaultRoute {
		words = append(words, "route")
	}
	for _, p := range a.Ports {
		words = append(words, p.Name)
	}
	*d.log = append(*d.log, strings.Join(words, " "))
	if d.name == "full" {
		return contract.Attached{}, errors.New("it is full")
	}
	at := contract.Attached{NetName: d.name, IfName: a.Network.IfName, Driver: "drawer", State: "of " + d.name, Args: strings.Join(a.Network.Args, ";")}
	if d.name == "wan" {
		at.Resolv = "nameserver 192.0.2.53\n"
	}
	return at, nil
}

func (d drawer) Del(_ context.Context, a *Attachment) error {
	*d.log = append(*d.log, "del "+d.name+" "+a.Network.IfName+" "+a.Attached.State)
	return nil
}

func testHost(t *testing.T) (h *Host, podDir string, log *[]string) {
	t.Helper()
	dir := t.TempDir()
	podDir = filepath.Join(dir, "pods", "run", string(uuid))
	if err := os.MkdirAll(podDir, 0o755); err != nil {
		t.Fatal(err)
	}
	log = new([]string)
	return &Host{DataDir: dir, Sources: []Source{shelf{[]string{"lan", "broken"}, log}, shelf{[]string{"lan", "wan", "full"}, log}}}, podDir, log
}

const uuid = pod.UUID("11111111-1111-4111-8111-111111111111")

func document4(names ...string) *contract.Pod {
	doc := &contract.Pod{Version: contract.Version, UUID: string(uuid), Network: contract.NetworkContained}
	for i, n := range names {
		doc.Networks = append(doc.Networks, contract.Network{Name: n, IfName: "eth" + string(rune('0'+i)), Args: []string{"K=" + n}})
	}
	return doc
}

func TestAttach(t *testing.T) {
	h, dir, log := testHost(t)
	if DataDir(dir) != h.DataDir {
		t.Errorf("data directory %s", DataDir(dir))
	}
	doc := document4("lan", "wan", "lan2")
	if _, err := h.Attach(t.Context(), dir, doc, nil); err == nil || err.Error() != `networks not found: "lan2"` || *log != nil {
		t.Errorf("%v, %q", err, *log)
	}
	doc = document4("lan", "wan")
	doc.Ports = []contract.Port{{Name: "http", Protocol: "tcp", HostPort: 80, PodPort: 80}}
	if _, err := h.Attach(t.Context(), dir, doc, nil); err != nil {
		t.Fatal(err)
	}
	state, err := ReadState(dir)
	if err != nil || len(state.Networks) != 2 || state.Networks[1].State != "of wan" || state.Released || state.Ports != nil {
		t.Errorf("%+v, %v", state, err)
	}
	if r := more(dir, nil, false); len(r) != 2 || r[0] != "" || r[1] != "nameserver 192.0.2.53\n" {
		t.Errorf("resolv.conf %q", r)
	}
	for range 2 { // the second time there is nothing to do
		if last, err := h.Release(t.Context(), dir, doc); err != nil || last != nil {
			t.Errorf("%v, %v", last, err)
		}
	}
	want := "add lan eth0 route; add wan eth1 route http; del wan eth1 of wan; del lan eth0 of lan"
	if got := strings.Join(*log, "; "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if state, err := ReadState(dir); err != nil || !state.Released || len(state.Networks) != 2 {
		t.Errorf("what was is not told any more: %+v, %v", state, err)
	}
}

// The default route is the first one's that has one, and a failure undoes what
// came before it.
func TestAttachFails(t *testing.T) {
	h, dir, log := testHost(t)
	_, err := h.Attach(t.Context(), dir, document4("wan", "lan", "full"), nil)
	if err == nil || err.Error() != `network "full": it is full` {
		t.Errorf("%v", err)
	}
	want := "add wan eth0 route; add lan eth1; add full eth2; del lan eth1 of lan; del wan eth0 of wan"
	if got := strings.Join(*log, "; "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := os.Lstat(filepath.Join(dir, contract.NetworkFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a state is left: %v", err)
	}
	*log = nil
	if _, err := h.Attach(t.Context(), dir, document4("wan", "broken"), nil); err == nil || err.Error() != `network "broken": its file is torn` || *log != nil {
		t.Errorf("%v, %q", err, *log)
	}
}

func TestAttachAll(t *testing.T) {
	h, dir, log := testHost(t)
	h.Sources = []Source{shelf{[]string{"lan"}, log}, shelf{[]string{"lan", "wan"}, log}}
	if _, err := h.Attach(t.Context(), dir, document4("all"), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(*log, "; "), "add lan eth0 route; add wan eth1 route"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A pod that died while it was attached has no state: all that it may hold is
// looked for.
func TestReleaseUnknown(t *testing.T) {
	h, dir, log := testHost(t)
	if _, err := h.Release(t.Context(), dir, document4("lan", "wan")); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(*log, "; "), "del lan eth0 ; del wan eth1 "; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if state, err := ReadState(dir); err != nil || !state.Released {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestAlive(t *testing.T) {
	dir := t.TempDir()
	p, err := lifecycle.Create(dir, uuid)
	if err != nil {
		t.Fatal(err)
	}
	if Alive(dir)(uuid) {
		t.Error("a pod that is being prepared holds nothing")
	}
	for _, phase := range []lifecycle.Phase{lifecycle.Run} {
		if err := p.ToFast(phase); err != nil {
			t.Fatal(err)
		}
	}
	if !Alive(dir)(uuid) {
		t.Error("a pod whose lock is held does not count as running")
	}
	p.Close()
	alive := Alive(dir)
	if alive(uuid) || alive(uuid) || alive("22222222-2222-4222-8222-222222222222") {
		t.Error("a pod whose lock nobody holds counts as running")
	}
}
