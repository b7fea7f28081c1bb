// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"io"

	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
)

func newFetch(c *cli) *command {
	var (
		full bool
		w    wish
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

An image that nothing vouches for is refused, unless --insecure-options=image
accepts the risk. A name with a digest vouches for itself.`,
		example: `  rkt fetch docker://quay.io/coreos/etcd@sha256:…
  rkt --insecure-options=image fetch docker://busybox oci:/srv/web:v1 ./app.aci`,
		args:  someArgs("the image"),
		words: c.imageWords,
		run: func(args []string) error {
			policy := w.pullPolicy
			if policy == "" {
				policy = string(fetch.Update)
			}
			return c.fetch(args, fetch.Policy(policy), full)
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&full, "full", false, "print whole IDs")
	w.registerPullPolicy(fs, "update")
	refuse(fs, "signature", "", noSignatures)
	return cmd
}

func (c *cli) fetch(images []string, policy fetch.Policy, full bool) error {
	refs, err := parseRefs(images)
	if err != nil {
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
