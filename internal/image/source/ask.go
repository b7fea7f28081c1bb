// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/web"
)

// ask asks web servers.
func (g *getter) ask(req wire.Request) (wire.Reply, error) {
	c, err := web.New(req)
	if err != nil {
		return wire.Reply{}, err
	}
	if req.Kind == wire.Discovery {
		defer c.Close()
		d, err := c.Discover(g.ctx)
		return wire.Reply{Discovered: &d}, err
	}
	f, what, err := c.Open(g.ctx)
	if err != nil {
		return wire.Reply{}, err
	}
	g.src = &once{f: f}
	return wire.Reply{File: &what}, nil
}

// once is a file of a web server as a source: it can be read one time.
type once struct {
	mu sync.Mutex
	f  *web.File
}

// Root is never asked for.
func (*once) Root(context.Context) (wire.Root, error) {
	return wire.Root{}, errors.New("a file has no manifest of its own")
}

func (o *once) Open(context.Context, wire.Want) (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.f
	if o.f = nil; f == nil {
		return nil, errors.New("the file was read already")
	}
	return f, nil
}
