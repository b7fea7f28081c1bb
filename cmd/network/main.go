// SPDX-License-Identifier: Apache-2.0

// Command network attaches pods to networks and gives back what they held; only
// rkt and its flavors start it (package internal/pod/network).
//
//	network add              waits for a pod on descriptor 3, attaches it, answers there
//	network del              gives back what the pod of the working directory held, answers on 3
//	network gc DATADIR …     gives back what belongs to no pod of the data directory
//	network list DATADIR …   prints all networks with what they gave to whom, as JSON
//	network check DATADIR …  the same, after asking plugins how they are
//
// … are config=DIR, shared=DIR and plugins=DIR, in the order and with the meaning
// of contract.Pod's NetworkConfig, NetworkShared and NetworkPlugins.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/pod/network/builtin"
	"github.com/rkt/rkt/internal/pod/network/cni"
	"github.com/rkt/rkt/internal/pod/network/usermode"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// register is where the machine's pods are known to the networks they are
// attached to.
const register = "/run/rkt/cni"

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	heedSignals(cancel)
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "network:", err)
		os.Exit(1)
	}
}

// heedSignals: a word of the terminal's ends a plugin that hangs, and what was
// done is undone. It does not end this program: half of the work would be left.
// (Nor are signals ignored: plugins would, too.)
func heedSignals(cancel context.CancelCauseFunc) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		for s := range heard {
			cancel(fmt.Errorf("interrupted (%v)", s))
		}
	}()
}

func run(ctx context.Context, args []string) error {
	open := func(podDir string, doc *contract.Pod) *network.Host {
		if doc.NetworkProgram != "" {
			return &network.Host{DataDir: network.DataDir(podDir), Warn: warn, Sources: []network.Source{usermode.Network{Program: doc.NetworkProgram}}}
		}
		return host(network.DataDir(podDir), places{doc.NetworkConfig, doc.NetworkShared, doc.NetworkPlugins})
	}
	switch {
	case len(args) == 1 && args[0] == "add":
		return network.ServeAdd(ctx, open)
	case len(args) == 1 && args[0] == contract.NetworkRelease:
		return network.ServeDel(context.WithoutCancel(ctx), open)
	case len(args) > 1 && filepath.IsAbs(args[1]):
		p, err := parsePlaces(args[2:])
		if err != nil {
			return err
		}
		h := host(args[1], p)
		switch args[0] {
		case "gc":
			return h.Collect(ctx)
		case "list", "check":
			return h.Print(ctx, os.Stdout, args[0] == "check")
		}
	}
	return errors.New("cannot run: this program is started by rkt")
}

// places are where configurations and plugins are looked for.
type places struct{ config, shared, plugins []string }

func parsePlaces(args []string) (p places, err error) {
	for _, arg := range args {
		key, dir, _ := strings.Cut(arg, "=")
		to := map[string]*[]string{"config": &p.config, "shared": &p.shared, "plugins": &p.plugins}[key]
		if to == nil || !filepath.IsAbs(dir) {
			return p, fmt.Errorf("cannot understand argument %q", arg)
		}
		*to = append(*to, dir)
	}
	return p, nil
}

func warn(format string, args ...any) { fmt.Fprintf(os.Stderr, "rkt: network: "+format+"\n", args...) }

// host puts together where networks come from: first wins. What others put into
// a directory that they share never takes the place of a network of rkt's.
func host(dataDir string, p places) *network.Host {
	own := &builtin.Networks{DataDir: dataDir, Warn: warn}
	path := cni.PluginPath(p.config, p.plugins)
	return &network.Host{DataDir: dataDir, Rules: own.Rules, Warn: warn, Sources: []network.Source{
		cni.New(path, register, false, p.config),
		own,
		cni.New(path, register, true, p.shared),
	}}
}
