// SPDX-License-Identifier: Apache-2.0

// Command stage1-native holds the entry points of the native flavor; only rkt
// starts it (internal/stage1/contract).
package main

import (
	"os"

	"github.com/rkt/rkt/internal/stage1/appinit/entry"
	"github.com/rkt/rkt/internal/stage1/native"
)

func main() {
	os.Exit(entry.Main(os.Args[1:], entry.Points{
		Init: native.Init, Run: native.Run, Enter: native.Enter, Stop: native.Stop, GC: native.GC,
		Pause: native.Pause, Resume: native.Resume, Manifest: native.Manifest,
	}))
}
