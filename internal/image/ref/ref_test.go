// SPDX-License-Identifier: Apache-2.0

package ref

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/rkt/rkt/internal/hint"
)

const (
	hex64  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	digest = "sha256:" + hex64
)

func TestParse(t *testing.T) {
	docker := func(registry, repository, tag, digest string) Ref {
		return Ref{Kind: Docker, Registry: registry, Repository: repository, Tag: tag, Digest: digest}
	}
	for in, want := range map[string]Ref{
		"sha512-ab":                                {Kind: ID, ID: "sha512-ab"},
		"sha256:AB0":                               {Kind: ID, ID: "sha256-ab0"},
		"sha256-" + hex64:                          {Kind: ID, ID: "sha256-" + hex64},
		"sha512-" + hex64:                          {Kind: ID, ID: "sha512-" + hex64},
		"sha256-tools":                             {Kind: Name, Text: "sha256-tools"},
		"sha256:latest":                            {Kind: Name, Text: "sha256:latest"},
		"docker://busybox":                         docker(hub, "library/busybox", "latest", ""),
		"docker:busybox":                           docker(hub, "library/busybox", "latest", ""),
		"docker://busybox:1.36":                    docker(hub, "library/busybox", "1.36", ""),
		"docker://a/b":                             docker(hub, "a/b", "latest", ""),
		"docker://docker.io/b":                     docker(hub, "library/b", "latest", ""),
		"docker://docker.io/a/b":                   docker(hub, "a/b", "latest", ""),
		"docker://index.docker.io/b:t":             docker(hub, "library/b", "t", ""),
		"docker://registry-1.docker.io/library/b":  docker(hub, "library/b", "latest", ""),
		"docker://quay.io/coreos/etcd:v3.5":        docker("quay.io", "coreos/etcd", "v3.5", ""),
		"docker://quay.io/x":                       docker("quay.io", "x", "latest", ""),
		"docker://QUAY.io/x":                       docker("quay.io", "x", "latest", ""),
		"docker://localhost/x":                     docker("localhost", "x", "latest", ""),
		"docker://localhost:5000/x:t":              docker("localhost:5000", "x", "t", ""),
		"docker://reg:5000/x":                      docker("reg:5000", "x", "latest", ""),
		"docker://127.0.0.1:5000/a/b/c:t":          docker("127.0.0.1:5000", "a/b/c", "t", ""),
		"docker://[::1]:5000/a:t":                  docker("[::1]:5000", "a", "t", ""),
		"docker://[0:0::1]/a":                      docker("[::1]", "a", "latest", ""),
		"docker://b@" + digest:                     docker(hub, "library/b", "", digest),
		"docker://quay.io/b:t@" + digest:           docker("quay.io", "b", "t", digest),
		"docker://b@sha512:" + hex64 + hex64:       docker(hub, "library/b", "", "sha512:"+hex64+hex64),
		"docker://a/x.y_z__w--v:_T.-":              docker(hub, "a/x.y_z__w--v", "_T.-", ""),
		"oci:dir":                                  {Kind: OCILayout, Path: "dir"},
		"oci:/a/dir:ref":                           {Kind: OCILayout, Path: "/a/dir", Inner: "ref"},
		"oci:L:reg.io/x:1.0":                       {Kind: OCILayout, Path: "L", Inner: "reg.io/x:1.0"},
		"oci:dir:@" + digest:                       {Kind: OCILayout, Path: "dir", Inner: "@" + digest},
		"oci-archive:f.tar":                        {Kind: OCIArchive, Path: "f.tar"},
		"docker-archive:./f.tar:busybox:1":         {Kind: DockerArchive, Path: "./f.tar", Inner: "busybox:1"},
		"/a/b":                                     {Kind: ACIFile, Path: "/a/b"},
		"/a/b:c.aci":                               {Kind: ACIFile, Path: "/a/b:c.aci"},
		"./a:b":                                    {Kind: ACIFile, Path: "./a:b"},
		"../x":                                     {Kind: ACIFile, Path: "../x"},
		"a/./x":                                    {Kind: ACIFile, Path: "a/./x"},
		"x.aci":                                    {Kind: ACIFile, Path: "x.aci"},
		"file:///x/y%20z.aci":                      {Kind: ACIFile, Path: "/x/y z.aci"},
		"file://localhost/x.aci":                   {Kind: ACIFile, Path: "/x.aci"},
		"file:/x.aci":                              {Kind: ACIFile, Path: "/x.aci"},
		"https://example.com/a.aci":                {Kind: ACIURL, Text: "https://example.com/a.aci"},
		"http://example.com:80/a.aci?x=1#f":        {Kind: ACIURL, Text: "http://example.com:80/a.aci?x=1#f"},
		"coreos.com/etcd":                          {Kind: Name, Text: "coreos.com/etcd"},
		"coreos.com/etcd:v3.1.0,os=linux":          {Kind: Name, Text: "coreos.com/etcd:v3.1.0,os=linux"},
		"my-app:v1":                                {Kind: Name, Text: "my-app:v1"},
		"localhost:5000/x:y":                       {Kind: Name, Text: "localhost:5000/x:y"},
		"busybox":                                  {Kind: Name, Text: "busybox"},
		"docker":                                   {Kind: Name, Text: "docker"},
		"oci":                                      {Kind: Name, Text: "oci"},
		"docker://a/b:" + strings.Repeat("t", 128): docker(hub, "a/b", strings.Repeat("t", 128), ""),
	} {
		got, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", in, d)
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Errorf("%s: its String %q parses to %+v, %v", in, got, again, err)
		}
	}
}

func TestRefuse(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "it is empty",
		"a\nb":                                   "control character",
		"a\xffb":                                 "not UTF-8",
		"sha256-a":                               "2 to 64 digits",
		"sha256-" + hex64 + "0":                  "2 to 64 digits",
		"docker:":                                "no repository name",
		"docker://":                              "no repository name",
		"docker:///x":                            "no repository name",
		"docker://a/":                            "no repository name",
		"docker://a//b":                          "no repository name",
		"docker://A":                             "no repository name",
		"docker://Foo/bar":                       "no host name",
		"docker://a/B":                           "no repository name",
		"docker://a_/b":                          "no repository name",
		"docker://a___b":                         "no repository name",
		"docker://a..b/c":                        "no host name",
		"docker://-a.b/c":                        "no host name",
		"docker://a.b:0/c":                       "no port",
		"docker://a.b:/c":                        "no port",
		"docker://a.b:+5/c":                      "no port",
		"docker://a.b:65536/c":                   "no port",
		"docker://[::1/c":                        "no IPv6 address",
		"docker://[127.0.0.1]/c":                 "no IPv6 address",
		"docker://[fe80::1%eth0]/c":              "no IPv6 address",
		"docker://a.b/":                          "no repository name",
		"docker://a:":                            "no tag",
		"docker://a:-t":                          "no tag",
		"docker://a:t t":                         "no tag",
		"docker://a:" + strings.Repeat("t", 129): "no tag",
		"docker://a@sha256:12":                   "cannot parse digest",
		"docker://a@sha1:" + hex64[:40]:          "cannot parse digest",
		"docker://a@" + digest + "@" + digest:    "cannot parse digest",
		"docker://user@quay.io/a":                "cannot parse digest",
		"docker://a.b/" + strings.Repeat("c", 252): "longer than 255",
		"oci:":                   "no path",
		"oci::ref":               "no path",
		"oci:dir:":               "no reference",
		"file:///x.tar":          "must end in .aci",
		"file://host/x.aci":      "absolute path",
		"file://x.aci":           "absolute path",
		"file:///%zz.aci":        "hexadecimal",
		"file:///%0a.aci":        "control character",
		"file:///%ff.aci":        "control character",
		"https://":               "no host",
		"https:///x.aci":         "no host",
		"https:x.aci":            "no host",
		"https://quay.io/x":      "must end in .aci",
		"https://quay.io/x?.aci": "must end in .aci",
		"https://h/a b.aci":      "no spaces",
		"cimd:docker:v=0:x":      "no longer known",
		"ftp://h/x.aci":          `unknown scheme "ftp"`,
		"--name":                 "a name has no '-' there",
		"a b":                    "a name has no ' ' there",
		"name:":                  `nothing follows its last ":"`,
	} {
		r, err := Parse(in)
		if err == nil {
			t.Errorf("%q: got %+v", in, r)
			continue
		}
		if !strings.HasPrefix(err.Error(), "cannot parse image ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", in, err, want)
		}
	}
	if _, err := Parse("https://quay.io/x"); hint.Of(err) == "" {
		t.Error("no hint for a registry's https URL")
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"docker:busybox":                 "docker://registry-1.docker.io/library/busybox:latest",
		"docker://quay.io/b:t@" + digest: "docker://quay.io/b@" + digest,
		"docker://quay.io/b@" + digest:   "docker://quay.io/b@" + digest,
		"oci:dir:ref":                    "oci:/cwd/dir:ref",
		"oci:../dir/":                    "oci:/dir",
		"oci-archive:/x//y.tar":          "oci-archive:/x/y.tar",
		"docker-archive:y.tar:a:b":       "docker-archive:/cwd/y.tar:a:b",
		"./x.aci":                        "file:///cwd/x.aci",
		"file:///x%20y.aci":              "file:///x y.aci",
		"sha256:ab":                      "sha256-ab",
		"coreos.com/etcd:v1":             "coreos.com/etcd:v1",
	} {
		r, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := r.Abs("/cwd").Canonical(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	if got := Display("docker://registry-1.docker.io/library/busybox:latest"); got != "registry-1.docker.io/library/busybox:latest" {
		t.Error(got)
	}
	if got := File("oci:x").String(); got != "./oci:x" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"sha512-ab", "docker://busybox", "docker://[::1]:5000/a/b:t@" + digest, "docker://Foo/bar", "docker://b@sha512:" + hex64 + hex64, "docker://docker.io/a", "docker://a.b/c",
		"oci:/d:x", "oci-archive:f", "docker-archive:f:a:b", "file:///x%20y.aci", "https://a/b.aci", "a.com/b:v,os=linux", "./x", "a.aci"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again != r {
			t.Fatalf("%q: its String %q parses to %+v, %v; want %+v", s, r, again, err, r)
		}
		abs := r.Abs("/cwd")
		if abs.Abs("/other") != abs || strings.ContainsAny(abs.Canonical(), "\n\x00") {
			t.Fatalf("%q: %+v", s, abs)
		}
		if r.Kind != Docker {
			return
		}
		// What we take, the registry client must take, and understand alike.
		o, err := name.ParseReference(strings.TrimPrefix(r.Canonical(), "docker://"), name.StrictValidation)
		if err != nil {
			t.Fatalf("%q: go-containerregistry: %v", s, err)
		}
		if got := o.Context(); got.RegistryStr() != r.Registry || got.RepositoryStr() != r.Repository {
			t.Fatalf("%q: go-containerregistry: %v", s, got)
		}
		if id := o.Identifier(); id != r.Digest && (r.Digest != "" || id != r.Tag) {
			t.Fatalf("%q: go-containerregistry: %v", s, id)
		}
	})
}

func TestInRegistry(t *testing.T) {
	for in, want := range map[string]string{
		"quay.io/coreos/etcd":           "docker://quay.io/coreos/etcd:latest",
		"quay.io/coreos/etcd:v3.5":      "docker://quay.io/coreos/etcd:v3.5",
		"localhost:5000/x:y":            "docker://localhost:5000/x:y",
		"quay.io/x@" + digest:           "docker://quay.io/x@" + digest,
		"docker.io/busybox":             "docker://registry-1.docker.io/library/busybox:latest",
		"busybox":                       "",
		"library/busybox":               "",
		"quay.io":                       "",
		"quay.io/coreos/etcd:v1,os=lin": "",
		"quay.io/a~b":                   "",
		"docker://quay.io/x":            "",
	} {
		r, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		d, ok := r.InRegistry()
		if got := d.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, ok, want)
		}
	}
}
