// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod"
)

const (
	one   = "11111111-1111-4111-8111-111111111111"
	two   = "22222222-2222-4222-8222-222222222222"
	three = "33333333-3333-4333-8333-333333333333"
)

func TestRegistry(t *testing.T) {
	reg, data := registry(t.TempDir()), t.TempDir()
	for _, m := range []member{{two, "eth0", data}, {one, "eth1", data}, {one, "eth1", data}, {three, "eth0", "/does/not/exist"}} {
		if err := reg.enter("n", m); err != nil {
			t.Fatal(err)
		}
	}
	// A pod is found in whatever phase it is.
	write(t, recordFile(filepath.Join(data, "pods", "run", one), "eth1"), "x")
	write(t, recordFile(filepath.Join(data, "pods", "exited-garbage", two), "eth0"), "x")
	valid, err := reg.valid("n")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]ValidAttachment{{one, "eth1"}, {two, "eth0"}}, valid); d != "" {
		t.Error(d)
	}
	all, err := reg.members("n")
	if err != nil || len(all) != 2 { // three had no record and was taken out
		t.Errorf("%v, %v", all, err)
	}
	for range 2 {
		if err := reg.leave("n", one, "eth1"); err != nil {
			t.Error(err)
		}
	}
	if all, err := reg.members("other"); err != nil || all != nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestLock(t *testing.T) {
	reg := registry(filepath.Join(t.TempDir(), "run"))
	first, err := reg.lock("n", flock.Shared)
	if err != nil {
		t.Fatal(err)
	}
	second, err := reg.lock("n", flock.Shared) // adds do not wait for each other
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(string(reg), "n.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := flock.TryLock(f, flock.Exclusive); err != flock.ErrBusy {
		t.Errorf("garbage is collected meanwhile: %v", err)
	}
	first()
	second()
	if err := flock.TryLock(f, flock.Exclusive); err != nil {
		t.Error(err)
	}
}

// TestOrphans: whose leases are nobody's.
func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	n, err := ParseSingle([]byte(`{"name":"n","type":"stub-a","trace":"` + dir + `/trace","ipam":{"type":"host-local","dataDir":"` + dir + `"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"10.0.0.2": one + "\r\neth0", "10.0.0.3": two + "\neth1\n", "10.0.0.4": three + "\r\n", "fd00::5": three + "\r\neth7",
		"10.0.0.6": strings.Repeat("ab", 32) + "\r\neth0", "10.0.0.7": "../../x\r\neth0", "10.0.0.8": three + "\r\na/b", "10.0.0.9": "",
		"last_reserved_ip.0": "10.0.0.9", "lock": "",
	} {
		write(t, filepath.Join(dir, "n", name), text)
	}
	leases, err := n.Leases()
	if err != nil || len(leases) != 5 {
		t.Errorf("%v, %v", leases, err)
	}
	src := &Source{Runner: *runner(t), Register: t.TempDir(), loaded: &Networks{List: []*Network{n}}}
	data := t.TempDir()
	write(t, recordFile(filepath.Join(data, "pods", "run", one), "eth0"), "x")
	if err := registry(src.Register).enter("n", member{one, "eth0", data}); err != nil {
		t.Fatal(err)
	}
	alive := func(id pod.UUID) bool { return id == two }
	orphans, err := src.Orphans(n, alive)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range orphans {
		got = append(got, l.Address.String()+" "+l.ContainerID+" "+l.IfName)
	}
	if d := cmp.Diff([]string{"10.0.0.4 " + three + " ", "fd00::5 " + three + " eth7"}, got); d != "" {
		t.Error(d)
	}
	if err := src.Collect(context.Background(), alive); err != nil {
		t.Error(err)
	}
	list := trace(t, filepath.Join(dir, "trace"))
	if got := calls(list); got != "stub-a DEL, stub-a DEL" {
		t.Fatalf("calls: %s", got)
	}
	if list[0].Env["CNI_IFNAME"] != "eth0" || list[1].Env["CNI_IFNAME"] != "eth7" || list[0].Env["CNI_CONTAINERID"] != three {
		t.Errorf("%v", list)
	}
	for name, spoil := range map[string]func(*Network){"foreign": func(n *Network) { n.Foreign = true }, "disableGC": func(n *Network) { n.DisableGC = true }} {
		other := *n
		spoil(&other)
		if orphans, err := src.Orphans(&other, alive); err != nil || orphans != nil {
			t.Errorf("%s: %v, %v", name, orphans, err)
		}
	}
}

// TestCutShort: a DEL that was cut short is asked again, and may then be done
// without a namespace; one that failed may not.
func TestCutShort(t *testing.T) {
	for begun, want := range map[int]string{
		0: "stub-b DEL, stub-a DEL",
		1: "stub-b DEL, stub-a DEL, stub-a DEL",
		2: "stub-b DEL, stub-b DEL, stub-a DEL",
	} {
		r := runner(t)
		n, file := chain(t, "1.0.0", map[string]string{"DEL": "fail"}, map[string]string{"DEL": "fail"})
		rec := record(n)
		mustPrepare(t, r, rec)
		rec.Deleting = begun
		var noted []int
		rec.keep = func() error { noted = append(noted, rec.Deleting); return nil }
		if err := r.Del(context.Background(), rec, "/proc/2/ns/net"); err == nil {
			t.Error("a DEL that failed is done")
		}
		if got := calls(trace(t, file)); got != want {
			t.Errorf("after %d: %s", begun, got)
		}
		if d := cmp.Diff([]int{2, 1, 0}, noted); d != "" {
			t.Error(d)
		}
	}
}

// TestDeletedOnce: a plugin that has given back is left alone when another has
// to be asked again.
func TestDeletedOnce(t *testing.T) {
	r := runner(t)
	n, file := chain(t, "1.0.0", nil, map[string]string{"DEL": "fail"}, nil)
	rec := record(n)
	mustPrepare(t, r, rec)
	for range 2 {
		if err := r.Del(context.Background(), rec, "/proc/2/ns/net"); err == nil {
			t.Error("a DEL that failed is done")
		}
		text, err := rec.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if rec, err = DecodeRecord(text); err != nil {
			t.Fatal(err)
		}
	}
	if got := calls(trace(t, file)); got != "stub-c DEL, stub-b DEL, stub-a DEL, stub-b DEL" {
		t.Errorf("calls: %s", got)
	}
}

// TestGranted: an address that was asked for and not given is an error, and
// what was done is undone.
func TestGranted(t *testing.T) {
	for name, ask := range map[string]func(*Record){
		"IP":  func(rec *Record) { rec.Args = [][2]string{{"IP", "10.0.0.9"}} },
		"MAC": func(rec *Record) { rec.Args = [][2]string{{"MAC", "02:00:00:00:00:99"}} },
		"ips": func(rec *Record) { _ = rec.Capabilities.Set(IPs, []string{"10.0.0.2", "fd00::9/64"}) },
	} {
		r := runner(t)
		n, file := chain(t, "1.0.0", nil, nil)
		rec := record(n)
		ask(rec)
		mustPrepare(t, r, rec)
		if _, err := r.Add(context.Background(), rec); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := calls(trace(t, file)); got != "stub-a ADD, stub-b ADD, stub-b DEL, stub-a DEL" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
