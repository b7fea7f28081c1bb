// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package systemd runs rkt on a systemd host, as services and from a shell.
package systemd

import (
	"os"
	"testing"

	"github.com/rkt/rkt/test/systemdhost"
)

var booted *systemdhost.Host

func TestMain(m *testing.M) {
	os.Exit(systemdhost.Run(func(h *systemdhost.Host) int {
		booted = h
		return m.Run()
	}))
}

// image is a reference to one of the tests' images in the host.
func image(ref string) string { return "oci:" + systemdhost.Images + ":" + ref }

// tiny fetches the tiny image, and returns its ID.
func tiny(s *systemdhost.Session) string {
	return s.Must("rkt", "--insecure-options=image", "fetch", "--full", image("tiny")).Out()
}
