// SPDX-License-Identifier: Apache-2.0

// Command kvm-init is all that runs of rkt's in a virtual machine of the kvm flavor:
// its first process, and the pod's in it (internal/stage1/kvm/guest). It is in the
// initramfs, and of no use elsewhere.
package main

import (
	"os"

	"github.com/rkt/rkt/internal/stage1/appinit/entry"
	"github.com/rkt/rkt/internal/stage1/kvm/guest"
	"github.com/rkt/rkt/internal/stage1/native"
)

func main() {
	if os.Getpid() == 1 && (len(os.Args) < 2 || os.Args[1] != "init") { // the kernel passes on words it does not know
		guest.Main()
		return
	}
	os.Exit(entry.Main(os.Args[1:], entry.Points{
		Init: native.Init, Run: guest.Pod, Enter: guest.Enter, Stop: native.Stop, GC: native.GC,
		Manifest: native.Manifest,
	}))
}
