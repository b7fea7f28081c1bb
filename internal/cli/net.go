// SPDX-License-Identifier: Apache-2.0

package cli

import (
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
