// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
)

// TestScriptsRelyOnIt is the form of command line that the issue promises.
func TestScriptsRelyOnIt(t *testing.T) {
	h := host(t)
	r := h.Rkt("run", "--net=host", image(t, images.Tiny), "--user=12", "--name=seven", "--exec=/bin/sh", "--", "-c", "exit 7")
	if r.Status != 7 {
		t.Fatalf("exit status %d, want 7\n%s", r.Status, r.Stderr)
	}
	pods := h.Pods()
	if len(pods) != 1 {
		t.Fatalf("pods in the data directory: %q, want one", pods)
	}
	list := h.Must("list", "--no-legend", "--full").Stdout
	if !strings.HasPrefix(list, pods[0]) {
		t.Errorf("rkt list --no-legend --full = %q, want it to start with %s", list, pods[0])
	}
	status := h.Must("status", pods[0]).Stdout
	if !strings.HasPrefix(status, "state=exited\n") {
		t.Errorf("rkt status = %q, want state=exited first", status)
	}
	if got := field(status, "app-seven"); got != "7" {
		t.Errorf("app-seven=%q in %q, want 7", got, status)
	}
}

// TestErrorsAreOneLine: "cannot <verb> <object>: <cause>", once, with status
// 254 and nothing on stdout.
func TestErrorsAreOneLine(t *testing.T) {
	h := host(t)
	voice := regexp.MustCompile(`(?m)^(\S+ ?\S*: )?cannot \S+ .*: .*`)
	for _, args := range [][]string{
		{"run", "oci:/does/not/exist:x"},
		{"run", "docker://127.0.0.1:1/none"},
		{"run", "--no-such-flag", "oci:/x:y"},
		{"run", image(t, images.Tiny), "--exec=/does/not/exist"},
		{"run", image(t, images.Tiny), "--user=nobody-we-know", "--exec=/bin/true"},
		{"run", "--net=bridge", image(t, images.Tiny), "--exec=/bin/true"},
		{"run", "--volume=v,kind=host,source=/does/not/exist", image(t, images.Tiny), "--mount=volume=v,target=/v", "--exec=/bin/true"},
		{"run", image(t, images.Tiny), "--mount=volume=dangling,target=/v", "--exec=/bin/true"},
		{"run", image(t, images.Tiny), "--exec=/bin/true", image(t, images.Tiny), "--exec=/bin/true"},
		{"status", "00000000-0000-0000-0000-000000000000"},
		{"enter", "00000000-0000-0000-0000-000000000000", "/bin/true"},
		{"rm", "00000000-0000-0000-0000-000000000000"},
		{"image", "rm", "sha256-0000"},
	} {
		r := h.Rkt(args...)
		if r.Status != 254 {
			t.Errorf("rkt %s: exit status %d, want 254", strings.Join(args, " "), r.Status)
		}
		if r.Stdout != "" {
			t.Errorf("rkt %s: on stdout %q, want nothing", strings.Join(args, " "), r.Stdout)
		}
		// One line, wrapped at most once; progress and hints are lines of their own.
		lines := errorLines(r.Stderr)
		if len(lines) != 1 || strings.Count(r.Stderr, "cannot ") > 2 || !voice.MatchString(r.Stderr) {
			t.Errorf("rkt %s: stderr %q, want one line \"cannot <verb> <object>: <cause>\"", strings.Join(args, " "), r.Stderr)
		}
	}
}

// TestUnverifiedImageIsRefused: without --insecure-options=image, nothing
// unverified runs, and the user is told what to do about it.
func TestUnverifiedImageIsRefused(t *testing.T) {
	h := host(t)
	var flags []string
	for _, f := range h.Flags {
		if !strings.HasPrefix(f, "--insecure-options") {
			flags = append(flags, f)
		}
	}
	h.Flags = flags
	r := h.Rkt(append([]string{"run", "--net=host", image(t, images.Tiny)}, sh("echo ran")...)...)
	if r.Status != 254 || strings.Contains(r.Stdout, "ran") {
		t.Fatalf("an unverified image: exit status %d, stdout %q", r.Status, r.Stdout)
	}
	if !strings.Contains(r.Stderr, "--insecure-options=image") {
		t.Errorf("stderr %q does not name --insecure-options=image", r.Stderr)
	}
	// It is not believed because it was fetched insecurely before, either.
	h.Must("--insecure-options=image", "fetch", image(t, images.Tiny))
	if r := h.Rkt(append([]string{"run", "--net=host", image(t, images.Tiny)}, sh("echo ran")...)...); r.Status != 254 || strings.Contains(r.Stdout, "ran") {
		t.Errorf("an unverified image of the store: exit status %d, stdout %q", r.Status, r.Stdout)
	}
}
