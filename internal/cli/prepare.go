// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/rkt/rkt/internal/pod/lifecycle"
)

func newPrepare(c *cli) *command {
	w := &wish{}
	c.parse = w.parse
	cmd := &command{
		usage: "[POD-OPTION…] IMAGE [APP-OPTION…] [-- ARG… [---]] [IMAGE …]",
		short: "make a pod, to be run later",
		long: `Makes a pod as rkt run does, but does not run it; the UUID goes to standard output.
What is prepared is on the disk when the command returns. Images, volumes,
environment and isolation are fixed now; network, DNS, hosts and host name are
chosen by rkt run-prepared.

` + grammarHelp,
		example: `  uuid=$(rkt prepare docker://quay.io/coreos/etcd@sha256:… --name=etcd)
  rkt run-prepared --net=host $uuid`,
		words: c.imageWords,
		run:   func([]string) error { return c.prepare(w) },
	}
	fs := cmd.flags()
	fs.BoolVar(&w.quiet, "quiet", false, "print nothing but the UUID")
	w.registerPod(fs)
	w.registerApps(fs)
	unavailable(fs)
	return cmd
}

func (c *cli) prepare(w *wish) error {
	if err := c.needRoot(); err != nil {
		return err
	}
	flavor, err := c.findFlavor(&w.flavor)
	if err != nil {
		return err
	}
	defer flavor.release()
	w.Options.Later, w.Options.Decided = true, c.knowNetworks
	c.userNetwork(&w.Options)
	w.Flavor, w.Durable, c.clock.on = flavor.prepared(), true, w.timing
	p, err := c.makePod(w)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.To(lifecycle.Prepared); err != nil {
		return err
	}
	c.clock.mark("prepared")
	c.clock.Print()
	_, err = fmt.Fprintln(c.Out, p.ID())
	return err
}
