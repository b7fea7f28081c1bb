// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/stage1/contract"
)

const mebibyte = 1 << 20

// Sizes of machines.
const (
	// overhead is what the guest's kernel and rkt's part in it take, beside a
	// sixty-fourth of all, which the kernel needs to keep account of it.
	overhead = 96 * mebibyte
	// unlimited is for all apps together that have no limit.
	unlimited = 512 * mebibyte
	// least is the smallest machine that boots.
	least = 160 * mebibyte
	// largest is more than any host has, and far from where sums overflow.
	largest = 1 << 56
)

// memory is how much a pod's machine has, in bytes, a multiple of MiB: what its apps
// may use, and what the guest needs itself.
func memory(doc *contract.Pod) int64 {
	n := together(doc, func(l *contract.Limits) int64 { return l.Memory }, unlimited) + overhead
	n += n / 64
	return (max(n, least) + mebibyte - 1) / mebibyte * mebibyte
}

// fits refuses a machine with more memory than the host's.
func fits(doc *contract.Pod) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return os.NewSyscallError("sysinfo", err)
	}
	host := int64(min(info.Totalram, largest/uint64(info.Unit))) * int64(info.Unit)
	if n := memory(doc); n > host {
		return hint.Wrap(fmt.Errorf("cannot run pod %s: its virtual machine needs %d MiB of memory, and the host has %d", doc.UUID, n/mebibyte, host/mebibyte),
			"give its apps lower limits of memory")
	}
	return nil
}

// cpus is how many processors a pod's machine has: as many as its apps may use,
// rounded up, one for all without a limit, and not more than the host has.
func cpus(doc *contract.Pod) int {
	n := together(doc, func(l *contract.Limits) int64 { return l.CPU }, 1000)
	return max(1, min(int((n+999)/1000), runtime.NumCPU()))
}

// together is the pod's limit of something, or what its apps may use together, with
// free for all that have no limit; at most largest.
func together(doc *contract.Pod, limit func(*contract.Limits) int64, free int64) int64 {
	n := limit(&doc.Limits)
	if n == 0 {
		more := int64(0)
		for i := range doc.Apps {
			if l := limit(&doc.Apps[i].Limits); l > 0 {
				n = min(n, largest) + min(l, largest)
			} else {
				more = free
			}
		}
		n += more
	}
	return min(n, largest)
}
