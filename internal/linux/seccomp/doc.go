// SPDX-License-Identifier: Apache-2.0

// Package seccomp makes system call filters: a Policy compiles to a classic
// BPF Program for seccomp(2).
//
//	f := seccomp.Filter(app.Seccomp)          // what the user asked for
//	prog, err := seccomp.ForApp(f, uint64(caps))   // nil: no filter
//	fprog := prog.Fprog()                     // for the child to install, or
//	err = seccomp.Install(prog, 0)            // on this thread
//
// Default is the profile of apps that ask for nothing; docs/seccomp.md says
// what is in it and why. ParseProfile and ForProfile read and compile profiles
// of Docker's, podman's and the OCI's form.
//
// Nothing is set up at program start, and Compile takes some 20 microseconds:
// it runs at each start of an app whose filter is not the usual one.
package seccomp
