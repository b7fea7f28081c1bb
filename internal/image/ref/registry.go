// SPDX-License-Identifier: Apache-2.0

package ref

import "strings"

// InRegistry is the image of the same name in the registry of its host, for a
// Name that is HOST/NAME, maybe with a tag or a digest, and has no labels.
func (r Ref) InRegistry() (Ref, bool) {
	host, _, ok := strings.Cut(r.Text, "/")
	if r.Kind != Name || !ok || !isDomain(host) || strings.Contains(r.Text, ",") {
		return Ref{}, false
	}
	d, err := parseDocker(r.Text)
	return d, err == nil
}
