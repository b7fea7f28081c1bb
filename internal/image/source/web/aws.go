// SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// emptySum is the SHA-256 of nothing: the requests have no body.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// signAWS signs a GET for Amazon's S3 and what speaks like it ("Authenticating
// Requests: Using the Authorization Header (AWS Signature Version 4)"). It must
// be called after all other headers are set: Host, Range and every X-Amz header
// are signed.
func signAWS(req *http.Request, h wire.HostAuth, now time.Time) {
	region := h.Region
	if region == "" {
		region = guessRegion(req.URL.Hostname())
	}
	stamp := now.UTC().Format("20060102T150405Z")
	scope := stamp[:8] + "/" + region + "/s3/aws4_request"
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Content-Sha256", emptySum)

	values := map[string]string{"host": req.URL.Host}
	for k := range req.Header {
		if k := strings.ToLower(k); k == "range" || strings.HasPrefix(k, "x-amz-") {
			values[k] = strings.Join(strings.Fields(req.Header.Get(k)), " ")
		}
	}
	names := make([]string, 0, len(values))
	for k := range values {
		names = append(names, k)
	}
	slices.Sort(names)
	signed := strings.Join(names, ";")
	var b strings.Builder
	b.WriteString("GET\n" + awsEscape(req.URL.Path, true) + "\n" + awsQuery(req) + "\n")
	for _, k := range names {
		b.WriteString(k + ":" + values[k] + "\n")
	}
	b.WriteString("\n" + signed + "\n" + emptySum)
	sum := sha256.Sum256([]byte(b.String()))
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])

	key := []byte("AWS4" + h.Secret)
	for _, part := range []string{stamp[:8], region, "s3", "aws4_request", text} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	// What is signed must be what is sent.
	req.URL.RawPath = awsEscape(req.URL.Path, true)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+h.User+"/"+scope+
		", SignedHeaders="+signed+", Signature="+hex.EncodeToString(key))
}

// awsQuery is the query in canonical form.
func awsQuery(req *http.Request) string {
	var pairs []string
	for k, vs := range req.URL.Query() {
		for _, v := range vs {
			pairs = append(pairs, awsEscape(k, false)+"="+awsEscape(v, false))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// awsEscape escapes all but unreserved characters, and the slash in a path.
func awsEscape(s string, path bool) string {
	if path && s == "" {
		return "/"
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 || path && c == '/' {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
	}
	return b.String()
}

// guessRegion reads the region out of a name such as
// bucket.s3.eu-west-1.amazonaws.com or s3-eu-west-1.amazonaws.com; what has
// none is us-east-1, S3's first.
func guessRegion(host string) string {
	const first = "us-east-1"
	rest, ok := strings.CutSuffix(strings.TrimSuffix(host, ".cn"), ".amazonaws.com")
	if !ok {
		return first
	}
	labels := strings.Split(rest, ".")
	for i, l := range labels {
		if region, ok := strings.CutPrefix(l, "s3-"); ok && i == len(labels)-1 && region != "external-1" {
			return region
		}
		if l == "s3" && i == len(labels)-2 {
			return labels[i+1]
		}
	}
	return first
}
