// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rkt/rkt/test/rkt"
)

// TestNetworkParallel: 200 pods start on one network side by side, all run at
// the same time, and end side by side. No address is given twice, and nothing is
// left.
func TestNetworkParallel(t *testing.T) {
	w := newWorld(t)
	const pods = 200
	dir := t.TempDir() // each pod writes its address there, and waits for "go"
	script := `ip -4 -o addr show dev eth0 | while read n i f a rest; do echo ${a%/*} > /meet/$NAME; done
ip -6 -o addr show dev eth0 scope global | while read n i f a rest; do echo ${a%/*} > /meet/$NAME.6; done
while ! test -e /meet/go; do sleep 0.2; done`
	results := make([]rkt.Result, pods)
	var all sync.WaitGroup
	gate := make(chan struct{}, 8) // so many at once: more only wait for the machine
	var started sync.WaitGroup
	for i := range pods {
		started.Add(1)
		all.Go(func() {
			gate <- struct{}{}
			name := strconv.Itoa(i)
			args := []string{"run", "--volume=meet,kind=host,source=" + dir, "--set-env=NAME=" + name}
			if i%10 == 0 {
				args = append(args, "--port=web:tcp:80:"+strconv.Itoa(20000+i))
			}
			args = append(append(args, w.id, "--mount=volume=meet,target=/meet"), sh(script)...)
			go func() {
				defer started.Done()
				for until := time.Now().Add(rkt.Patience); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
					if b, err := os.ReadFile(filepath.Join(dir, name+".6")); err == nil && len(b) > 0 {
						break
					}
				}
				<-gate
			}()
			results[i] = w.h.Rkt(args...)
		})
	}
	started.Wait()
	held := w.leases()
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if want := 2*pods + pods/10; len(held) != want {
		t.Errorf("while all run, %d leases are held, want %d", len(held), want)
	}
	seen := map[string]int{}
	for i, r := range results {
		if r.Status != 0 {
			t.Errorf("pod %d: status %d\n%s", i, r.Status, r.Stderr)
		}
		for _, suffix := range []string{"", ".6"} {
			b, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(i)+suffix))
			ip := strings.TrimSpace(string(b))
			if other, twice := seen[ip]; twice || ip == "" {
				t.Errorf("pods %d and %d have address %q", other, i, ip)
			}
			seen[ip] = i
		}
	}
	w.nothingLeft()
}
