// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/ui"
)

func TestShowKey(t *testing.T) {
	var b bytes.Buffer
	c := newCLI(ui.Streams{Err: &b})
	c.verb = "trust"
	key := fetch.OpenPGPInfo{Fingerprint: "bff313cdaa560b16a8987b8f72abf5f6799d33bc", Subkeys: []string{"0123456789abcdef0123456789abcdef01234567"},
		Identities: []string{"Quux <quux@example.com>", "\x1b[2Jclear"}}
	c.showKey("example.com", "https://example.com/key.asc", key)
	want := `trust: prefix: "example.com"
trust: key: "https://example.com/key.asc"
gpg key fingerprint is: BFF3 13CD AA56 0B16 A898  7B8F 72AB F5F6 799D 33BC
    Subkey fingerprint: 0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567
        Quux <quux@example.com>
        \x1b[2Jclear
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	for i := range 5000 {
		key.Identities = append(key.Identities, fmt.Sprint(i))
	}
	c.showKey("", "k", key)
	if n := strings.Count(b.String(), "\n"); n != 4+maxShown+1 || !strings.Contains(b.String(), "… and 4986 more") {
		t.Errorf("%d lines", n)
	}
}
