// SPDX-License-Identifier: Apache-2.0

// Command stage1-kvm holds the entry points of the kvm flavor; only rkt starts it
// (internal/stage1/contract).
package main

import (
	"os"

	"github.com/rkt/rkt/internal/stage1/appinit/entry"
	"github.com/rkt/rkt/internal/stage1/kvm"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "keep" { // the flavor's own
		os.Exit(entry.Exit(kvm.Keep(os.Args[2:])))
	}
	run := func() (int, error) { return kvm.Run(os.Args[2:]) }
	os.Exit(entry.Main(os.Args[1:], entry.Points{
		Run: run, Enter: kvm.Enter, Stop: kvm.Stop, GC: kvm.GC, Manifest: kvm.Manifest,
	}))
}
