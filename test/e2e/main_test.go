// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e runs rkt as its users do: the programs as they are installed,
// as root, with real software in the pods. `make e2e`.
package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/registry"
	"github.com/rkt/rkt/test/rkt"
)

var install rkt.Install

func TestMain(m *testing.M) {
	rkt.Download("stage1-kvm")
	os.Exit(rkt.Apart(func() int { return run(m) }))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test skips itself, with the reason
	}
	// In tools/vm's machine there is no Go to build with.
	if dir := os.Getenv("RKT_TEST_INSTALL"); dir != "" {
		install = rkt.Install{Dir: dir}
		return m.Run()
	}
	return rkt.WithInstall("rkt-e2e-install-", func(made rkt.Install) int {
		install = made
		return m.Run()
	})
}

// host is an empty data directory.
func host(t *testing.T) *rkt.Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	return rkt.New(t, install)
}

// image is a reference to one of the images in the tests' OCI layout.
func image(t *testing.T, ref string) string {
	t.Helper()
	dir, err := images.Layout()
	if err != nil {
		t.Skipf("%v", err)
	}
	return "oci:" + dir + ":" + ref
}

// serve starts a registry with the named images in it, as name:latest.
func serve(t *testing.T, refs ...string) *registry.Server {
	t.Helper()
	s, err := registry.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for _, ref := range refs {
		dir := strings.TrimSuffix(strings.TrimPrefix(image(t, ref), "oci:"), ":"+ref)
		if err := s.Push(dir, ref, ref+":latest"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// sh are the arguments after the image that run a script in the tiny image.
func sh(script string) []string { return []string{"--exec=/bin/sh", "--", "-c", script} }

// tiny runs a script as the only app of a pod on the host's network, with
// flags before and after the image.
func tiny(t *testing.T, h *rkt.Host, podFlags, appFlags []string, script string) rkt.Result {
	t.Helper()
	return h.Rkt(tinyArgs(t, h, podFlags, appFlags, script)...)
}

func tinyArgs(t *testing.T, h *rkt.Host, podFlags, appFlags []string, script string) []string {
	t.Helper()
	args := append([]string{"run", "--net=host"}, podFlags...)
	args = append(append(args, tinyID(t, h)), appFlags...)
	return append(args, sh(script)...)
}

// tinyID fetches the tiny image and returns its ID: what runs it then prints
// nothing but what the app does.
func tinyID(t *testing.T, h *rkt.Host) string {
	t.Helper()
	return h.Must("fetch", "--full", image(t, images.Tiny)).Out()
}

// startTiny starts such a pod and waits until the script has said "ready". It
// returns the pod's UUID.
func startTiny(t *testing.T, h *rkt.Host, podFlags, appFlags []string, script string) (*rkt.Process, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "uuid")
	p := h.Start(tinyArgs(t, h, append([]string{"--uuid-file-save=" + file}, podFlags...), appFlags, script)...)
	p.Expect("ready")
	return p, readUUID(t, file)
}

func readUUID(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// field is the value of key in the output of rkt status.
func field(status, key string) string {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return v
		}
	}
	return ""
}
