// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// hostile gives a link what a guest says, and returns what comes of it.
func hostile(t *testing.T, frames ...wire.Frame) error {
	t.Helper()
	events, err := poddir.OpenEvents(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{doc: &contract.Pod{Apps: []contract.App{{Name: "app"}}}, events: events, keeper: 42, noted: map[string]string{}, killed: map[string]int{}}
	l := &link{w: wire.NewWriter(io.Discard), event: r.event, greeted: make(chan wire.Greeting, 1), entered: map[uint32]*caller{}}
	l.setPod(newSession(l.w, podChannel, "", nil, false, false))
	var b []byte
	for _, f := range frames {
		b = f.Append(b)
	}
	return l.hear(wire.NewReader(bytes.NewReader(b), wire.MaxPayload))
}

// TestHostileGuest: what is not by the protocol ends the machine; what is does not.
func TestHostileGuest(t *testing.T) {
	hello := wire.Frame{Kind: wire.Hello, Payload: (&wire.Greeting{Version: 1}).Encode()}
	started := wire.Frame{Kind: wire.Started, Channel: podChannel}
	exited := wire.Frame{Kind: wire.Exited, Channel: podChannel, Payload: []byte{3}}
	data := func(stream byte, n int) wire.Frame {
		return wire.Frame{Kind: wire.Data, Channel: podChannel, Stream: stream, Payload: make([]byte, n)}
	}
	event := func(line string) wire.Frame { return wire.Frame{Kind: wire.Event, Payload: []byte(line)} }
	flood := []wire.Frame{hello, started}
	for range wire.Window/wire.MaxPayload + 1 {
		flood = append(flood, data(1, wire.MaxPayload))
	}
	for name, frames := range map[string][]wire.Frame{
		"no greeting":                  {started},
		"two greetings":                {hello, hello},
		"a greeting of nothing":        {{Kind: wire.Hello}},
		"a frame for nobody":           {hello, {Kind: wire.Started, Channel: 99}},
		"output of what does not run":  {hello, data(1, 1)},
		"an end of what does not run":  {hello, exited},
		"two ends":                     {hello, started, exited, exited},
		"output after the end":         {hello, started, exited, data(1, 1)},
		"output on standard input":     {hello, started, data(0, 1)},
		"more than there is room for":  flood,
		"room for what was never sent": {hello, started, {Kind: wire.Credit, Channel: podChannel, Payload: wire.Number(1)}},
		"a host's frame":               {hello, started, {Kind: wire.Signal, Channel: podChannel, Payload: []byte{9}}},
		"an event of no app":           {hello, event("started other 1 1\n")},
		"an end before a start":        {hello, event("exited app 1 1\n")},
		"two starts":                   {hello, event("started app 1 1\n"), event("started app 1 1\n")},
		"an event before the greeting": {event("started app 1 1\n")},
		"a count that is told twice":   {hello, event("started app 1 1\n"), event("oom app 2 1\n"), event("oom app 3 1\n")},
		"lives after its end":          {hello, event("started app 1 1\n"), event("exited app 1 1\n"), event("exited app 1 1\n")},
	} {
		if err := hostile(t, frames...); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := hostile(t, hello, started, event("run 1 1\n"), event("init 2 1\n"), event("started app 5 1\n"), data(1, 5), event("exited app 3 1\n"), exited); err != io.EOF {
		t.Errorf("what keeps to the protocol: %v", err)
	}
}

// TestEvents: pids and times are the host's own.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	f, err := poddir.OpenEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{doc: &contract.Pod{Apps: []contract.App{{Name: "app"}}}, events: f, keeper: 42, noted: map[string]string{}, killed: map[string]int{}}
	for _, line := range []string{"run 1 1\n", "init 1 1\n", "users 1 2 3\n", "started app 1 1\n", "oom app 2 1\n", "exited app 259 1\n"} {
		if err := r.event(line); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	text, err := os.ReadFile(dir + "/" + contract.EventsFile)
	if err != nil {
		t.Fatal(err)
	}
	e := contract.ParseEvents(string(text))
	a := e.Apps["app"]
	if e.Run != 0 || e.Init != 0 || e.Users.Private() || a.PID != 42 || a.OOMKills != 2 || a.Status != 3 || a.Started.Unix() < 1e9 {
		t.Errorf("%s", text)
	}
}

// TestCaller: frames reach a caller of enter under its own number, one that reads
// nothing holds nothing up, and a guest cannot fill the host's memory for it.
func TestCaller(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	c := newCaller(pair[1])
	for range wire.Window / wire.MaxPayload {
		if err := c.give(wire.Frame{Kind: wire.Data, Channel: 9, Stream: 1, Payload: make([]byte, wire.MaxPayload)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.give(wire.Frame{Kind: wire.Data, Channel: 9, Stream: 1, Payload: []byte("x")}); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("more than the window: %v", err)
	}
	for i := 0; ; i++ {
		if err = c.give(wire.Frame{Kind: wire.End, Channel: 9, Stream: 1}); err != nil || i > 2*maxQueue {
			break
		}
	}
	if !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("frames without end: %v", err)
	}
	f, err := wire.NewReader(endpoint(pair[0]), wire.MaxPayload).Read()
	if err != nil || f.Channel != podChannel || len(f.Payload) != wire.MaxPayload {
		t.Errorf("channel %d, %d bytes, %v", f.Channel, len(f.Payload), err)
	}
	c.leave()
}

// TestGuestDocument: the guest learns of no path of the host's.
func TestGuestDocument(t *testing.T) {
	secret := "/host/secret"
	doc := &contract.Pod{Version: 1, UUID: "u", Flavor: secret, Cgroup: secret, Controllers: map[string]string{"memory": secret, "devices": secret},
		Network: contract.NetworkContained, NetworkConfig: []string{secret}, NetworkShared: []string{secret}, NetworkPlugins: []string{secret}, NetworkProgram: secret,
		Apps: []contract.App{{Name: "a", Layers: []string{secret}, Upper: secret, Work: secret, Mounts: []contract.Mount{
			{Volume: "k", Keep: true, Target: "/k"}, {Volume: "v", Source: secret, Target: "/v"}}},
			{Name: "b", Mounts: []contract.Mount{{Volume: "w", Source: secret, Target: "/w"}}}}}
	g := guestDocument(doc)
	if text := string(g.Encode()); strings.Contains(text, secret) {
		t.Error(text)
	}
	if g.Apps[0].Mounts[1].Source != "/share/volumes/0/." || g.Apps[1].Mounts[0].Source != "/share/volumes/1/." || g.Apps[0].Mounts[0].Source != "" {
		t.Errorf("%+v", g.Apps)
	}
	if len(g.Controllers) != 1 || g.Controllers["memory"] != g.Cgroup {
		t.Errorf("%v", g.Controllers)
	}
	if doc.Apps[0].Mounts[1].Source != secret || doc.Cgroup != secret {
		t.Error("the host's own has changed")
	}
}

func TestSize(t *testing.T) {
	app := func(memory, cpu int64) contract.App {
		return contract.App{Limits: contract.Limits{Memory: memory, CPU: cpu}}
	}
	for name, c := range map[string]struct {
		doc    contract.Pod
		memory int64 // MiB
		cpus   int
	}{
		"no limits":         {contract.Pod{Apps: []contract.App{app(0, 0), app(0, 0)}}, 618, 1},
		"the least":         {contract.Pod{Apps: []contract.App{app(1, 1)}}, 160, 1},
		"apps' limits":      {contract.Pod{Apps: []contract.App{app(256<<20, 500), app(512<<20, 500)}}, 878, 1},
		"one without":       {contract.Pod{Apps: []contract.App{app(256<<20, 0), app(0, 0)}}, 878, 1},
		"the pod's":         {contract.Pod{Limits: contract.Limits{Memory: 1 << 30, CPU: 1}, Apps: []contract.App{app(256<<20, 9000)}}, 1138, 1},
		"not a whole of it": {contract.Pod{Apps: []contract.App{app(256<<20+1, 1)}}, 358, 1},
	} {
		if m := memory(&c.doc); m%mebibyte != 0 || m/mebibyte != c.memory {
			t.Errorf("%s: %d MiB, want %d", name, m/mebibyte, c.memory)
		}
		if n := cpus(&c.doc); n != c.cpus {
			t.Errorf("%s: %d processors, want %d", name, n, c.cpus)
		}
	}
	if n := cpus(&contract.Pod{Apps: []contract.App{app(0, 1e9)}}); n < 1 || n > 4096 {
		t.Errorf("%d processors", n)
	}
}

func TestPrintable(t *testing.T) {
	if s := printable([]byte("a\x1b[2Jb\nc\xff")); s != "a?[2Jb?c?" {
		t.Errorf("%q", s)
	}
}
