// SPDX-License-Identifier: Apache-2.0

// Command network attaches pods to networks and gives back what they held; only
// rkt and its flavors start it (package internal/pod/network).
//
//	network add         waits for a pod on descriptor 3, attaches it, answers there
//	network del         gives back what the pod of the working directory held, answers on 3
//	network gc DATADIR  gives back what belongs to no pod of the data directory
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/pod/network/builtin"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func main() {
	// A word of the terminal's is for the pod: half of the work would be left.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "network:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	open := func(podDir string, doc *contract.Pod) *network.Host {
		return host(network.DataDir(podDir), doc.NetworkConfig)
	}
	switch {
	case len(args) == 1 && args[0] == "add":
		return network.ServeAdd(ctx, open)
	case len(args) == 1 && args[0] == contract.NetworkRelease:
		return network.ServeDel(ctx, open)
	case len(args) == 2 && args[0] == "gc" && filepath.IsAbs(args[1]):
		return host(args[1], nil).Collect(ctx)
	}
	return errors.New("cannot run: this program is started by rkt")
}

// host puts together where networks come from: first wins.
func host(dataDir string, _ []string) *network.Host {
	warn := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "rkt: network: "+format+"\n", args...)
	}
	own := &builtin.Networks{DataDir: dataDir, Warn: warn}
	return &network.Host{DataDir: dataDir, Sources: []network.Source{own}, Rules: own.Rules, Warn: warn}
}
