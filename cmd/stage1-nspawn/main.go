// SPDX-License-Identifier: Apache-2.0

// Command stage1-nspawn holds the entry points of the flavors host and coreos, by
// the first word of its arguments, and what runs in their pods; only rkt and
// systemd in a pod start it (internal/stage1/nspawn).
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/rkt/rkt/internal/stage1/appinit/entry"
	"github.com/rkt/rkt/internal/stage1/native"
	"github.com/rkt/rkt/internal/stage1/nspawn"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	word, rest := "", []string{}
	if len(args) > 0 {
		word, rest = args[0], args[1:]
	}
	status, err := 0, error(nil)
	switch {
	case word == nspawn.Host.Name:
		return entryPoints(nspawn.Host, rest)
	case word == nspawn.CoreOS.Name:
		return entryPoints(nspawn.CoreOS, rest)
	case word == "manifest" && len(rest) == 1 && rest[0] == nspawn.Host.Name:
		return entryPoints(nspawn.Host, args)
	case word == "manifest" && len(rest) == 1 && rest[0] == nspawn.CoreOS.Name:
		return entryPoints(nspawn.CoreOS, args)
	case word == "boot":
		err = nspawn.Boot(rest)
	case word == "app" && len(rest) == 1:
		status, err = nspawn.Service(rest[0])
	case word == "failed" && len(rest) == 1:
		err = nspawn.Failed(rest[0])
	case word == "off":
		nspawn.Off()
	default:
		err = errors.New("cannot start: this program is the flavors host and coreos of rkt's stage1; use rkt run --stage1-name=host")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
		status = 254
	}
	return status
}

func entryPoints(f nspawn.Flavor, args []string) int {
	return entry.Main(args, entry.Points{
		Run: f.Run, Enter: native.Enter, Stop: nspawn.Stop, GC: nspawn.GC,
		Pause: native.Pause, Resume: native.Resume, Manifest: f.Manifest,
	})
}
