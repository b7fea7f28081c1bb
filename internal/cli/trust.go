// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/trust"
	"github.com/rkt/rkt/internal/ui"
)

// registryScheme begins a prefix of registries' images.
const registryScheme = "docker://"

func newTrust(c *cli) *command {
	var (
		prefix              string
		root, skip, unsafer bool
	)
	cmd := &command{
		usage: "--prefix=PREFIX|--root [OPTION…] [PUBKEY…]",
		short: "trust keys to sign images",
		long: `Trusts OpenPGP keys to sign the App Container images whose names are PREFIX, or
begin with PREFIX and a slash; --root trusts them to sign any. PUBKEY is a file or
an https URL; without one the keys that PREFIX's web server announces are taken
(ac-discovery-pubkeys). Each key is shown, to be compared with what its owner
says, and trusted after a yes. Keys are kept in trustedkeys of the local
configuration directory.

With --prefix=docker://HOST[/PATH] the keys, cosign's public keys in PEM, are
trusted to sign the images of a registry below that name: from then on those
images must be signed, and need no --insecure-options=image. The rule is a file in
trust.d of the local configuration directory; docs/trust.md tells what else rules
can say, and what is looked at in signatures.`,
		example: `  rkt trust --prefix=example.com/app
  rkt trust --prefix=example.com ./pubkey.asc
  rkt trust --prefix=docker://quay.io/coreos cosign.pub
  rkt trust list`,
		words: func(begun string) ([]word, bool) {
			return []word{{"list", "list trusted keys"}, {"rm", "remove keys from the trusted ones"}}, true
		},
		run: func(args []string) error {
			switch {
			case prefix != "" && root:
				return errors.New("cannot trust key: --prefix and --root do not go together")
			case prefix == "" && !root:
				return hint.Wrap(errors.New("cannot trust key: nobody said for which images"),
					"give --prefix=NAME, or --root for all of them")
			}
			if rest, ok := strings.CutPrefix(prefix, registryScheme); ok {
				return c.trustRegistry(rest, args, skip, unsafer)
			}
			return c.trustKeys(prefix, args, skip, unsafer)
		},
	}
	fs := cmd.flags()
	each(fs, "prefix", "PREFIX", "trust the keys for images whose names begin with PREFIX, by components", func(s string) error {
		if s == "" {
			return errors.New("it is empty; --root trusts keys for all images")
		}
		prefix = s
		return nil
	})
	fs.BoolVar(&root, "root", false, "trust the keys for all images")
	fs.BoolVar(&skip, "skip-fingerprint-review", false, "accept the keys without asking")
	fs.BoolVar(&unsafer, "insecure-allow-http", false, "get keys by plain http as well")
	return cmd
}

// trustKeys adds OpenPGP keys for prefix, "" for all images.
func (c *cli) trustKeys(prefix string, locations []string, skip, allowHTTP bool) error {
	o, err := c.fetchOptions()
	if err != nil {
		return err
	}
	o.InsecurePubkey = o.InsecurePubkey || allowHTTP
	o.TrustHTTPS = false // the review is what was asked for
	o.Review = c.reviewKey("compare the fingerprint with what its owner says, then give --skip-fingerprint-review")
	if skip {
		o.Review = func(_ context.Context, prefix, location string, key fetch.OpenPGPInfo) (bool, error) {
			c.showKey(prefix, location, key)
			return true, nil
		}
	}
	ctx, stop := interruptible()
	defer stop()
	if prefix != "" {
		if err := trust.CheckPrefix(prefix); err != nil {
			return hint.Wrap(fmt.Errorf("cannot trust key: %w", err), "a prefix is an image's name or its beginning, such as example.com/app")
		}
	}
	if len(locations) == 0 {
		if prefix == "" {
			return hint.Wrap(errors.New("cannot trust key: no PUBKEY is given, and none is announced for all images"), "name a file or a URL")
		}
		if locations, err = fetch.DiscoverKeys(ctx, o, prefix); err != nil {
			return hint.Wrap(fmt.Errorf("cannot find keys for %q: %w", prefix, err), "name the key's file or URL")
		}
	}
	added, err := fetch.AddKeys(ctx, o, prefix, locations)
	for _, path := range added {
		what := fmt.Sprintf("Added key for prefix %q at %q\n", prefix, path)
		if prefix == "" {
			what = fmt.Sprintf("Added root key at %q\n", path)
		}
		if _, err := io.WriteString(c.Out, what); err != nil {
			return err
		}
	}
	return err
}

// trustRegistry adds cosign's public keys for a registry's images.
func (c *cli) trustRegistry(prefix string, locations []string, skip, allowHTTP bool) error {
	prefix, err := config.TrustPrefix(prefix)
	if err != nil {
		return fmt.Errorf("cannot trust key: %w", err)
	}
	if len(locations) == 0 {
		return hint.Wrap(errors.New("cannot trust key: no PUBKEY is given, and registries announce none"), "name the file or URL of cosign.pub")
	}
	o, err := c.fetchOptions()
	if err != nil {
		return err
	}
	o.InsecurePubkey = o.InsecurePubkey || allowHTTP
	ctx, stop := interruptible()
	defer stop()
	var all []trust.PublicKey
	for _, at := range locations {
		text, err := fetch.ReadKey(ctx, o, at)
		if err == nil {
			var keys []trust.PublicKey
			if keys, err = trust.ParsePublicKeys(text); err == nil {
				all = append(all, keys...)
			}
		}
		if err != nil {
			return fmt.Errorf("cannot trust key %q: %w", at, err)
		}
	}
	var texts []string
	for _, k := range all {
		texts = append(texts, string(k.PEM))
	}
	if err := fetch.CheckPublicKeys(ctx, o, texts); err != nil {
		return err
	}
	c.say(fmt.Sprintf("prefix: %q", registryScheme+prefix))
	for _, k := range all {
		c.say("public key is: " + k.ID)
	}
	if !skip {
		ok, err := c.ask(ctx, "give --skip-fingerprint-review")
		if err != nil {
			return fmt.Errorf("cannot trust key: %w", err)
		}
		if !ok {
			return errors.New("cannot trust key: it was not accepted")
		}
	}
	path, err := trust.AddRule(c.global.config, prefix, all)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "Added key for prefix %q at %q\n", registryScheme+prefix, path)
	return err
}

// reviewKey asks the user about a key. remedy is for the case that there is no
// terminal to ask at.
func (c *cli) reviewKey(remedy string) fetch.Review {
	return func(ctx context.Context, prefix, location string, key fetch.OpenPGPInfo) (bool, error) {
		c.showKey(prefix, location, key)
		return c.ask(ctx, remedy)
	}
}

// maxShown is how many subkeys and identities of a key are shown: a key with
// thousands of them would push its fingerprint off the screen, and bring lines
// that look like another.
const maxShown = 16

// showKey prints a key as rkt always has.
func (c *cli) showKey(prefix, location string, key fetch.OpenPGPInfo) {
	c.say(fmt.Sprintf("prefix: %q", prefix))
	c.say(fmt.Sprintf("key: %q", location))
	lines := []string{"gpg key fingerprint is: " + fingerprintGroups(key.Fingerprint)}
	list := func(indent string, words []string) {
		for i, w := range words {
			if i == maxShown {
				lines = append(lines, fmt.Sprintf("%s… and %d more", indent, len(words)-i))
				return
			}
			lines = append(lines, indent+w)
		}
	}
	var subkeys []string
	for _, s := range key.Subkeys {
		subkeys = append(subkeys, "Subkey fingerprint: "+fingerprintGroups(s))
	}
	list("    ", subkeys)
	list("        ", key.Identities)
	for _, l := range lines {
		ui.Message(c.Err, "", l)
	}
}

// fingerprintGroups is a fingerprint in groups of four, as people compare them.
func fingerprintGroups(fpr string) string {
	fpr = strings.ToUpper(fpr)
	var groups []string
	for len(fpr) > 4 {
		groups, fpr = append(groups, fpr[:4]), fpr[4:]
	}
	groups = append(groups, fpr)
	if len(groups) == 10 { // the middle is marked, as gpg does
		groups[5] = " " + groups[5]
	}
	return strings.Join(groups, " ")
}

// ask asks whether to trust what was shown; only "yes" and "no" are answers.
func (c *cli) ask(ctx context.Context, remedy string) (bool, error) {
	if !ui.IsTerminal(c.In) || !ui.IsTerminal(c.Err) {
		return false, hint.Wrap(errors.New("there is no terminal to ask at"), remedy)
	}
	in := bufio.NewReader(c.In)
	for {
		if _, err := io.WriteString(c.Err, "Are you sure you want to trust this key (yes/no)? "); err != nil {
			return false, err
		}
		line, err := readLine(ctx, in)
		if err != nil {
			return false, err
		}
		switch line {
		case "yes", "no":
			return line == "yes", nil
		}
		ui.Message(c.Err, "", "Please enter 'yes' or 'no'")
	}
}

// readLine reads a line until the user interrupts.
func readLine(ctx context.Context, in *bufio.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		line, err := in.ReadString('\n')
		got <- result{strings.TrimSpace(line), err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			return "", fmt.Errorf("cannot read the answer: %w", r.err)
		}
		return r.line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("interrupted: %w", context.Canceled)
	}
}
