// SPDX-License-Identifier: Apache-2.0

package wall

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/seccomp"
)

func TestLookUp(t *testing.T) {
	for passwd, want := range map[string]struct {
		uid, gid uint32
		err      string
	}{
		"":                           {FixedID, FixedID, ""},
		"root:x:0:0::/:/\n":          {FixedID, FixedID, ""},
		"rkt-fetch:x:998:997::/:/\n": {998, 997, ""},
		"a:x:60578:5::/:/\nrkt-fetch:x:998:997::/:/\n": {998, 997, ""},
		"a:x:60578:5::/:/\n":                           {0, 0, "somebody else has that id"},
		"rkt-fetch:x:0:0::/:/\n":                       {0, 0, "its ids"},
		"rkt-fetch:x:-1:5::/:/\n":                      {0, 0, "its ids"},
		"rkt-fetch:x:4294967296:5::/\n":                {0, 0, "its ids"},
		"rkt-fetch\nx\n":                               {FixedID, FixedID, ""},
	} {
		uid, gid, err := lookUp(strings.NewReader(passwd))
		if uid != want.uid || gid != want.gid || (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%q: %d, %d, %v", passwd, uid, gid, err)
		}
	}
}

func TestMapped(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n": true,
		"0 1000 1\n":                         false,
		"0 1000 1\n1 100000 65536\n":         true,
		"0 100000 60578\n":                   false,
		"0 100000 60579\n":                   true,
		"":                                   false,
		"x y z\n":                            false,
	} {
		if got := mapped(text, FixedID); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestNames: every name in the lists is a system call's; a misspelt one would
// be a hole, or a helper's death.
func TestNames(t *testing.T) {
	for _, list := range [][]string{hostile, plainCalls, connecting, filling} {
		for _, name := range list {
			if _, ok := seccomp.Lookup(name); !ok {
				t.Errorf("no system call %q", name)
			}
		}
	}
	for _, k := range []Kind{Get, Push, Read, Unpack, Look, Inflate, Verify, Sign, Agent, Plain, Gzip, PodManifest, YAML} {
		row, ok := Of(k)
		if p, err := row.Filter(1); !ok || err != nil || len(p) == 0 || len(p) > 2000 {
			t.Errorf("%s: %d instructions, %v", k, len(p), err)
		}
		if row.Memory == 0 || row.Descriptors == 0 {
			t.Errorf("%s: no limits: %+v", k, row)
		}
		if row.Keeps != 0 && !row.Fills || row.Keeps.Has(unix.CAP_SYS_PTRACE) {
			t.Errorf("%s keeps %v", k, row.Keeps)
		}
	}
	if _, ok := Of("nothing"); ok {
		t.Error("a kind that is none")
	}
}

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	in := "a\x1b[2Jb\r\n\tc\u009bd ü\n"
	if n, err := (plain{&b}).Write([]byte(in)); n != len(in) || err != nil || b.String() != "a?[2Jb?\n\tc?d ü\n" {
		t.Errorf("%d, %v, %q", n, err, b.String())
	}
}
