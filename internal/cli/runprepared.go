// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"

	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func newRunPrepared(c *cli) *command {
	var (
		o    prepare.Options
		net  netFlag
		dns  dnsFlag
		file uuidFile

		manager manager
	)
	cmd := &command{
		usage: "[OPTION…] UUID",
		short: "run a pod that was prepared",
		long: `Runs a pod that rkt prepare made, and becomes it, as rkt run does. A prepared pod
runs once.`,
		example: "  rkt run-prepared --net=host --hostname=etcd1 5bc080ca",
		args:    file.args(oneArg("a pod's UUID")),
		words:   c.podWords,
		run: func(args []string) error {
			uuids, err := file.uuids(args)
			if err != nil {
				return err
			}
			return c.runPrepared(uuids[0], o, &manager)
		},
	}
	fs := cmd.flags()
	registerRunOptions(fs, &o, &net, &dns)
	manager.flags(fs)
	fs.BoolVar(&c.clock.on, "timing", false, "print where the time goes, on standard error")
	file.register(fs)
	refuse(fs, "mds-register", "true", "this version of rkt has no metadata service")
	return cmd
}

func (c *cli) runPrepared(uuid string, o prepare.Options, m *manager) error {
	if err := c.needRoot(); err != nil {
		return err
	}
	launch.Calm()
	p, err := c.openPod(uuid)
	if err != nil {
		return err
	}
	// Of two that want the pod one gets the lock.
	if err := p.Lock(); err != nil {
		return err
	}
	if p.Phase() != lifecycle.Prepared {
		state := string(p.Phase())
		if p.Phase() == lifecycle.Run {
			state = string(lifecycle.StateExited)
		}
		return fmt.Errorf("cannot run pod %s: it is %s, not prepared", p.ID(), state)
	}
	path, err := p.Stage1()
	if err != nil {
		return err
	}
	flavor, err := launch.Load(path)
	if err != nil {
		return err
	}
	c.clock.mark("open")
	if err := m.meet(&o); err != nil {
		return err
	}
	var sockets sockets
	if err := c.takeSockets(&sockets, &o, false); err != nil {
		return err
	}
	// It would be used up by a start that fails.
	give := o.Decided
	o.Decided = func(doc *contract.Pod) error {
		if err := c.knowNetworks(doc); err != nil {
			return err
		}
		return give(doc)
	}
	o.Insecure = c.insecureDocument()
	c.userNetwork(&o)
	if err := c.networkPlaces(&o); err != nil {
		return err
	}
	if o.Interactive {
		o.Term = os.Getenv("TERM")
	}
	if err := prepare.Complete(p, prepare.Flavor{Path: flavor.Path, Manifest: flavor.Manifest}, o); err != nil {
		return err
	}
	doc, err := p.Contract()
	if err != nil {
		return err
	}
	start, err := launch.Begin(flavor, doc, c.launchClock())
	if err != nil {
		return err
	}
	ready, err := launch.MakeReady(p)
	if err == nil {
		if err = start.Lay(doc, p.Dir()); err != nil {
			ready.Drop()
		}
	}
	if err != nil {
		start.Abort()
		return err
	}
	start.Sockets(sockets)
	m.tell(c, start)
	c.ended, err = start.Exec(ready)
	return err
}
