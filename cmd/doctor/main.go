// SPDX-License-Identifier: Apache-2.0

// Command doctor looks what of rkt works on this machine; `rkt doctor` executes
// it. It is apart because it knows netlink, nftables and KVM, which bin/rkt must
// not pay for.
//
//	doctor examine FORMAT DATADIR CONFIGDIR… KEY=DIR…    KEY as for the program network
//	doctor try NAME …        one attempt, in namespaces that were made for it
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/doctor"
)

func main() {
	lacking, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if lacking != nil {
		fmt.Fprintln(os.Stderr, "doctor: cannot run pods: missing here: "+strings.Join(lacking, ", "))
		os.Exit(254)
	}
}

func run(args []string) (lacking []string, err error) {
	switch {
	case len(args) == 2 && args[0] == "try" && args[1] == "wait": // as long as somebody needs its namespaces
		_, err := io.Copy(io.Discard, os.Stdin)
		return nil, err
	case len(args) >= 2 && args[0] == "try":
		said, err := doctor.Try(args[1], args[2:])
		if err == nil && said != "" {
			fmt.Println(said)
		}
		return nil, err
	case len(args) >= 3 && args[0] == "examine" && filepath.IsAbs(args[2]):
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		m := &doctor.Machine{DataDir: args[2], Exe: exe, Dev: "/dev", UID: os.Geteuid(), Path: os.Getenv("PATH")}
		for _, arg := range args[3:] {
			if strings.HasPrefix(arg, "/") {
				m.Config = append(m.Config, arg)
			} else {
				m.Networks = append(m.Networks, arg)
			}
		}
		return doctor.Main(m, args[1], os.Stdout)
	}
	return nil, errors.New("doctor: cannot run: this program is started by rkt doctor")
}
