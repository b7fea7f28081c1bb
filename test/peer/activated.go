// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

// activated serves on what it was given, and says of that what it can see.
func activated() error {
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("LISTEN_PID=%q, and this is process %d", pid, os.Getpid())
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return err
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if len(names) != n {
		return fmt.Errorf("%d sockets, and names %q", n, names)
	}
	failed := make(chan error)
	for i, name := range names {
		f := os.NewFile(uintptr(3+i), name)
		if l, err := net.FileListener(f); err == nil {
			go func() { failed <- greet(l, name) }()
		} else if c, err := net.FilePacketConn(f); err == nil {
			go func() { failed <- echo(c, name) }()
		} else {
			return err
		}
	}
	fmt.Println("ready", strings.Join(names, ":"))
	return <-failed
}

func greet(l net.Listener, name string) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, name)
		_ = c.Close()
	}
}

func echo(c net.PacketConn, name string) error {
	buf := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if from != nil {
			_, _ = c.WriteTo([]byte(name), from)
		}
	}
}
