// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// SignRequest is what is to be signed, and by which key.
type SignRequest = wire.SignRequest

// Sign has a signature made by the helper, without network; data is the file
// that an OpenPGP signature is about, or nil.
func Sign(ctx context.Context, opt Options, req SignRequest, data *os.File) ([]byte, error) {
	text, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	c := wall.Command{Kind: wall.Sign, Path: opt.Helper, Args: []string{string(wall.Sign)}, Note: opt.note}
	var reply wire.SignReply
	if err := question(ctx, c, text, data, &reply); err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	if reply.Err != nil {
		return nil, reply.Err
	}
	if len(reply.Signature) == 0 {
		return nil, errors.New("cannot sign: the helper gave no signature")
	}
	return reply.Signature, nil
}

// question sends text to a helper and reads its answer; data is its descriptor 3.
func question(ctx context.Context, c wall.Command, text []byte, data *os.File, reply any) error {
	inR, inW, err := newPipe()
	if err != nil {
		return err
	}
	outR, outW, err := newPipe()
	if err != nil {
		_, _ = inR.Close(), inW.Close()
		return err
	}
	c.Files = []*os.File{inR, outW, nil}
	if data != nil {
		c.Files = append(c.Files, data)
	}
	proc, err := c.Start(ctx)
	_, _ = inR.Close(), outW.Close()
	if err != nil {
		_, _ = inW.Close(), outR.Close()
		return err
	}
	go func() {
		_, _ = inW.Write(text) // one that is gone answers nothing
		_ = inW.Close()
	}()
	rerr := wire.NewReceiver(outR).Receive(reply)
	_ = outR.Close() // whatever more it would say
	werr := proc.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case rerr != nil:
		return fmt.Errorf("the helper ended without an answer: %w", errors.Join(werr, rerr))
	}
	return nil
}
