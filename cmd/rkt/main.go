// SPDX-License-Identifier: Apache-2.0

// The runtime would look for a CPU limit, in four files, before main: a tenth of
// a millisecond, for a program that has two threads' work for some more.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command rkt runs container images as pods.
package main

import (
	"os"

	"github.com/rkt/rkt/internal/cli"
	"github.com/rkt/rkt/internal/ui"
)

func main() { os.Exit(cli.Run(os.Args[1:], ui.Std())) }
