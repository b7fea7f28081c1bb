// SPDX-License-Identifier: Apache-2.0

// Command join takes the process that executes it into a user namespace and
// executes another program in its place. A Go program cannot do that: a process
// must have one thread for it (setns(2)), and Go's runtime has several before
// main. So this program's first instruction is not the runtime's but enter's
// (enter_*.s), by the linker's flag -E, and the runtime never starts.
//
//	join                              waits for the end of its standard input, and ends
//	join FD PROGRAM ARGV0 [ARG…]      joins the user namespace in descriptor FD,
//	                                  makes a mount namespace in it, executes PROGRAM
//
// It has no privilege, looks at no environment and no file, and does for nobody
// what they cannot do without it: the kernel lets into a user namespace who owns
// it or is root above it. docs/decisions/0009-rootless.md tells what it is for.
package main

import "os"

// enter is where the program begins. It does not return.
func enter()

func main() {
	// Linked without -E.
	os.Stderr.WriteString("join: this program was not built by rkt's Makefile, and cannot work\n")
	os.Exit(254)
}
