// SPDX-License-Identifier: Apache-2.0

// Command stage1-fly holds the entry points of the fly flavor; only rkt starts it
// (internal/stage1/contract).
package main

import (
	"os"

	"github.com/rkt/rkt/internal/stage1/appinit/entry"
	"github.com/rkt/rkt/internal/stage1/fly"
)

func main() {
	os.Exit(entry.Main(os.Args[1:], entry.Points{
		Run: fly.Run, Enter: fly.Enter, Stop: fly.Stop, GC: fly.GC, Manifest: fly.Manifest,
	}))
}
