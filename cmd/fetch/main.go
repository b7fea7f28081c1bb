// SPDX-License-Identifier: Apache-2.0

// Command fetch is rkt's helper for what strangers made: it reads images from
// registries, layouts and archives, packs and unpacks layers, checks signatures,
// and reads YAML. It is started by rkt (package
// internal/image/fetch), not by people.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source"
	"github.com/rkt/rkt/internal/image/unpack"
	"github.com/rkt/rkt/internal/pod/kube"
	"github.com/rkt/rkt/internal/pod/yamljson"
)

// maxYAML is the most bytes that are turned into JSON.
const maxYAML = 4 << 20

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("cannot run: this program is started by rkt")
	}
	if args[0] == "credentials" {
		// The user's own files and programs, as the user: see package wire.
		return source.Credentials(ctx, args[1:], os.Stdout)
	}
	kind := wall.Kind(args[0])
	if err := source.Confine(kind); err != nil {
		return err
	}
	switch {
	case len(args) == 1 && (kind == wall.Get || kind == wall.Read):
		return source.Get(ctx, os.Stdin, os.Stdout, os.Stderr, descriptor)
	case len(args) == 1 && kind == wall.Push:
		return source.Push(ctx, os.Stdin, os.Stdout, os.Stderr, descriptor)
	case len(args) == 2 && kind == wall.Unpack:
		return source.Unpack(ctx, args[1], os.Stdin, descriptor(wire.DirFD), descriptor(wire.ResultFD))
	case len(args) == 2 && kind == wall.Look:
		return source.Look(ctx, args[1], os.Stdin, os.Stdout)
	case len(args) == 1 && kind == wall.Verify:
		return source.Verify(os.Stdin, os.Stdout, func() *os.File { return descriptor(wire.VerifyDataFD) })
	case len(args) == 1 && kind == wall.Sign:
		return source.Sign(os.Stdin, os.Stdout, func() *os.File { return descriptor(wire.SignDataFD) })
	case len(args) == 1 && kind == wall.Agent:
		return source.Agent(os.Stdin, os.Stdout)
	case len(args) == 1 && kind == wall.Plain:
		return unpack.Plain(ctx, os.Stdin, os.Stdout, unpack.Options{})
	case len(args) == 1 && kind == wall.Gzip:
		return unpack.Gzip(os.Stdin, os.Stdout)
	case len(args) == 1 && kind == wall.PodManifest:
		manifest, err := kube.Convert(os.Stdin)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(manifest)
		return err
	case len(args) == 1 && kind == wall.YAML:
		text, err := yamljson.Convert(os.Stdin, maxYAML)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(text)
		return err
	}
	return errors.New("cannot run: this program is started by rkt")
}

func descriptor(fd int) *os.File { return os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd)) }
