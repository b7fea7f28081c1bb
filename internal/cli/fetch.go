// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
)

func newFetch(c *cli) *command {
	var (
		full      bool
		signature string
		w         wish
	)
	cmd := &command{
		usage: "[OPTION…] IMAGE…",
		short: "fetch images into the store",
		long: `Fetches images and stores them; the ID of each goes to standard output. Layers
that are stored already are not fetched again, and nothing enters the store before
its digest is proven. If one image fails the others are fetched all the same.

With --pull-policy=update (the default here) a registry is asked whether the name
means another image by now; with new, what is stored under that name will do;
with never nothing is fetched.

A name without a scheme, such as coreos.com/etcd:v3.5, is an App Container Image's:
its host is asked over https where the image lies, and if it knows of none the
registry on that host is asked. What an image depends on is fetched with it.

An image that nothing vouches for is refused, unless --insecure-options=image
accepts the risk. A name with a digest vouches for itself. An .aci takes an OpenPGP
signature by a key that rkt trust knows, beside it as FILE.aci.asc or named by
--signature. What images of registries take is the policy's to say, see rkt trust.`,
		example: `  rkt fetch docker://quay.io/coreos/etcd@sha256:…
  rkt --insecure-options=image fetch docker://busybox oci:/srv/web:v1 ./app.aci
  rkt fetch coreos.com/etcd:v3.5,arch=aarch64
  rkt fetch --signature=app.asc https://example.com/app.aci`,
		args:  someArgs("the image"),
		words: c.imageWords,
		run: func(args []string) error {
			policy := w.pullPolicy
			if policy == "" {
				policy = string(fetch.Update)
			}
			if signature != "" && len(args) > 1 {
				return fmt.Errorf("cannot use --signature: it goes with one image, not %d", len(args))
			}
			return c.fetch(args, signature, fetch.Policy(policy), full)
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&full, "full", false, "print whole IDs")
	w.registerPullPolicy(fs, "update")
	fs.StringVar(&signature, "signature", "", "the detached signature of an ACI is in `FILE`, not beside it")
	return cmd
}

func (c *cli) fetch(images []string, signature string, policy fetch.Policy, full bool) error {
	refs, err := parseRefs(images)
	if err != nil {
		return err
	}
	if signature != "" {
		if err := fetch.CheckSignable(refs[0].Ref); err != nil {
			return err
		}
	}
	if err := c.ownRoot(); err != nil {
		return err
	}
	dir, err := c.global.dataDir()
	if err != nil {
		return err
	}
	st, err := store.Open(dir)
	if err != nil {
		return err
	}
	defer st.Close()
	failed := failures{c: c}
	for _, r := range refs {
		r.signature = signature
		rec, err := c.fetchImage(st, r, policy)
		if err != nil {
			failed.add(err)
			if errors.Is(err, context.Canceled) {
				break
			}
			continue
		}
		id := rec.ID.Short()
		if full {
			id = string(rec.ID)
		}
		if _, err := io.WriteString(c.Out, id+"\n"); err != nil {
			return err
		}
	}
	return failed.err()
}
