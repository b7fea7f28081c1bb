// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"maps"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// settings tells the helper what rkt's configuration says about registries.
func settings(c *config.Config) (registries []wire.Registry, credentials []wire.Credential) {
	for _, name := range slices.Sorted(maps.Keys(c.Registries)) {
		rules := c.Registries[name]
		r := wire.Registry{Name: realName(name), PlainHTTP: rules.PlainHTTP}
		for _, m := range rules.Mirrors {
			location, plain := strings.CutPrefix(m, "http://")
			location = strings.TrimPrefix(location, "https://")
			r.Mirrors = append(r.Mirrors, wire.Mirror{Location: strings.TrimSuffix(location, "/"), PlainHTTP: plain})
		}
		registries = append(registries, r)
	}
	for _, host := range slices.Sorted(maps.Keys(c.DockerAuth)) {
		a := c.DockerAuth[host]
		credentials = append(credentials, wire.Credential{Registry: realName(host), User: a.User, Password: a.Password})
	}
	return registries, credentials
}

// hostAuth tells the helper what rkt's configuration has for hosts of URLs.
func hostAuth(c *config.Config) (hosts []wire.HostAuth) {
	for _, host := range slices.Sorted(maps.Keys(c.Auth)) {
		h := wire.HostAuth{Host: host, Type: c.Auth[host].Type}
		switch a := c.Auth[host]; a.Type {
		case wire.AuthBasic:
			h.User, h.Secret = a.Basic.User, a.Basic.Password
		case wire.AuthBearer:
			h.Secret = a.OAuth.Token
		case wire.AuthAWS:
			h.User, h.Secret, h.Region = a.AWS.AccessKeyID, a.AWS.SecretAccessKey, a.AWS.Region
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// realName is a registry's name as references spell it out.
func realName(host string) string {
	switch host {
	case "docker.io", "index.docker.io":
		return "registry-1.docker.io"
	}
	return host
}
