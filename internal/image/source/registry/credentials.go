// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// Credentials reads what Docker's or podman's configuration, and the credential
// helpers that it names, have for hosts (host[:port]). It runs as whoever
// started rkt, in a process that sees nothing a stranger wrote.
func Credentials(ctx context.Context, hosts []string) ([]wire.Credential, error) {
	var found []wire.Credential
	for _, host := range hosts {
		filed := host
		if sameHub(host, hub) {
			filed = name.DefaultRegistry
		}
		reg, err := name.NewRegistry(filed)
		if err != nil {
			continue // fetching says so
		}
		auth, err := authn.Resolve(ctx, authn.DefaultKeychain, reg)
		if err == nil && auth == authn.Anonymous {
			continue
		}
		var c *authn.AuthConfig
		if err == nil {
			c, err = authn.Authorization(ctx, auth)
		}
		if err != nil {
			return nil, hint.Wrap(fmt.Errorf("cannot read credentials for %s: %w", host, err),
				"check ~/.docker/config.json and the credential helpers it names")
		}
		found = append(found, wire.Credential{Registry: host, User: c.Username, Password: c.Password,
			Token: c.RegistryToken, IdentityToken: c.IdentityToken})
	}
	return found, nil
}

// hub is Docker Hub's registry; its credentials are filed under other names.
const hub = "registry-1.docker.io"

func sameHub(a, b string) bool {
	isHub := func(s string) bool { return s == hub || s == "index.docker.io" || s == "docker.io" }
	return isHub(a) && isHub(b)
}
