// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/signature"
)

// Verify is `fetch verify`: it answers the wire.VerifyRequest on in. data opens
// the file that was signed. Its error is that rkt cannot be told.
func Verify(in io.Reader, out io.Writer, data func() *os.File) error {
	reply, err := verify(in, data)
	reply.Err = wire.AsError(err)
	if err := wire.Send(out, reply); err != nil {
		return fmt.Errorf("cannot answer: %w", err)
	}
	return nil
}

func verify(in io.Reader, data func() *os.File) (reply wire.VerifyReply, err error) {
	text, err := io.ReadAll(io.LimitReader(in, wire.MaxVerify+1))
	if err != nil {
		return reply, fmt.Errorf("cannot read request: %w", err)
	}
	if len(text) > wire.MaxVerify {
		return reply, errors.New("cannot check signatures: there is too much of them")
	}
	var req wire.VerifyRequest
	if err := json.Unmarshal(text, &req); err != nil {
		return reply, fmt.Errorf("cannot read request: %w", err)
	}
	now := time.Now()
	for _, k := range req.Keys {
		reply.Keys = append(reply.Keys, signature.Describe(k, now))
	}
	if req.Detached != nil {
		file := data()
		defer file.Close()
		if reply.Good, reply.Bad, err = signature.Detached(req.Keys, req.Detached, file, now); err != nil {
			return reply, err
		}
	}
	reply.By, reply.Usable = signature.By(req.PublicKeys, req.Signed)
	return reply, nil
}
