// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/signature"
)

// Sign is `fetch sign`: it makes the signature that the wire.SignRequest on in
// asks for. data opens the file to be signed. Its error is that nobody can be
// told.
func Sign(in io.Reader, out io.Writer, data func() *os.File) error {
	text, err := sign(in, data)
	return wire.Send(out, wire.SignReply{Signature: text, Err: wire.AsError(err)})
}

func sign(in io.Reader, data func() *os.File) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, 4*wire.MaxKey))
	if err != nil {
		return nil, fmt.Errorf("cannot read request: %w", err)
	}
	var req wire.SignRequest
	if err := json.Unmarshal(text, &req); err != nil {
		return nil, fmt.Errorf("cannot read request: %w", err)
	}
	switch {
	case req.OpenPGP != nil:
		f := data()
		defer f.Close()
		return signature.SignDetached(req.OpenPGP, req.Password, f)
	case req.PEM != nil:
		return signature.SignBare(req.PEM, req.Password, req.Message)
	}
	return nil, errors.New("cannot sign: there is no key")
}
