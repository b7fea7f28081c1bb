// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/pod/network/lease"
	"github.com/rkt/rkt/internal/pod/network/names"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// serveNames makes the pod's resolver ready.
func (d *driver) serveNames(a *network.Attachment, attached *contract.Attached) error {
	b := &book{dataDir: d.in.DataDir, leases: lease.Look(filepath.Join(Dir(d.in.DataDir), d.name, "leases")), hosts: map[pod.UUID]string{}}
	r, err := names.Listen(a.NetNS, b.lookup)
	if err != nil {
		return err
	}
	a.Serve = func(ctx context.Context) { r.Serve(ctx) }
	attached.Resolv = names.Resolv
	return nil
}

// book knows the pods of one network by their host names. It reads what is there
// anyway, the leases and the pods' documents: nobody has to tell it anything.
type book struct {
	dataDir string
	leases  lease.Kind

	mu    sync.Mutex
	hosts map[pod.UUID]string // names do not change; "" is none
}

// maxHosts bounds what is remembered of pods that may have ended.
const maxHosts = 4096

// lookup implements names.Lookup.
func (b *book) lookup(name string) (addresses []netip.Addr, ok bool) {
	list, err := b.leases.Names()
	if err != nil {
		return nil, false
	}
	alive := network.Alive(b.dataDir)
	for _, text := range list {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		h, err := b.leases.Holder(text)
		if err == nil && strings.EqualFold(b.host(h.UUID), name) && alive(h.UUID) {
			addresses = append(addresses, a)
		}
	}
	return addresses, addresses != nil
}

// host is a pod's host name.
func (b *book) host(id pod.UUID) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if host, ok := b.hosts[id]; ok {
		return host
	}
	text, err := os.ReadFile(filepath.Join(lifecycle.RunDir(b.dataDir, id), contract.File))
	if err != nil {
		return ""
	}
	doc, err := contract.Decode(text)
	if err != nil {
		return ""
	}
	if len(b.hosts) >= maxHosts {
		clear(b.hosts)
	}
	b.hosts[id] = doc.Hostname
	return doc.Hostname
}
