// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfiles

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// builder is acbuild as a program, with failpoints.
type builder struct {
	t             *testing.T
	program, data string
	layout        string
	context       string
}

func newBuilder(t *testing.T, name string) *builder {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	layout, err := images.Layout()
	if err != nil {
		t.Skip(err)
	}
	install, err := rkt.Build(t.TempDir(), "failpoint")
	if err != nil {
		t.Fatal(err)
	}
	context, _ := prepared(t, name)
	return &builder{t, install.Bin("acbuild"), t.TempDir(), layout, context}
}

func (b *builder) command(env ...string) *exec.Cmd {
	args := []string{"--dir=" + b.data, "build", "--insecure", "--network=none", "--output=oci:" + filepath.Join(b.data, "out") + ":x", "--overwrite"}
	for _, ref := range bases {
		args = append(args, "--build-context="+ref+"=oci:"+b.layout+":"+ref)
	}
	cmd := exec.Command(b.program, append(args, b.context)...)
	cmd.Env = append(os.Environ(), append(env, "SOURCE_DATE_EPOCH=1700000000")...)
	return cmd
}

// whole builds to the end and gives the image's ID.
func (b *builder) whole() string {
	b.t.Helper()
	var errs bytes.Buffer
	cmd := b.command()
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%v\n%s", err, errs.String())
	}
	left, err := filepath.Glob(filepath.Join(b.data, "build", "work", "*"))
	if err != nil || len(left) > 0 {
		b.t.Errorf("left of a killed build: %q, %v", left, err)
	}
	return strings.TrimSpace(string(out))
}

// running are other processes' command lines that name the data directory.
func (b *builder) running() (list []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		if text, err := os.ReadFile(p); err == nil && bytes.Contains(text, []byte(b.data)) {
			list = append(list, string(text))
		}
	}
	return list
}

// TestKilledBuild: a build that is killed, at the points where that matters and
// at any others, leaves nothing that the next one stumbles over.
func TestKilledBuild(t *testing.T) {
	b := newBuilder(t, "parallel")
	want := b.whole()
	for _, point := range []string{"cache/before-place", "cache/placed", "engine/before-files", "engine/after-files", "lifecycle/after-run", "assemble/start"} {
		t.Run(point, func(t *testing.T) {
			b := *b
			b.t, b.data = t, t.TempDir()
			cmd := b.command("RKT_FAILPOINT=" + point)
			if out, err := cmd.CombinedOutput(); err == nil {
				t.Fatalf("it was not killed:\n%s", out)
			}
			if got := b.whole(); got != want {
				t.Errorf("afterwards %s, want %s", got, want)
			}
		})
	}
	for i := range 6 {
		t.Run(fmt.Sprint("moment ", i), func(t *testing.T) {
			b := *b
			b.t, b.data = t, t.TempDir()
			cmd := b.command()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.Stdout, cmd.Stderr = w, w // whatever runs on holds it open
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			time.Sleep(time.Duration(40+90*i) * time.Millisecond) // any moment will do
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			for buf := make([]byte, 1<<12); ; {
				if _, err := r.Read(buf); err != nil {
					break // all of it is gone
				}
			}
			if left := b.running(); len(left) > 0 {
				t.Errorf("still running: %q", left)
			}
			if got := b.whole(); got != want {
				t.Errorf("afterwards %s, want %s", got, want)
			}
		})
	}
}

// TestBuildsSideBySide share a cache and come to the same.
func TestBuildsSideBySide(t *testing.T) {
	b := newBuilder(t, "assets-multistage")
	const n = 4
	type end struct {
		out string
		err error
	}
	ends := make(chan end, n)
	for i := range n {
		go func() {
			cmd := b.command()
			for j, a := range cmd.Args {
				if strings.HasPrefix(a, "--output=") {
					cmd.Args[j] = fmt.Sprintf("--output=oci:%s/out%d:x", b.data, i)
				}
			}
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, errs.String())
			}
			ends <- end{strings.TrimSpace(string(out)), err}
		}()
	}
	first := ""
	for range n {
		e := <-ends
		if e.err != nil {
			t.Fatal(e.err)
		}
		if first == "" {
			first = e.out
		}
		if e.out != first {
			t.Errorf("%s and %s", first, e.out)
		}
	}
}
