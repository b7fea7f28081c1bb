// SPDX-License-Identifier: Apache-2.0

// Command peer is one end of a conversation in network tests, inside a pod or
// outside; static, so that it runs in any image.
//
//	peer serve PROTOCOL:ADDRESS…   answer everyone with their own address
//	peer ask PROTOCOL:ADDRESS      print what the other side answers
//	peer activated                 answer on the sockets of sd_listen_fds(3), with the names that they have
//
// PROTOCOL is tcp, udp or sctp.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

const patience = 3 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "activated" {
		return activated()
	}
	if len(args) < 2 {
		return errors.New("want serve or ask, and PROTOCOL:ADDRESS")
	}
	if args[0] == "ask" {
		answer, err := ask(args[1])
		if err == nil {
			fmt.Println(answer)
		}
		return err
	}
	failed := make(chan error)
	for _, a := range args[1:] {
		serve, err := listen(a)
		if err != nil {
			return err
		}
		go func() { failed <- serve() }()
	}
	fmt.Println("ready")
	return <-failed
}

// host is an address without port, as one writes it.
func host(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	return ap.Addr().Unmap().String()
}

func listen(where string) (serve func() error, err error) {
	protocol, address, _ := strings.Cut(where, ":")
	if protocol == "udp" {
		c, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, err
		}
		return func() error {
			buf := make([]byte, 1500)
			for {
				_, from, err := c.ReadFrom(buf)
				if err != nil {
					return err
				}
				if _, err := c.WriteTo([]byte(host(from)), from); err != nil {
					return err
				}
			}
		}, nil
	}
	var l net.Listener
	if protocol == "sctp" {
		l, err = sctpListener(address)
	} else {
		l, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return func() error {
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			if protocol == "sctp" { // closed before the question is there, it would abort
				_, _ = c.Read(make([]byte, 1500))
			}
			_, _ = io.WriteString(c, host(c.RemoteAddr()))
			_ = c.Close()
		}
	}, nil
}

func ask(where string) (string, error) {
	protocol, address, _ := strings.Cut(where, ":")
	var c net.Conn
	var err error
	if protocol == "sctp" {
		c, err = sctpDial(address)
	} else {
		c, err = net.DialTimeout(protocol, address, patience)
	}
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "who am I?"); err != nil {
		return "", err
	}
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}
