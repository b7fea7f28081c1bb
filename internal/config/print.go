// SPDX-License-Identifier: Apache-2.0

package config

// Masked stands in for secrets that are not to be shown.
const Masked = "********"

// Document returns the configuration in the form `rkt config` prints: an object
// whose stage0 lists one entry per key, each as it could stand in a file of its
// own. Secrets are replaced by Masked unless wanted.
func (c *Config) Document(secrets bool) any {
	hide := func(s string) string {
		if secrets || s == "" {
			return s
		}
		return Masked
	}
	basic := func(b BasicAuth) any { return BasicAuth{b.User, hide(b.Password)} }
	list := []any{}
	type head struct {
		Version string `json:"rktVersion"`
		Kind    string `json:"rktKind"`
	}
	for _, d := range Sorted(c.Auth) {
		a := c.Auth[d]
		var cred any
		switch a.Type {
		case "basic":
			cred = basic(a.Basic)
		case "oauth":
			cred = OAuth{hide(a.OAuth.Token)}
		case "aws":
			cred = AWS{a.AWS.AccessKeyID, hide(a.AWS.SecretAccessKey), a.AWS.Region}
		}
		list = append(list, struct {
			head
			Domains     []string `json:"domains"`
			Type        string   `json:"type"`
			Credentials any      `json:"credentials"`
		}{head{version, "auth"}, []string{d}, a.Type, cred})
	}
	for _, r := range Sorted(c.DockerAuth) {
		list = append(list, struct {
			head
			Registries  []string `json:"registries"`
			Credentials any      `json:"credentials"`
		}{head{version, "dockerAuth"}, []string{r}, basic(c.DockerAuth[r])})
	}
	list = append(list, struct {
		head
		Paths
	}{head{version, "paths"}, c.Paths})
	for _, r := range Sorted(c.Registries) {
		list = append(list, struct {
			head
			Registries []string `json:"registries"`
			RegistryRules
		}{head{version, "registries"}, []string{r}, c.Registries[r]})
	}
	if c.Stage1 != (Stage1{}) {
		list = append(list, struct {
			head
			Stage1
		}{head{version, "stage1"}, c.Stage1})
	}
	for _, p := range Sorted(c.Trust) {
		list = append(list, struct {
			head
			Prefixes []string `json:"prefixes"`
			TrustRule
		}{head{version, "trust"}, []string{p}, c.Trust[p]})
	}
	return map[string]any{"stage0": list}
}
