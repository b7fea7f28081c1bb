// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/hint"
)

func TestChoose(t *testing.T) {
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	m := func(digest, name string) string {
		return fmt.Sprintf(`{"mediaType":"m","digest":%q,"size":1,"annotations":{"org.opencontainers.image.ref.name":%q}}`, digest, name)
	}
	for _, tc := range []struct {
		manifests, inner, want, says string
	}{
		{m(a, "one"), "", a, ""},
		{m(a, "one"), "one", a, ""},
		{m(a, "one") + "," + m(b, "two"), "two", b, ""},
		{m(a, "one") + "," + m(b, "two"), b, b, ""},
		{m(a, "one") + "," + m(a, "two"), "", a, ""}, // one image of two names
		{m(a, "one") + "," + m(b, "one"), "one", "", "has 2 images named"},
		{m(a, "one") + "," + m(b, "two"), "", "", "holds 2 images"},
		{m(a, b) + "," + m(b, "two"), b, b, ""}, // a digest is no name
		{m(a, b), b, "", "no image named"},
		{m(a, "one"), "two", "", "no image named"},
		{"", "", "", "holds no image"},
		{"", "x", "", "holds no image"},
		{"[", "", "", "cannot read index.json"},
	} {
		d, err := Choose([]byte(`{"manifests":[`+tc.manifests+`]}`), tc.inner, "dir")
		switch {
		case tc.says == "" && (err != nil || d.Digest != tc.want):
			t.Errorf("%q of %s = %s, %v; want %s", tc.inner, tc.manifests, d.Digest, err, tc.want)
		case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%q of %s = %v, want %q", tc.inner, tc.manifests, err, tc.says)
		}
	}
	_, err := Choose([]byte(`{"manifests":[`+m(a, "one")+`]}`), "two", "dir")
	if hint.Of(err) != "it has: one" {
		t.Errorf("hint = %q", hint.Of(err))
	}
}

// FuzzChoose reads a stranger's index.json.
func FuzzChoose(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:aa","size":1}]}`), "")
	f.Add([]byte(`{"manifests":[{"digest":"x","annotations":{"org.opencontainers.image.ref.name":"n"}}]}`), "n")
	f.Fuzz(func(t *testing.T, index []byte, inner string) {
		d, err := Choose(index, inner, "x")
		if err == nil && !json.Valid(index) {
			t.Fatalf("chose %+v from what is not JSON", d)
		}
		if err == nil {
			_, _ = blobPath(d.Digest)
		}
	})
}
