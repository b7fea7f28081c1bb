// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/pod/cdi"
)

// describedDevices finds devices by their names in the Container Device Interface,
// once a pod wants one.
func (c *cli) describedDevices(names []string) (*cdi.Edits, error) {
	paths, err := config.LoadPaths(c.global.config)
	if err != nil {
		return nil, err
	}
	dirs := paths.CDISpecs
	if dirs == nil {
		dirs = cdi.Dirs()
	}
	known, err := cdi.Load(dirs, func(text []byte) ([]byte, error) { return convert(wall.YAML, text, cdi.MaxSize) })
	if err != nil {
		return nil, err
	}
	return known.Edits(names)
}
