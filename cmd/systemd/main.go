// SPDX-License-Identifier: Apache-2.0

// Command systemd speaks to systemd and systemd-machined on behalf of rkt and its
// flavors, which alone start it (package internal/pod/systemd). It is apart
// because it knows D-Bus.
//
//	systemd register LEADER CLASS    the pod of the working directory is a machine
//	systemd unregister               it is none any more
//	systemd scope UUID SECONDS       the caller is in a scope of that pod's
//
// It ends with status 3 if that is nothing for this pod or this host.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/systemd"
)

func main() {
	err := run(os.Args[1:])
	if errors.Is(err, systemd.ErrNotHere) {
		os.Exit(3)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rkt: systemd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 3 && args[0] == "register" && (args[2] == "container" || args[2] == "vm") {
		leader, err := strconv.Atoi(args[1])
		if err != nil || leader < 2 {
			return fmt.Errorf("cannot register process %q: no process has that number", args[1])
		}
		id, err := here()
		if err != nil {
			return err
		}
		return systemd.Register(id, leader, os.Getppid(), args[2])
	}
	if len(args) == 1 && args[0] == "unregister" {
		id, err := here()
		if err != nil {
			return err
		}
		return systemd.Unregister(id)
	}
	if len(args) == 3 && args[0] == "scope" {
		id, err := pod.ParseUUID(args[1])
		if err != nil {
			return err
		}
		stop, err := strconv.Atoi(args[2])
		if err != nil || stop < 1 {
			return fmt.Errorf("cannot make a scope: %q is no time", args[2])
		}
		return systemd.Scope(id, os.Getppid(), time.Duration(stop)*time.Second)
	}
	return errors.New("cannot run: this program is started by rkt")
}

// here is the pod of the working directory.
func here() (pod.UUID, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return pod.ParseUUID(filepath.Base(dir))
}
