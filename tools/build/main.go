// SPDX-License-Identifier: Apache-2.0

// Command build compiles rkt's programs into a directory, as `make build` does.
// tools/programs is their list.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/rkt/rkt/tools/programs"
)

func main() {
	out := flag.String("o", "build", "the `directory` to fill")
	var o programs.Options
	flag.StringVar(&o.Version, "version", "", "what the programs say of themselves")
	flag.StringVar(&o.Prefix, "prefix", "", "the `directory` in which they will be installed")
	flag.StringVar(&o.Arch, "arch", "", "the architecture, in Go's words; this machine's if empty")
	flag.StringVar(&o.Tags, "tags", "", "build tags, such as failpoint")
	flag.Parse()
	if err := programs.Build(".", *out, o); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}
