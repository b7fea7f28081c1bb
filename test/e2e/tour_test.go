// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
)

// TestTour takes the README's tour, line by line, with our images in the place
// of those that it names.
func TestTour(t *testing.T) {
	h := host(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, ok := strings.Cut(string(text), "## A tour\n")
	if !ok {
		t.Fatal("the README has no tour")
	}
	tour, _, _ = strings.Cut(tour, "\n## ")
	s := serve(t, images.Tiny, images.Shell, images.Etcd)

	// The stage: a directory with what the tour takes for granted.
	dir := t.TempDir()
	layout := strings.TrimSuffix(strings.TrimPrefix(image(t, images.Tiny), "oci:"), ":tiny")
	if out, err := exec.Command("skopeo", "copy", "--insecure-policy", "-q", "oci:"+layout+":tiny", "oci:"+dir+"/layout:latest").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write(t, filepath.Join(dir, "pod.yaml"), `apiVersion: v1
kind: Pod
metadata: {name: tour}
spec:
  containers:
  - {name: one, image: "`+s.Addr+`/tiny:latest", command: [/bin/true]}
`)
	// rkt with its data directory, and the alias of the tour.
	write(t, filepath.Join(dir, "bin", "rkt"), "#!/bin/sh\nexec '"+install.Bin("rkt")+"' --dir='"+h.Dir+"' "+strings.Join(h.Flags, " ")+" \"$@\"\n")
	write(t, filepath.Join(dir, "bin", "acbuild"), "#!/bin/sh\nexec '"+install.Bin("acbuild")+"' --dir='"+h.Dir+"' "+strings.Join(h.Flags[1:], " ")+" \"$@\"\n")
	write(t, filepath.Join(dir, "hello"), "#!/bin/sh\necho hello\n")
	for _, program := range []string{"bin/rkt", "bin/acbuild", "hello"} {
		if err := os.Chmod(filepath.Join(dir, program), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	replace := strings.NewReplacer(
		"docker://alpine", s.URL("tiny"),
		"docker://busybox", s.URL("tiny"),
		"docker://quay.io/coreos/etcd:v3.5.0", s.URL("etcd"),
		"/var/lib/rkt", h.Dir,
		"registry-1.docker.io/library/busybox:latest", s.Addr+"/tiny:latest",
	)
	uuid := ""
	sh := func(command string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "UUID", uuid))
		cmd.Dir, cmd.Env = dir, append([]string{"PATH=" + dir + "/bin:" + os.Getenv("PATH")}, h.Env[1:]...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	told := 0
	for _, command := range commands(tour) {
		command = replace.Replace(command)
		told++
		switch {
		case strings.HasPrefix(command, "alias "):
			told--
		case strings.Contains(command, "--interactive"):
			term := h.Type(strings.Fields(command)[1:]...)
			term.Send("echo at$((1))home\n")
			term.Expect("at1home")
			term.Send("\x1d\x1d\x1d")
			term.Wait()
		case strings.HasSuffix(command, "/etcd"):
			etcd := h.Start(strings.Fields(command)[1:]...)
			etcd.Expect("ready to serve client requests")
			for _, line := range strings.Split(h.Must("list", "--full", "--no-legend").Stdout, "\n") {
				if strings.Contains(line, "running") {
					uuid, _, _ = strings.Cut(line, "\t")
				}
			}
		case strings.Contains(command, "echo $?"):
			if out := sh(command); !strings.HasSuffix(out, "7\n") {
				t.Errorf("%s printed %q", command, out)
			}
		default:
			out := sh(command)
			for has, want := range map[string]string{
				"rkt list": "exited", "rkt image list": "tiny", "reader": "20", "health": "is healthy", "--wait": "state=exited", "skopeo": "Digest",
			} {
				if strings.Contains(command, has) && !strings.Contains(out, want) {
					t.Errorf("%s printed %q, which has no %q", command, out, want)
				}
			}
		}
	}
	if told < 12 {
		t.Errorf("the tour has %d commands; is it still read rightly?", told)
	}
	if pods := h.Pods(); len(pods) != 0 {
		t.Errorf("after the tour, pods %q are left", pods)
	}
}

// commands are the indented lines of a text, those that end in a backslash
// joined with the next.
func commands(text string) []string {
	var all []string
	more := false
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !ok {
			continue
		}
		line, goesOn := strings.CutSuffix(line, "\\")
		if more {
			all[len(all)-1] += " " + strings.TrimSpace(line)
		} else {
			all = append(all, line)
		}
		more = goesOn
	}
	return all
}
