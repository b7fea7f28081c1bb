// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func newNet(*cli) *command {
	return &command{
		usage: "COMMAND",
		short: "show the networks of pods",
		long: `Works on the networks that pods are attached to by --net: the built-in ones, and
those that are configured in net.d (docs/cni.md).`,
	}
}

// places are where networks are configured.
func (c *cli) places() (launch.NetworkPlaces, error) {
	var o prepare.Options
	err := c.networkPlaces(&o)
	return launch.NetworkPlaces{Config: o.NetworkConfig, Shared: o.NetworkShared, Plugins: o.NetworkPlugins}, err
}

// networks lists all there are, and says what is wrong with files of others.
func (c *cli) networks(check bool) (dir string, l *contract.NetworkListing, err error) {
	if dir, err = c.global.dataDir(); err != nil {
		return "", nil, err
	}
	places, err := c.places()
	if err != nil {
		return "", nil, err
	}
	if l, err = launch.ListNetworks(dir, places, check); err != nil {
		return "", nil, err
	}
	for _, text := range l.Broken {
		c.say(text)
	}
	return dir, l, nil
}

// knowNetworks refuses a document's networks if there is none of that name, before
// the pod is made or used up. Whoever starts the pod looks again: here it is asked
// only if a name is not that of a network that is always there.
func (c *cli) knowNetworks(doc *contract.Pod) error {
	always := func(n contract.Network) bool {
		return n.Name == pod.NetDefault || n.Name == pod.NetRestricted || n.Name == pod.NetAll
	}
	if doc.Network != contract.NetworkContained || !slices.ContainsFunc(doc.Networks, func(n contract.Network) bool { return !always(n) }) {
		return nil
	}
	dir, err := c.global.dataDir()
	if err != nil {
		return err
	}
	l, err := launch.ListNetworks(dir, launch.NetworkPlaces{Config: doc.NetworkConfig, Shared: doc.NetworkShared, Plugins: doc.NetworkPlugins}, false)
	if err != nil {
		return err
	}
	var unknown []string
	for _, n := range doc.Networks {
		known := always(n) || slices.ContainsFunc(l.Networks, func(o contract.ListedNetwork) bool { return o.Name == n.Name })
		if !known {
			unknown = append(unknown, strconv.Quote(n.Name))
		}
	}
	if unknown == nil {
		return nil
	}
	return hint.Wrap(fmt.Errorf("networks not found: %s", strings.Join(unknown, ", ")), "rkt net list has those there are")
}

// networkWords are the names of networks.
func (c *cli) networkWords(begun string) (words []word, files bool) {
	dir, err := c.global.dataDir()
	if err != nil {
		return nil, false
	}
	places, err := c.places()
	if err != nil {
		return nil, false
	}
	l, err := launch.ListNetworks(dir, places, false)
	if err != nil {
		return nil, false
	}
	for _, n := range l.Networks {
		if !n.Hidden {
			words = append(words, word{n.Name, n.Kind})
		}
	}
	return words, false
}
