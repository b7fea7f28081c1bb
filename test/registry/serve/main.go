// SPDX-License-Identifier: Apache-2.0

// Command serve is the tests' registry as a program of its own, to try things
// by hand. It prints its address and runs until it is interrupted.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/rkt/rkt/test/registry"
)

func main() {
	dir := flag.String("dir", "", "`directory` for blobs (must exist)")
	flag.Parse()
	s, err := registry.Start(*dir)
	if err != nil {
		fmt.Fprintf(os.Stderr, "serve: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(s.Addr)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	_ = s.Close()
}
