// SPDX-License-Identifier: Apache-2.0

// Command demo makes an image from a static Go program on the spot, runs it as
// a pod, and shows what rkt then knows. It leaves nothing behind.
package main

import (
	"archive/tar"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/test/layout"
)

func main() {
	rkt := flag.String("rkt", "build/bin/rkt", "the `program` to show")
	flag.Parse()
	if err := run(*rkt); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(rkt string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("cannot run a pod: needs root")
	}
	tmp, err := os.MkdirTemp("", "rkt-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := makeImage(tmp); err != nil {
		return fmt.Errorf("cannot make image: %w", err)
	}
	if rkt, err = filepath.Abs(rkt); err != nil {
		return err
	}
	for _, args := range []string{
		"run --insecure-options=image --net=none oci:hello",
		"list",
		"image list",
		"gc --grace-period=0s",
	} {
		fmt.Printf("\n$ rkt --dir=data %s\n", args)
		cmd := exec.Command(rkt, append([]string{"--dir=data"}, strings.Fields(args)...)...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = tmp, os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("cannot show rkt %s: %w", args, err)
		}
	}
	return nil
}

// makeImage builds hello and writes it as an image of one layer into the OCI
// layout dir/hello.
func makeImage(dir string) error {
	program := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "./tools/demo/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	l, err := layout.Create(filepath.Join(dir, "hello"))
	if err != nil {
		return err
	}
	layer, err := l.AddLayer(layout.Gzip, func(tw *tar.Writer) error { return layout.Copy(tw, program, "/hello") })
	if err != nil {
		return err
	}
	d, err := l.AddImage("latest", layout.Config{Entrypoint: []string{"/hello"}}, layer)
	if err != nil {
		return err
	}
	fmt.Printf("made the OCI image hello:latest, %s, of one %d-byte layer\n", d.Digest, layer.Size)
	return nil
}
