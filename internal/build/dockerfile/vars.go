// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/rkt/rkt/internal/image/ociconfig"
)

// vars are variables in the order in which they were set; a later one of a name
// takes the place of the earlier.
type vars []string

func (v vars) get(name string) (string, bool) {
	for i := len(v) - 1; i >= 0; i-- {
		if n, value, ok := strings.Cut(v[i], "="); ok && n == name {
			return value, true
		}
	}
	return "", false
}

func (v vars) set(name, value string) vars {
	for i, e := range v {
		if n, _, _ := strings.Cut(e, "="); n == name {
			v = slices.Clone(v)
			v[i] = name + "=" + value
			return v
		}
	}
	return append(v[:len(v):len(v)], name+"="+value)
}

// expander expands $NAME and ${NAME…} in words. It is for one goroutine.
type expander struct{ lex *shell.Lex }

func newExpander(escape rune) expander { return expander{shell.NewLex(escape)} }

func (e expander) word(word string, env vars) (string, error) {
	s, _, err := e.lex.ProcessWord(word, shell.EnvsFromSlice(env))
	return s, err
}

// words expands a word that may become several, or none.
func (e expander) words(word string, env vars) ([]string, error) {
	return e.lex.ProcessWords(word, shell.EnvsFromSlice(env))
}

// plain expands without touching quotes, for here-documents.
func (e expander) plain(word string, env vars) (string, error) {
	l := *e.lex
	l.SkipProcessQuotes, l.RawQuotes = true, true
	s, _, err := l.ProcessWord(word, shell.EnvsFromSlice(env))
	return s, err
}

// proxies may be given to any build without an ARG for them; they change neither
// the image nor what the cache knows it by.
func proxies() []string {
	return []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy",
		"NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"}
}

// platformArgs are what BuildKit sets in the global scope.
func platformArgs(target ociconfig.Platform, stage string) vars {
	host := ociconfig.Host()
	return vars{
		"BUILDPLATFORM=" + host.String(), "BUILDOS=" + host.OS, "BUILDARCH=" + host.Architecture, "BUILDVARIANT=" + host.Variant,
		"TARGETPLATFORM=" + target.String(), "TARGETOS=" + target.OS, "TARGETARCH=" + target.Architecture, "TARGETVARIANT=" + target.Variant,
		"TARGETSTAGE=" + stage,
	}
}
