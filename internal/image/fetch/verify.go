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

// checkSignatures asks a helper of its own, which has no network, about keys and
// signatures. data is the file that an OpenPGP signature is about, or nil; it
// stays the caller's.
func checkSignatures(ctx context.Context, opt Options, req wire.VerifyRequest, data *os.File) (wire.VerifyReply, error) {
	text, err := json.Marshal(req)
	if err != nil {
		return wire.VerifyReply{}, err
	}
	if len(text) > wire.MaxVerify {
		return wire.VerifyReply{}, errors.New("cannot check signatures: there is too much of them")
	}
	c := wall.Command{Kind: wall.Verify, Path: opt.Helper, Args: []string{string(wall.Verify)}, Note: opt.note}
	var reply wire.VerifyReply
	if err := question(ctx, c, text, data, &reply); err != nil {
		return wire.VerifyReply{}, fmt.Errorf("cannot check signatures: %w", err)
	}
	switch {
	case reply.Err != nil:
		return wire.VerifyReply{}, reply.Err
	case len(reply.Keys) != len(req.Keys), len(reply.By) != len(req.Signed), len(reply.Usable) != len(req.PublicKeys):
		return wire.VerifyReply{}, errNonsense
	}
	return reply, nil
}

// OpenPGPInfo describes an OpenPGP key.
type OpenPGPInfo = wire.OpenPGPInfo

// DescribeKeys tells what is in files with OpenPGP keys, one answer for each; a
// file that cannot be understood is told of in its answer.
func DescribeKeys(ctx context.Context, opt Options, files [][]byte) ([]OpenPGPInfo, error) {
	var req wire.VerifyRequest
	for _, data := range files {
		req.Keys = append(req.Keys, wire.OpenPGPKey{Data: data})
	}
	if len(files) == 0 {
		return nil, nil
	}
	reply, err := checkSignatures(ctx, opt, req, nil)
	for i := range reply.Keys {
		k := &reply.Keys[i]
		k.Reason = wire.Printable(k.Reason)
		for j := range k.Identities {
			k.Identities[j] = wire.Printable(k.Identities[j])
		}
	}
	return reply.Keys, err
}

// CheckPublicKeys refuses public keys (PEM) with which no signature can be
// checked, or none should.
func CheckPublicKeys(ctx context.Context, opt Options, keys []string) error {
	reply, err := checkSignatures(ctx, opt, wire.VerifyRequest{PublicKeys: keys}, nil)
	if err != nil {
		return err
	}
	for _, reason := range reply.Usable {
		if reason != "" {
			return fmt.Errorf("cannot use public key: %s", wire.Printable(reason))
		}
	}
	return nil
}
