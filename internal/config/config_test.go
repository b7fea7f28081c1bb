// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tree writes files, named dir/sub.d/file.json, below a temporary directory and
// returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func dirs(root string) Dirs {
	return Dirs{filepath.Join(root, "system"), filepath.Join(root, "local"), filepath.Join(root, "user")}
}

const (
	basicA = `{"rktKind":"auth","rktVersion":"v1","domains":["a.example","b.example"],"type":"basic","credentials":{"user":"u","password":"p"}}`
	oauthA = `{"rktKind":"auth","rktVersion":"v1","domains":["a.example"],"type":"oauth","credentials":{"token":"t"}}`
	awsC   = `{"rktKind":"auth","rktVersion":"v1","domains":["c.example"],"type":"aws","credentials":{"accessKeyID":"k","secretAccessKey":"s","awsRegion":"r"}}`
	dock   = `{"rktKind":"dockerAuth","rktVersion":"v1","registries":["registry-1.docker.io"],"credentials":{"user":"u","password":"p"}}`
	regs   = `{"rktKind":"registries","rktVersion":"v1","registries":["r.example:5000"],"plainHTTP":true,"mirrors":["m.example","http://[::1]:5000/cache"]}`
)

func TestLoad(t *testing.T) {
	d := dirs(tree(t, map[string]string{
		"system/auth.d/a.json":       basicA,
		"system/auth.d/ignored.txt":  "not json",
		"system/auth.d/sub.json/x":   "a directory named like a file",
		"local/auth.d/a.json":        oauthA, // overrides a.example only
		"local/auth.d/c.json":        awsC,
		"user/auth.d/docker.json":    dock,
		"local/registries.d/r.json":  regs,
		"system/paths.d/p.json":      `{"rktKind":"paths","rktVersion":"v1","data":"/a","stage1-images":"/s/","cni-networks":["/etc/cni/net.d"],"cni-plugins":["/opt/p/"]}`,
		"user/paths.d/p.json":        `{"rktKind":"paths","rktVersion":"v1","data":"/b","cni-networks":[]}`,
		"system/stage1.d/one.json":   `{"rktKind":"stage1","rktVersion":"v1","name":"n","version":"1"}`,
		"system/stage1.d/two.json":   `{"rktKind":"stage1","rktVersion":"v1","location":"/x/native.json"}`,
		"system/net.d/10-other.json": "belongs to somebody else",
	}))
	got, err := Load(d)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Auth: map[string]Auth{
			"a.example": {Type: "oauth", OAuth: OAuth{"t"}},
			"b.example": {Type: "basic", Basic: BasicAuth{"u", "p"}},
			"c.example": {Type: "aws", AWS: AWS{"k", "s", "r"}},
		},
		DockerAuth: map[string]BasicAuth{"registry-1.docker.io": {"u", "p"}},
		Registries: map[string]RegistryRules{"r.example:5000": {true, []string{"m.example", "http://[::1]:5000/cache"}}},
		Paths:      Paths{"/b", "/s", []string{}, []string{"/opt/p"}, nil},
		Stage1:     Stage1{"n", "1", "/x/native.json"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	paths, err := LoadPaths(d)
	if err != nil || !cmp.Equal(paths, want.Paths) {
		t.Errorf("LoadPaths = %v, %v", paths, err)
	}
}

func TestMissingDirectoriesAreEmpty(t *testing.T) {
	c, err := Load(Dirs{System: "/nonexistent/rkt", Local: ""})
	if err != nil || len(c.Auth) != 0 {
		t.Errorf("Load = %v, %v", c, err)
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"not json":       {"auth.d/a.json", `{`, "unexpected end of JSON input"},
		"no kind":        {"auth.d/a.json", `{"rktVersion":"v1"}`, "rktKind is missing"},
		"no version":     {"auth.d/a.json", `{"rktKind":"auth"}`, "rktVersion is missing"},
		"other version":  {"auth.d/a.json", `{"rktKind":"auth","rktVersion":"v2"}`, `rktVersion "v2" is not known`},
		"wrong place":    {"auth.d/a.json", `{"rktKind":"paths","rktVersion":"v1"}`, "does not belong"},
		"unknown field":  {"auth.d/a.json", `{"rktKind":"auth","rktVersion":"v1","domain":["x"]}`, `unknown field "domain"`},
		"trailing":       {"paths.d/a.json", `{"rktKind":"paths","rktVersion":"v1"} {}`, "after top-level value"},
		"no domains":     {"auth.d/a.json", `{"rktKind":"auth","rktVersion":"v1","type":"basic","credentials":{}}`, "domains is missing"},
		"unknown type":   {"auth.d/a.json", `{"rktKind":"auth","rktVersion":"v1","domains":["x"],"type":"ntlm","credentials":{}}`, `type "ntlm" is not known`},
		"no password":    {"auth.d/a.json", `{"rktKind":"auth","rktVersion":"v1","domains":["x"],"type":"basic","credentials":{"user":"u"}}`, "want user and password"},
		"no token":       {"auth.d/a.json", `{"rktKind":"auth","rktVersion":"v1","domains":["x"],"type":"oauth","credentials":{}}`, "no token"},
		"url as domain":  {"auth.d/a.json", `{"rktKind":"auth","rktVersion":"v1","domains":["https://x/"],"type":"oauth","credentials":{"token":"t"}}`, "not a host"},
		"no credentials": {"auth.d/a.json", `{"rktKind":"dockerAuth","rktVersion":"v1","registries":["x"]}`, "credentials is missing"},
		"relative data":  {"paths.d/a.json", `{"rktKind":"paths","rktVersion":"v1","data":"var/lib"}`, "want an absolute path"},
		"name alone":     {"stage1.d/a.json", `{"rktKind":"stage1","rktVersion":"v1","name":"n"}`, "name and version want each other"},
		"location":       {"stage1.d/a.json", `{"rktKind":"stage1","rktVersion":"v1","location":"x.aci"}`, "want an absolute path or"},
		"bad mirror":     {"registries.d/a.json", `{"rktKind":"registries","rktVersion":"v1","registries":["x"],"mirrors":["ftp://y"]}`, `mirror "ftp://y"`},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, map[string]string{"local/" + c.file: c.text})
			_, err := Load(dirs(root))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if !strings.HasPrefix(err.Error(), "cannot read configuration ") {
				t.Errorf("%v does not say where", err)
			}
		})
	}
}

func TestSameKeyTwiceInOneDirectory(t *testing.T) {
	root := tree(t, map[string]string{"local/auth.d/1.json": basicA, "local/auth.d/2.json": oauthA})
	_, err := Load(dirs(root))
	if err == nil || !strings.Contains(err.Error(), `domain "a.example" is already set by "1.json"`) {
		t.Errorf("got %v", err)
	}
	root = tree(t, map[string]string{"local/auth.d/1.json": strings.Replace(basicA, "b.example", "a.example", 1)})
	if _, err := Load(dirs(root)); err == nil {
		t.Error("a key twice in one file was accepted")
	}
}

func TestFIFODoesNotBlock(t *testing.T) {
	root := tree(t, map[string]string{"local/auth.d/x.txt": ""})
	if err := unix.Mkfifo(filepath.Join(root, "local/auth.d/f.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dirs(root)); err != nil {
		t.Error(err)
	}
}

// What `rkt config` prints can be split into files again and means the same.
func TestDocumentRoundTrip(t *testing.T) {
	d := dirs(tree(t, map[string]string{
		"local/auth.d/a.json": basicA, "local/auth.d/c.json": awsC, "local/auth.d/d.json": dock,
		"local/registries.d/r.json": regs, "local/paths.d/p.json": `{"rktKind":"paths","rktVersion":"v1","data":"/b"}`,
		"local/stage1.d/s.json": `{"rktKind":"stage1","rktVersion":"v1","name":"n","version":"1","location":"/x"}`,
	}))
	c, err := Load(d)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c.Document(true))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Stage0 []json.RawMessage `json:"stage0"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	again := &Config{}
	for _, f := range doc.Stage0 {
		if err := again.parse(f, []string{"auth", "dockerAuth", "paths", "registries", "stage1"}, "f", once{}); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
	}
	if diff := cmp.Diff(c, again); diff != "" {
		t.Error(diff)
	}
	masked, err := json.Marshal(c.Document(false))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{`"p"`, `"s"`} {
		if bytes.Contains(masked, []byte(secret)) {
			t.Errorf("%s shows %s", masked, secret)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{basicA, oauthA, awsC, dock, regs, `{"rktKind":"paths","rktVersion":"v1","data":"/a"}`, `{"rktKind":"stage1","rktVersion":"v1","location":"/x"}`, `[]`, ``} {
		f.Add([]byte(s))
	}
	all := []string{"auth", "dockerAuth", "paths", "registries", "stage1"}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := &Config{}
		if c.parse(text, all, "f.json", once{}) != nil {
			return
		}
		// Whatever is accepted can be printed.
		if _, err := json.Marshal(c.Document(false)); err != nil {
			t.Fatal(err)
		}
		if c.Paths.Data != "" && !filepath.IsAbs(c.Paths.Data) {
			t.Fatalf("relative data path %q accepted", c.Paths.Data)
		}
	})
}
