// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/trust"
)

// DiscoverKeys gives the URLs of the keys that are announced for prefix.
func DiscoverKeys(ctx context.Context, opt Options, prefix string) ([]string, error) {
	d, err := Discover(ctx, opt.forKeys(), aci.Name{Name: aci.ACIdentifier(prefix)})
	if err != nil {
		return nil, err
	}
	if len(d.PublicKeys) == 0 {
		return nil, fmt.Errorf("%q announces no keys that may be fetched (ac-discovery-pubkeys)", prefix)
	}
	return d.PublicKeys, nil
}

// forKeys are the options under which keys are looked for: a key that came by
// plain http or from anybody's TLS server is only as good as its review.
func (o Options) forKeys() Options {
	o.InsecureHTTP = o.InsecurePubkey
	o.InsecureTLS = o.InsecureTLS || o.InsecurePubkey
	return o
}

// ReadKey gets a key from a path or URL. One by plain http is refused unless
// opt.InsecurePubkey.
func ReadKey(ctx context.Context, opt Options, at string) ([]byte, error) {
	if strings.HasPrefix(at, "https://") || strings.HasPrefix(at, "http://") {
		if strings.HasPrefix(at, "http://") && !opt.InsecurePubkey {
			return nil, hint.Wrap(errors.New("it would come by plain http"),
				"use https, or accept the risk with --insecure-allow-http or --insecure-options=pubkey")
		}
		return Download(ctx, opt.forKeys(), at, trust.MaxKey)
	}
	f, err := os.Open(at)
	if err != nil {
		return nil, plainCause(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, trust.MaxKey+1))
	switch {
	case err != nil:
		return nil, plainCause(err)
	case len(data) > trust.MaxKey:
		return nil, fmt.Errorf("it is larger than %d bytes", trust.MaxKey)
	case len(data) == 0:
		return nil, errors.New("it is empty")
	}
	return data, nil
}
