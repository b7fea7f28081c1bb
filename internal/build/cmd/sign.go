// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/rkt/rkt/internal/build/compose"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// signer signs what is written.
type signer struct {
	fetch fetch.Options
	gpg   string // a user of gpg's, or ""
	key   []byte
	bare  bool // key is one in PEM, not OpenPGP's
}

// signer reads the key of --sign, and refuses targets that it cannot sign before
// anything is written; nil if nothing is to be signed.
func (a *acbuild) signer(word string, env compose.Env, targets []output.Target) (*signer, error) {
	if word == "" {
		return nil, nil
	}
	s := &signer{fetch: env.Fetch}
	user, isGPG := strings.CutPrefix(word, "gpg:")
	if s.gpg = user; !isGPG {
		var err error
		if s.key, err = a.input(word, wire.MaxKey); err != nil {
			return nil, err
		}
	}
	s.bare = bytes.Contains(s.key, []byte("-----BEGIN")) && !bytes.Contains(s.key, []byte("PGP"))
	for _, t := range targets {
		switch t.Kind {
		case output.ACI:
			if s.bare {
				return nil, hint.Wrap(errors.New("cannot sign an ACI by such a key: it takes an OpenPGP key"), "gpg --export-secret-keys --armor USER writes one; or --sign=gpg:USER")
			}
		case output.Layout, output.Registry:
			if !s.bare {
				return nil, hint.Wrap(errors.New("cannot sign an OCI image by such a key: it takes one in PEM"), "cosign generate-key-pair or openssl genpkey make one")
			}
		case output.Archive, output.DockerArchive:
			return nil, hint.Wrap(fmt.Errorf("cannot sign %s:%s: there is no place for a signature in it", t.Kind, t.Path), "write a layout, or to a registry")
		}
	}
	return s, nil
}

// image signs a payload of cosign's.
func (s *signer) image(ctx context.Context, payload []byte) ([]byte, error) {
	return fetch.Sign(ctx, s.fetch, fetch.SignRequest{PEM: s.key, Password: []byte(os.Getenv("COSIGN_PASSWORD")), Message: payload}, nil)
}

// file signs an ACI, into path.asc.
func (s *signer) file(ctx context.Context, path string, overwrite bool) error {
	sig, err := s.detached(ctx, path)
	if err != nil {
		return fmt.Errorf("%w; %q is written, but not signed", err, path)
	}
	return export.File(ctx, path+".asc", overwrite, func(w io.Writer) error {
		_, err := w.Write(sig)
		return err
	})
}

func (s *signer) detached(ctx context.Context, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if s.key != nil {
		return fetch.Sign(ctx, s.fetch, fetch.SignRequest{OpenPGP: s.key, Password: []byte(os.Getenv("ACBUILD_PASSWORD"))}, f)
	}
	args := []string{"--batch", "--armor", "--detach-sign", "--output", "-"}
	if s.gpg != "" {
		args = append(args, "--local-user", s.gpg)
	}
	cmd := exec.CommandContext(ctx, "gpg", append(args, "--", "-")...)
	cmd.Stdin = f
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return nil, fmt.Errorf("cannot sign by gpg: %w: %s", err, line)
	}
	return out, nil
}
