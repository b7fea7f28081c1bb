// SPDX-License-Identifier: Apache-2.0

package wire

// The kinds of Request that ask web servers. Each is answered by one Reply.
//
// A Discovery asks where the images of an appc name lie; the answer is all
// there is. A URL asks for one file; unless the answer is that it has not
// changed, or will be there later, one Want, of any digest, brings it.
const (
	Discovery = "discovery"
	URL       = "url"
)

// Bounds of what web servers may answer; both sides keep them.
const (
	MaxEndpoints = 64       // of a discovery, and as many public keys
	MaxURL       = 4 << 10  // bytes
	MaxValidator = 1 << 10  // bytes of an ETag or a date
	MaxLabels    = 64       // of a name
	MaxRedirects = 10       // that are followed
	MaxPage      = 1 << 20  // bytes that are read of a page with discovery's tags
	MaxSignature = 64 << 10 // bytes of a detached signature
	// MaxComponents of a name that discovery asks for: one page for each, so this
	// bounds how long whoever wrote a name can make somebody ask. Names of the
	// world have up to five.
	MaxComponents = 16
)

// Web is the part of a Request for web servers.
type Web struct {
	// Discovery: the appc name without version and labels, and the values for
	// templates, "version", "os" and "arch" among them.
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Port is asked for pages instead of those of https and http; 0 is theirs.
	Port uint16 `json:"port,omitempty"`

	// URL: the file.
	URL string `json:"url,omitempty"`
	// Cached is what the server said of the copy that is stored: it need not
	// send the same again.
	Cached Validators `json:"cached,omitzero"`
	// Offset bytes are here already, of a file for which the server gave
	// Partial; they need not be sent if it is still the same.
	Offset  int64      `json:"offset,omitempty"`
	Partial Validators `json:"partial,omitzero"`
	// Title is what progress calls the file; "" shows none.
	Title string `json:"title,omitempty"`

	// Hosts are credentials by host[:port], sent over https only.
	Hosts []HostAuth `json:"hosts,omitempty"`
}

// Validators tell two versions of a file apart.
type Validators struct {
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"` // Last-Modified, as it came
}

// HostAuth is what rkt's own configuration has for a host. Type is one of
// AuthBasic, AuthBearer and AuthAWS.
type HostAuth struct {
	Host   string `json:"host"` // host[:port]
	Type   string `json:"type"`
	User   string `json:"user,omitempty"`   // AuthAWS: the access key's ID
	Secret string `json:"secret,omitempty"` // password, token or secret access key
	Region string `json:"region,omitempty"` // AuthAWS; "" is guessed from the host
}

// The ways to authenticate.
const (
	AuthBasic  = "basic"
	AuthBearer = "oauth"
	AuthAWS    = "aws"
)

// Discovered answers a Discovery.
type Discovered struct {
	Endpoints  []Endpoint `json:"endpoints,omitempty"` // in the order of the page
	PublicKeys []string   `json:"publicKeys,omitempty"`
}

// Endpoint is one place of an image.
type Endpoint struct {
	ACI string `json:"aci"`
	ASC string `json:"asc"`
}

// File answers a URL.
type File struct {
	Unchanged bool `json:"unchanged,omitempty"` // the stored copy is good
	Deferred  bool `json:"deferred,omitempty"`  // not there yet (202)
	Validators
	// MaxAge is for how long, in seconds, nobody need ask again.
	MaxAge int64 `json:"maxAge,omitempty"`
	Size   int64 `json:"size"` // of the whole file; -1: not known
	// Offset is where the bytes that come begin: 0, or Request's.
	Offset int64 `json:"offset,omitempty"`
}
