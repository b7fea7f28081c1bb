// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/trust"
)

func newTrustRm(c *cli) *command {
	var (
		prefix string
		root   bool
	)
	cmd := &command{
		usage: "[--prefix=PREFIX|--root] FINGERPRINT…",
		short: "remove keys from the trusted ones",
		long: `Ends the trust in keys: for PREFIX, as root keys, or, without either, wherever they
are trusted. FINGERPRINT is as rkt trust list prints it, or as gpg does in one
argument; of cosign's keys it is sha256:…, and the prefix must be given.

A key that came with the system is masked by an empty file in the local
configuration directory. Images that were fetched on the word of a key are not used
any more unless another trusted key signed them too; rkt image rm removes them.`,
		example: `  rkt trust rm --prefix=example.com/app 0123456789abcdef0123456789abcdef01234567
  rkt trust rm --prefix=docker://quay.io/coreos sha256:…`,
		args: someArgs("the fingerprint"),
		run: func(args []string) error {
			if prefix != "" && root {
				return errors.New("cannot remove key: --prefix and --root do not go together")
			}
			failed := failures{c: c}
			for _, word := range args {
				if rest, ok := strings.CutPrefix(prefix, registryScheme); ok {
					failed.add(c.distrustRegistry(rest, word))
				} else {
					failed.add(c.distrust(prefix, root, word))
				}
			}
			return failed.err()
		},
	}
	fs := cmd.flags()
	fs.StringVar(&prefix, "prefix", "", "only for images whose names begin with `PREFIX`")
	fs.BoolVar(&root, "root", false, "only as a key for all images")
	return cmd
}

// distrust removes an OpenPGP key.
func (c *cli) distrust(prefix string, root bool, word string) error {
	fpr := strings.ToLower(strings.ReplaceAll(word, " ", ""))
	if !trust.IsFingerprint(fpr) {
		return hint.Wrap(fmt.Errorf("cannot remove key %q: it is no fingerprint, which has 40 hexadecimal digits", word), "see rkt trust list")
	}
	keystore := trust.Keys(c.global.config)
	places := []string{prefix}
	if prefix == "" && !root {
		all, err := keystore.All()
		if err != nil {
			return err
		}
		places = nil
		for _, k := range all {
			if k.Fingerprint == fpr && !k.Masks && !k.Masked {
				places = append(places, k.Prefix)
			}
		}
	}
	if len(places) == 0 {
		return hint.Wrap(fmt.Errorf("cannot remove key %s: %w", fpr, trust.ErrNoKey), "see rkt trust list")
	}
	for _, p := range places {
		mask, err := keystore.Remove(p, fpr)
		if errors.Is(err, trust.ErrNoKey) {
			return hint.Wrap(fmt.Errorf("cannot remove key %s: %w", fpr, err), "see rkt trust list")
		}
		if err != nil {
			return err
		}
		what := fmt.Sprintf("root key %s", fpr)
		if p != "" {
			what = fmt.Sprintf("key %s for prefix %q", fpr, p)
		}
		if mask != "" {
			_, err = fmt.Fprintf(c.Out, "Masked the system's %s by %q\n", what, mask)
		} else {
			_, err = fmt.Fprintf(c.Out, "Removed %s\n", what)
		}
		if err != nil {
			return err
		}
	}
	return c.tellOrphans(image.OpenPGP, fpr)
}

// distrustRegistry removes a key of cosign's.
func (c *cli) distrustRegistry(prefix, id string) error {
	prefix, err := config.TrustPrefix(prefix)
	if err != nil {
		return fmt.Errorf("cannot remove key: %w", err)
	}
	last, err := trust.RemoveRule(c.global.config, prefix, id)
	if errors.Is(err, trust.ErrNoKey) {
		return hint.Wrap(fmt.Errorf("cannot remove key %s: rkt trust has added no such key for %q", id, registryScheme+prefix),
			"rules of other files in trust.d are theirs; see rkt trust list")
	}
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.Out, "Removed key %s for prefix %q\n", id, registryScheme+prefix); err != nil {
		return err
	}
	if last {
		c.say(fmt.Sprintf("it was the last one: there is no rule for %q any more", registryScheme+prefix))
	}
	return c.tellOrphans(image.Cosign, id)
}

// tellOrphans says which stored images were fetched on the word of a key.
func (c *cli) tellOrphans(kind, key string) error {
	_, st, err := c.openStore()
	if err != nil || st == nil {
		return err
	}
	defer st.Close()
	images, err := st.List()
	if err != nil {
		return err
	}
	for _, rec := range images {
		if onTheWord(rec, func(s image.Signer) bool { return s.Kind == kind && s.Key == key }) {
			c.say(fmt.Sprintf("image %s was fetched on the word of this key", rec.ID.Short()))
		}
	}
	return nil
}

// onTheWord tells whether a signer speaks for an image or for one under it.
func onTheWord(rec image.Record, is func(image.Signer) bool) bool {
	return slices.ContainsFunc(rec.SignedBy, is) ||
		slices.ContainsFunc(rec.Needs, func(n image.Need) bool { return slices.ContainsFunc(n.SignedBy, is) })
}
