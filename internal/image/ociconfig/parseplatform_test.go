// SPDX-License-Identifier: Apache-2.0

package ociconfig

import "testing"

// TestParsePlatform: what other programs write is understood, and refused, alike.
func TestParsePlatform(t *testing.T) {
	for text, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/amd64/v1": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3",
		"arm64": "linux/arm64", "linux/aarch64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7",
		"linux/armhf": "linux/arm/v7", "linux/armel": "linux/arm/v6", "linux/arm/6": "linux/arm/v6", "Linux/RISCV64": "linux/riscv64", "i386": "linux/386",
		"": "", "linux/": "", "linux//v7": "", "a/b/c/d": "",
	} {
		p, err := ParsePlatform(text)
		if got := p.String(); err != nil && want != "" || err == nil && got != want {
			t.Errorf("%q: %s, %v; want %q", text, got, err, want)
		}
	}
}
