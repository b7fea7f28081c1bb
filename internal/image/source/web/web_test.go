// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

func TestMetas(t *testing.T) {
	for in, want := range map[string][]meta{
		``:                                    nil,
		`no tags < at all >`:                  nil,
		`<meta name=a content=b>`:             {{"a", "b"}},
		`<META NAME="a" CONTENT="b c"/>`:      {{"a", "b c"}},
		`<meta name='a"' content='b>'>`:       {{`a"`, "b>"}},
		"<meta\n\tname = a\ncontent\n=\n'b'>": {{"a", "b"}},
		`<meta content=b name=a><meta name=c content=d></head><meta name=e content=f>`: {{"a", "b"}, {"c", "d"}},
		`<body><meta name=a content=b>`:                                 nil,
		`</html><meta name=a content=b>`:                                nil,
		`<meta name=a name=z content=b content=y>`:                      {{"a", "b"}},
		`<meta name=a content="b&amp;c&lt;&#x41;">`:                     {{"a", "b&c<A"}},
		`<meta name=a content="b`:                                       nil,
		`<meta name=a content=b`:                                        nil,
		`<meta content=b>`:                                              nil,
		`<!-- <meta name=a content=b> --><meta name=c content=d>`:       {{"c", "d"}},
		`<!-- <meta name=a content=b>`:                                  nil,
		`<title><meta name=a content=b></title><meta name=c content=d>`: {{"c", "d"}},
		`<script>if (a<b) {}</SCRIPT ><meta name=c content=d>`:          {{"c", "d"}},
		`<script></scripty><meta name=a content=b>`:                     nil,
		`<style>`:                     nil,
		`<metadata name=a content=b>`: nil,
		`<p title="<meta name=a content=b>"><meta name=c content=d>`:  {{"c", "d"}},
		`a < b <meta name=c content=d>`:                               {{"c", "d"}},
		`<1><meta name=c content=d>`:                                  {{"c", "d"}},
		`<!DOCTYPE html><?xml version="1.0"?><meta name=c content=d>`: {{"c", "d"}},
		`<meta =x name=c content=d>`:                                  {{"c", "d"}},
	} {
		if d := cmp.Diff(want, metas(in), cmp.AllowUnexported(meta{})); d != "" {
			t.Errorf("%q: (-want +got)\n%s", in, d)
		}
	}
}

// TestLargePages: a page that ends within a tag is not read again from each "<"
// in that tag. Read so, each of these would take hours.
func TestLargePages(t *testing.T) {
	for _, unit := range []string{"<a ", "<meta a", "<a/", "</script", "<!-", "<a a=b ", "<a b='", "<", "< ", "</"} {
		if list := metas(strings.Repeat(unit, wire.MaxPage/len(unit))); len(list) > 0 {
			t.Errorf("%q: %v", unit, list)
		}
	}
}

func client(name string, labels map[string]string, http bool) *Client {
	return &Client{req: wire.Request{AllowHTTP: http}, web: wire.Web{Name: name, Labels: labels}}
}

func FuzzPage(f *testing.F) {
	for _, s := range []string{`<meta name="ac-discovery" content="a.b https://c/{name}-{version}.{ext}">`,
		`<!-- --><title>x</title><meta name=ac-discovery-pubkeys content="a.b https://k/?a&amp;b">`,
		`<meta name=ac-discovery content="a.b/c http://x/{os}/{arch}/{x}{ext">`, "<script></script", `<meta a='`, "<body>"} {
		f.Add(s, "v1")
	}
	f.Fuzz(func(t *testing.T, page, version string) {
		for _, labels := range []map[string]string{nil, {"version": version, "os": "linux", "arch": "amd64"}} {
			for _, http := range []bool{false, true} {
				d, err := client("a.b/c", labels, http).announced(page)
				if err == nil && len(d.Endpoints) == 0 || len(d.Endpoints) > wire.MaxEndpoints || len(d.PublicKeys) > wire.MaxEndpoints {
					t.Fatalf("%q: %+v, %v", page, d, err)
				}
				for _, s := range append(d.PublicKeys, places(d)...) {
					u, err := url.Parse(s)
					if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !http) || len(s) > wire.MaxURL+4 {
						t.Fatalf("%q announces %q", page, s)
					}
				}
			}
		}
		if list := metas(page); len(list) > maxMetas {
			t.Fatal("more metas than allowed")
		}
		if !utf8.ValidString(page) {
			return
		}
		// What stands in a comment is no part of the page.
		if !strings.Contains(page, "-->") && !strings.Contains(page, "<!--") {
			if got := metas("<!--" + page + "--><meta name=x content=y>"); len(got) != 1 {
				t.Fatalf("%q in a comment: %v", page, got)
			}
		}
	})
}

func places(d wire.Discovered) (all []string) {
	for _, e := range d.Endpoints {
		all = append(all, e.ACI, e.ASC)
	}
	return all
}

func TestWithin(t *testing.T) {
	for _, p := range []string{"a.b", "a.b/", "a.b/c", "a.b/c/d"} {
		if !within("a.b/c/d", p) {
			t.Errorf("not within %q", p)
		}
	}
	for _, p := range []string{"", "a", "a.b/c/d/e", "a.b/c/dd", "a.b/", "a.bb", "/"} {
		if within("a.b/cc", p) && p != "a.b/" {
			t.Errorf("within %q", p)
		}
	}
}

// The signature of Amazon's own example, "GET Object" in "Authenticating
// Requests: Using the Authorization Header".
func TestAWS(t *testing.T) {
	req, err := http.NewRequest("GET", "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes=0-9")
	req.Header.Set("User-Agent", "not signed")
	signAWS(req, wire.HostAuth{User: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
		time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	want := "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
		"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
	if got := req.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// "GET Bucket (List Objects)": a query is signed in its canonical form.
	req, err = http.NewRequest("GET", "https://examplebucket.s3.amazonaws.com/?prefix=J&max-keys=2", nil)
	if err != nil {
		t.Fatal(err)
	}
	signAWS(req, wire.HostAuth{User: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
		time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7") {
		t.Errorf("got %s", got)
	}
	for host, region := range map[string]string{
		"s3.amazonaws.com": "us-east-1", "bucket.s3.amazonaws.com": "us-east-1", "s3.eu-west-1.amazonaws.com": "eu-west-1",
		"b.s3.eu-central-1.amazonaws.com": "eu-central-1", "s3-eu-west-1.amazonaws.com": "eu-west-1", "b.s3-ap-south-1.amazonaws.com": "ap-south-1",
		"b.s3.cn-north-1.amazonaws.com.cn": "cn-north-1", "s3-external-1.amazonaws.com": "us-east-1", "minio.example.com": "us-east-1",
	} {
		if got := guessRegion(host); got != region {
			t.Errorf("%s: region %s, want %s", host, got, region)
		}
	}
	// What is sent is what was signed.
	req, err = http.NewRequest("GET", "https://b.s3.amazonaws.com/a%2Bb+c%20d/~x(1).aci", nil)
	if err != nil {
		t.Fatal(err)
	}
	signAWS(req, wire.HostAuth{}, time.Now())
	if got := req.URL.EscapedPath(); got != "/a%2Bb%2Bc%20d/~x%281%29.aci" {
		t.Errorf("path %s", got)
	}
}

func TestMaxAge(t *testing.T) {
	for in, want := range map[string]int64{
		"": 0, "max-age=60": 60, "public, MAX-AGE=60": 60, `max-age="60"`: 60, "max-age=60, no-cache": 0, "no-store,max-age=60": 0,
		"max-age=-1": 0, "max-age=x": 0, "s-maxage=60": 0, "max-age=99999999999999": 0, "private": 0,
	} {
		if got := maxAge(http.Header{"Cache-Control": {in}}); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

func TestOrigin(t *testing.T) {
	same := [][]string{
		{"https://a.example/x", "https://A.example:443/y"},
		{"http://a.example/x", "http://a.example:80"},
		{"https://[::1]/x", "https://[::1]:443"},
	}
	other := []string{"https://a.example", "http://a.example", "https://a.example:444", "https://b.a.example", "https://a.example.com"}
	parse := func(s string) string {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return origin(u)
	}
	for _, s := range same {
		if parse(s[0]) != parse(s[1]) {
			t.Errorf("%q differ", s)
		}
	}
	var seen []string
	for _, s := range other {
		if slices.Contains(seen, parse(s)) {
			t.Errorf("%s is like another of %q", s, seen)
		}
		seen = append(seen, parse(s))
	}
}

func TestRangeSize(t *testing.T) {
	if n, err := rangeSize("bytes 5-9/10", 5); n != 10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, s := range []string{"", "bytes 4-9/10", "bytes 5-8/10", "bytes 5-9/*", "bytes */10", "5-9/10/2", "bytes 5-9/-10", "bytes -5-9/10"} {
		if n, err := rangeSize(s, 5); err == nil {
			t.Errorf("%q: %d", s, n)
		}
	}
}
