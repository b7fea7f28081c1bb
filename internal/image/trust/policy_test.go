// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rkt/rkt/internal/config"
)

// key is a public key in looks only, and its ID.
func key(t testing.TB, content string) PublicKey {
	t.Helper()
	keys, err := ParsePublicKeys(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte(content)}))
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	return keys[0]
}

// rules writes files "dir/name=JSON without the header" and gives their
// directories.
func rules(t testing.TB, files ...string) config.Dirs {
	t.Helper()
	base := t.TempDir()
	for _, f := range files {
		path, text, _ := strings.Cut(f, "=")
		which, name, _ := strings.Cut(path, "/")
		dir := filepath.Join(base, which, "trust.d")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		text = `{"rktKind":"trust","rktVersion":"v1",` + text + `}`
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return config.Dirs{System: filepath.Join(base, "system"), Local: filepath.Join(base, "local"), User: filepath.Join(base, "user")}
}

func quoted(t testing.TB, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRuleFor(t *testing.T) {
	a := key(t, "a")
	signed := fmt.Sprintf(`"type":"signedBy","keys":[%s]`, quoted(t, string(a.PEM)))
	const reject, accept = `"type":"reject"`, `"type":"insecureAcceptAnything"`
	for name, c := range map[string]struct {
		files           []string
		repo            string
		prefix, typ, as string
	}{
		"none":                {nil, "quay.io/a/b", "", "", ""},
		"host":                {[]string{`local/a="prefixes":["quay.io"],` + reject}, "quay.io/a/b", "quay.io", "reject", "quay.io/a/b"},
		"longest":             {[]string{`local/a="prefixes":["quay.io"],` + reject, `local/b="prefixes":["quay.io/a"],` + signed}, "quay.io/a/b", "quay.io/a", "signedBy", "quay.io/a/b"},
		"longest, exactly":    {[]string{`local/a="prefixes":["quay.io/a"],` + reject, `local/b="prefixes":["quay.io/a/b"],` + accept}, "quay.io/a/b", "quay.io/a/b", "insecureAcceptAnything", "quay.io/a/b"},
		"components":          {[]string{`local/a="prefixes":["quay.io/core"],` + accept}, "quay.io/coreos/etcd", "", "", ""},
		"components of host":  {[]string{`local/a="prefixes":["quay.io"],` + accept}, "quay.io.evil.com/x", "", "", ""},
		"the usual port":      {[]string{`local/a="prefixes":["quay.io"],` + reject}, "quay.io:443/x", "quay.io", "reject", "quay.io/x"},
		"spelled out":         {[]string{`local/a="prefixes":["quay.io:443/x"],` + reject}, "quay.io/x", "quay.io/x", "reject", "quay.io/x"},
		"of Docker Hub":       {[]string{`local/a="prefixes":["docker.io"],` + reject}, "registry-1.docker.io:443/library/x", "registry-1.docker.io", "reject", "registry-1.docker.io/library/x"},
		"of its other name":   {[]string{`local/a="prefixes":["docker.io/library"],` + reject}, "index.docker.io:443/library/x", "registry-1.docker.io/library", "reject", "registry-1.docker.io/library/x"},
		"a port is the host":  {[]string{`local/a="prefixes":["localhost"],` + accept}, "localhost:5000/x", "", "", ""},
		"everywhere":          {[]string{`local/a="prefixes":["*"],` + reject, `local/b="prefixes":["quay.io"],` + accept}, "ghcr.io/x", "*", "reject", "ghcr.io/x"},
		"but not":             {[]string{`local/a="prefixes":["*"],` + reject, `local/b="prefixes":["quay.io"],` + accept}, "quay.io/x", "quay.io", "insecureAcceptAnything", "quay.io/x"},
		"Docker Hub":          {[]string{`local/a="prefixes":["docker.io/library"],` + accept}, "registry-1.docker.io/library/busybox", "registry-1.docker.io/library", "insecureAcceptAnything", "registry-1.docker.io/library/busybox"},
		"local over system":   {[]string{`system/a="prefixes":["quay.io"],` + accept, `local/a="prefixes":["quay.io"],` + reject}, "quay.io/x", "quay.io", "reject", "quay.io/x"},
		"user over local":     {[]string{`user/a="prefixes":["quay.io"],` + accept, `local/a="prefixes":["quay.io"],` + reject}, "quay.io/x", "quay.io", "insecureAcceptAnything", "quay.io/x"},
		"a longer one stays":  {[]string{`system/a="prefixes":["quay.io/x"],` + reject, `user/a="prefixes":["quay.io"],` + accept}, "quay.io/x", "quay.io/x", "reject", "quay.io/x"},
		"signed where it was": {[]string{`local/a="prefixes":["mirror.example:5000/hub"],"signedPrefix":"docker.io/library",` + signed}, "mirror.example:5000/hub/busybox", "mirror.example:5000/hub", "signedBy", "registry-1.docker.io/library/busybox"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := RuleFor(rules(t, c.files...), c.repo)
			if err != nil {
				t.Fatal(err)
			}
			if r.Prefix != c.prefix || r.Type != c.typ || r.SignedAs != c.as {
				t.Errorf("%+v", r)
			}
			if r.Type == config.SignedBy && (len(r.Keys) != 1 || !r.Key(a.ID) || r.Key("sha256:0")) {
				t.Errorf("keys %v", r.Keys)
			}
		})
	}
}

// TestBadPolicy: what cannot be understood is an error for every image, never
// the lack of a rule.
func TestBadPolicy(t *testing.T) {
	text := quoted(t, string(key(t, "a").PEM))
	for says, files := range map[string][]string{
		"already set by":              {`local/a="prefixes":["quay.io"],"type":"reject"`, `local/b="prefixes":["quay.io"],"type":"reject"`},
		"already set by \"a.json\"":   {`local/a="prefixes":["docker.io/x"],"type":"reject"`, `local/b="prefixes":["registry-1.docker.io/x"],"type":"insecureAcceptAnything"`},
		"prefixes is missing":         {`local/a="type":"reject"`},
		"type is missing":             {`local/a="prefixes":["quay.io"]`},
		`type "accept" is not known`:  {`local/a="prefixes":["quay.io"],"type":"accept"`},
		"wants keys or keyFiles":      {`local/a="prefixes":["quay.io"],"type":"signedBy"`},
		"only go with type":           {`local/a="prefixes":["quay.io"],"type":"insecureAcceptAnything","keys":[` + text + `]`},
		"unknown field":               {`local/a="prefixes":["quay.io"],"type":"reject","keyPath":"/x"`},
		"want an absolute path":       {`local/a="prefixes":["quay.io"],"type":"signedBy","keyFiles":["cosign.pub"]`},
		"no such file":                {`local/a="prefixes":["quay.io"],"type":"signedBy","keyFiles":["/nonexistent/cosign.pub"]`},
		"no public key in PEM":        {`local/a="prefixes":["quay.io"],"type":"signedBy","keys":["AAAA"]`},
		"belongs to whoever signs":    {`local/a="prefixes":["quay.io"],"type":"signedBy","keys":["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]`},
		"does not begin with a regis": {`local/a="prefixes":["coreos/etcd"],"type":"reject"`},
		`"https:`:                     {`local/a="prefixes":["https://quay.io"],"type":"reject"`},
		"ends in a slash":             {`local/a="prefixes":["quay.io/"],"type":"reject"`},
		"which no repository has":     {`local/a="prefixes":["quay.io/../x"],"type":"reject"`},
		"nothing to stand for":        {`local/a="prefixes":["*"],"type":"signedBy","signedPrefix":"quay.io","keys":[` + text + `]`},
	} {
		if r, err := RuleFor(rules(t, files...), "quay.io/some/image"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v %v, want %q", r, err, says)
		}
	}
	unreadable := rules(t, `local/a="prefixes":["quay.io"],"type":"reject"`)
	path := filepath.Join(unreadable.Local, "trust.d", "b.json")
	if err := os.Symlink("/nonexistent", path); err != nil {
		t.Fatal(err)
	}
	if _, err := RuleFor(unreadable, "ghcr.io/x"); err == nil {
		t.Error("a policy that is not there was passed over")
	}
}

func TestAddRule(t *testing.T) {
	d := rules(t, `local/own="prefixes":["ghcr.io"],"type":"reject"`)
	a, b := key(t, "a"), key(t, "b")
	path, err := AddRule(d, "quay.io/coreos", []PublicKey{a})
	if err != nil || path != filepath.Join(d.Local, "trust.d", "quay.io,coreos.json") {
		t.Fatal(path, err)
	}
	for range 2 { // again changes nothing
		if _, err := AddRule(d, "quay.io/coreos", []PublicKey{b}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := RuleFor(d, "quay.io/coreos/etcd")
	if err != nil || len(r.Keys) != 2 || !r.Key(a.ID) || !r.Key(b.ID) {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := AddRule(d, "ghcr.io", []PublicKey{a}); err == nil || !strings.Contains(err.Error(), `of type "reject"`) {
		t.Error(err)
	}
	if last, err := RemoveRule(d, "quay.io/coreos", a.ID); err != nil || last {
		t.Error(last, err)
	}
	if _, err := RemoveRule(d, "quay.io/coreos", a.ID); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if _, err := RemoveRule(d, "ghcr.io", a.ID); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if last, err := RemoveRule(d, "quay.io/coreos", b.ID); err != nil || !last {
		t.Error(last, err)
	}
	if r, err := RuleFor(d, "quay.io/coreos/etcd"); err != nil || r.Type != "" {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := AddRule(d, config.Everywhere, []PublicKey{a}); err != nil {
		t.Error(err)
	}

	// A file of that name which somebody wrote for more is his.
	mine := rules(t, `local/quay.io,x="prefixes":["quay.io/x","quay.io/y"],"type":"signedBy","keys":[`+quoted(t, string(a.PEM))+`]`)
	if _, err := AddRule(mine, "quay.io/x", []PublicKey{b}); err == nil || !strings.Contains(err.Error(), "about other prefixes") {
		t.Error(err)
	}
	if _, err := RemoveRule(mine, "quay.io/x", a.ID); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
}

// TestAddRuleTogether: of keys that are added at once none is lost.
func TestAddRuleTogether(t *testing.T) {
	d := rules(t)
	var wg sync.WaitGroup
	var ids []string
	for i := range 16 {
		k := key(t, fmt.Sprint(i))
		ids = append(ids, k.ID)
		wg.Go(func() {
			if _, err := AddRule(d, "quay.io", []PublicKey{k}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := RuleFor(d, "quay.io/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if !r.Key(id) {
			t.Errorf("key %s is lost", id)
		}
	}
}

func FuzzRule(f *testing.F) {
	f.Add(`{"rktKind":"trust","rktVersion":"v1","prefixes":["quay.io"],"type":"reject"}`, "quay.io/a")
	f.Add(`{"rktKind":"trust","rktVersion":"v1","prefixes":["*"],"type":"signedBy","keys":["x"]}`, "quay.io/a")
	f.Fuzz(func(t *testing.T, text, repo string) {
		d := config.Dirs{Local: t.TempDir()}
		if err := os.Mkdir(filepath.Join(d.Local, "trust.d"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.Local, "trust.d", "f.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := RuleFor(d, repo)
		if err != nil || r.Type == "" {
			return
		}
		if r.Prefix != config.Everywhere && repo != r.Prefix && !strings.HasPrefix(repo, r.Prefix+"/") {
			t.Errorf("the rule for %q was used for %q", r.Prefix, repo)
		}
		if r.Type == config.SignedBy && len(r.Keys) == 0 {
			t.Errorf("%q is signed by nobody", text)
		}
	})
}

func FuzzParsePublicKeys(f *testing.F) {
	f.Add(string(key(f, "a").PEM))
	f.Add("-----BEGIN PUBLIC KEY-----")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParsePublicKeys([]byte(text))
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			again, err := ParsePublicKeys(k.PEM)
			if err != nil || len(again) != 1 || again[0].ID != k.ID {
				t.Errorf("%q is not what it was: %v", k.PEM, err)
			}
		}
	})
}
