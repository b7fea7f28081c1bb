// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"slices"
	"strings"
	"testing"
)

// What is written of packages is read again, and nothing else is.
func TestRecord(t *testing.T) {
	list := []Package{
		{Name: "b", Version: "1:2-3", Arch: "all", Source: "s", SourceVersion: "2-3", SHA256: "00"},
		{Name: "a", Version: "1", Arch: "amd64", Source: "a", SourceVersion: "1", SHA256: "11"},
	}
	got, err := ParseRecord(Record(list))
	slices.Reverse(list)
	if err != nil || !slices.Equal(got, list) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"a 1 amd64\n", "a 1 amd64 00 source a 1\n", "a 1 amd64 sha256:00 of a 1\n", "\n"} {
		if _, err := ParseRecord([]byte(bad)); err == nil {
			t.Errorf("%q is a record", bad)
		}
	}
}

// The source of signed programs is that which was signed.
func TestSigned(t *testing.T) {
	p := Package{Source: "linux-signed-amd64", SourceVersion: "6.1.192+2"}
	p.signed("linux (= 6.1.192-2)")
	if p.Source != "linux" || p.SourceVersion != "6.1.192-2" {
		t.Errorf("%s %s", p.Source, p.SourceVersion)
	}
	p = Package{Source: "systemd", SourceVersion: "252"}
	p.signed("glibc (= 2.36)")
	if p.Source != "systemd" {
		t.Errorf("%s %s", p.Source, p.SourceVersion)
	}
}

func TestReferred(t *testing.T) {
	got := Referred([]byte("in /usr/share/common-licenses/GPL-2.\nsee `/usr/share/common-licenses/LGPL-2.1', /usr/share/common-licenses/GPL-2, /usr/share/common-licenses/"))
	if !slices.Equal(got, []string{"GPL-2", "LGPL-2.1"}) {
		t.Errorf("%q", got)
	}
	if _, err := Notice([]Package{{Name: "a"}}, nil); err == nil || !strings.Contains(err.Error(), "copyright of a") {
		t.Errorf("a notice without a copyright: %v", err)
	}
}
