// SPDX-License-Identifier: Apache-2.0

// Package wire is what rkt and its fetch helper (libexec/rkt/fetch) say to
// each other. rkt holds the store and believes nothing the helper says: it
// asks for bytes by digest and proves them; the helper talks to the network
// and to files that strangers wrote, and never sees the store.
//
// # fetch get
//
// Descriptor 0 carries Orders from rkt, 1 carries Replies to rkt, both as JSON
// lines; 2 is for what the user may read; from FirstLane on, Request.Lanes
// pipes carry blobs; after them comes one scratch file, if Request.Scratch.
//
// rkt sends a Request; the helper answers with one Reply, the image's top
// manifest or index (for web servers see Web). Then rkt sends a Want for each
// blob it has chosen, naming the lane that is to carry it; a lane carries one
// blob at a time. An end of file on descriptor 0 ends the helper.
//
// # fetch read
//
// The same for images on this machine. One descriptor more comes last: of an
// archive the file, of a layout a socket (SOCK_SEQPACKET) over which the helper
// asks for files. A question is a name below the layout, at most MaxName bytes;
// the answer is an errno, 32 bits in the machine's order, and with 0 a
// descriptor of a regular file; ENODEV means that it is none.
//
// # fetch credentials
//
// Its arguments are hosts; on descriptor 1 it writes Credentials. It reads what
// the user wrote and runs programs of the user's, so it runs as the user, and
// behind no wall; nothing of a stranger's comes near it.
//
// # fetch push
//
// Descriptor 0 is one PushRequest, 1 one PushReply, both as JSON lines; 2 is for
// what the user may read; from FirstLane on follow the files of those of
// PushRequest.Blobs that have no Data, in their order, open for reading.
//
// # fetch plain, fetch gzip
//
// Descriptor 0 is a stream, 1 the same decompressed or compressed.
//
// # fetch unpack
//
// Descriptor 0 is the blob, DirFD the directory to fill, ResultFD a pipe for
// one UnpackResult; the UnpackRequest is the first argument, as JSON.
package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Descriptors of the helper.
const (
	FirstLane = 3 // fetch get
	DirFD     = 3 // fetch unpack
	ResultFD  = 4 // fetch unpack
)

// MaxManifest bounds a manifest, an index and an image's configuration, bytes.
const MaxManifest = 4 << 20

// maxLine bounds one message: a manifest in base64 and what is around it.
const maxLine = MaxManifest*4/3 + 1<<20

// MaxName bounds the name of a layout's file: the longest is a blob's.
const MaxName = 256

// The kinds of source that Request.Kind names; the words are ref.Kind's.
const (
	Docker        = "docker"
	OCILayout     = "oci"
	OCIArchive    = "oci-archive"
	DockerArchive = "docker-archive"
)

// Ways to show progress, for Request.Progress.
const (
	ProgressNone  = ""
	ProgressLines = "lines" // one line per layer
	ProgressBars  = "bars"  // the helper's stderr is a terminal
)

// Request says what to fetch and how. It is the first message.
type Request struct {
	Kind string `json:"kind"`
	// Docker: fully expanded; Reference is a tag or "sha256:…".
	Registry   string `json:"registry,omitempty"`
	Repository string `json:"repository,omitempty"`
	Reference  string `json:"reference,omitempty"`
	// Layouts and archives: Inner is the name inside, or "".
	Path  string `json:"path,omitempty"`
	Inner string `json:"inner,omitempty"`

	// Discovery and URL.
	Web *Web `json:"web,omitempty"`

	Lanes   int  `json:"lanes"`
	Scratch bool `json:"scratch,omitempty"`

	Registries  []Registry   `json:"registries,omitempty"`
	Credentials []Credential `json:"credentials,omitempty"`
	// SkipTLSVerify and AllowHTTP are --insecure-options=tls and http.
	SkipTLSVerify bool `json:"skipTLSVerify,omitempty"`
	AllowHTTP     bool `json:"allowHTTP,omitempty"`

	// StallMillis is how long a connection may bring no byte; 0 is 30 s.
	StallMillis int `json:"stallMillis,omitempty"`
	// RetryMillis is the pause before the first retry, doubled for each one
	// that follows; 0 is 500 ms.
	RetryMillis int    `json:"retryMillis,omitempty"`
	Progress    string `json:"progress,omitempty"`
	UserAgent   string `json:"userAgent,omitempty"`
}

// Registry holds the settings of one registry.
type Registry struct {
	Name string `json:"name"` // host[:port], as in the expanded reference
	// Mirrors are asked in this order, then the registry itself.
	Mirrors []Mirror `json:"mirrors,omitempty"`
	// PlainHTTP: without TLS.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
}

// Mirror is another place with the same repositories.
type Mirror struct {
	Location  string `json:"location"` // host[:port][/prefix]
	PlainHTTP bool   `json:"insecureHTTP,omitempty"`
}

// Credential is what rkt's own configuration has for a registry, or Docker's.
// Either User and Password, or a token.
type Credential struct {
	Registry string `json:"registry"` // host[:port]
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`
	// IdentityToken is to be exchanged for one of the registry's.
	IdentityToken string `json:"identityToken,omitempty"`
}

// Credentials is the answer of fetch credentials.
type Credentials struct {
	List []Credential `json:"list,omitempty"`
	Err  *Error       `json:"error,omitempty"`
}

// Descriptor names a blob.
type Descriptor struct {
	MediaType string `json:"mediaType,omitempty"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// Order is a message to the helper: exactly one field is set.
type Order struct {
	Want *Want `json:"want,omitempty"`
	Done *Done `json:"done,omitempty"`
}

// InParts is from how many bytes on a registry's blob may be fetched in parts.
const InParts = 24 << 20

// Want asks for one blob on one lane, which must be free.
type Want struct {
	ID   int        `json:"id"`   // rkt's number for it
	Lane int        `json:"lane"` // from 0
	Blob Descriptor `json:"blob"`
	// Manifest: the blob is a manifest, which registries keep apart.
	Manifest bool `json:"manifest,omitempty"`
	// Signatures: what is wanted is no blob but what the registry has of
	// signatures of the manifest Blob, as JSON of type Signatures, at most
	// MaxManifest bytes.
	Signatures bool `json:"signatures,omitempty"`
	// Offset: so many bytes are there; what follows is wanted.
	Offset int64 `json:"offset,omitempty"`
	// Whole: not in parts over several connections; what came so was wrong.
	Whole bool `json:"whole,omitempty"`
	// Show: the user wants to see its progress.
	Show bool `json:"show,omitempty"`
}

// Done says that rkt has stored and unpacked a blob, for the progress display.
// Present: it was there already and was never wanted; Blob is then set.
type Done struct {
	ID      int        `json:"id"`
	Present bool       `json:"present,omitempty"`
	Blob    Descriptor `json:"blob,omitzero"`
}

// Reply is the helper's answer to a Request: exactly one field is set.
type Reply struct {
	Root       *Root       `json:"root,omitempty"`
	Discovered *Discovered `json:"discovered,omitempty"`
	File       *File       `json:"file,omitempty"`
	Err        *Error      `json:"error,omitempty"`
}

// Root is the manifest or index that the reference stands for.
type Root struct {
	MediaType string `json:"mediaType"`
	Data      []byte `json:"data"`
}

// UnpackRequest says how to read the stream on descriptor 0; `fetch look` takes
// one of format FormatACI and answers on descriptor 1.
type UnpackRequest struct {
	Format string `json:"format"` // FormatLayer or FormatACI
	// Unowned: the files are for an ordinary user to look at, see unpack.Options.
	Unowned bool `json:"unowned,omitempty"`
	// Namespaced: overlayfs's marks are those of a user namespace, and files of
	// the host's root cannot be made, see unpack.Options.
	Namespaced bool `json:"namespaced,omitempty"`
	// Compressed, if above 0: the stream was decompressed on its way, from so
	// many bytes.
	Compressed int64 `json:"compressed,omitempty"`
}

// Formats of an UnpackRequest.
const (
	FormatLayer = "layer"
	FormatACI   = "aci"
)

// UnpackResult tells what was unpacked: unpack.Result on its way.
type UnpackResult struct {
	DiffID   string `json:"diffID,omitempty"`
	TreeSize int64  `json:"treeSize,omitempty"`
	Files    int64  `json:"files,omitempty"`
	Manifest []byte `json:"manifest,omitempty"` // an ACI's
	// settle.Facts
	Implicit []string `json:"implicit,omitempty"`
	Hiding   []string `json:"hiding,omitempty"`
	Opaque   bool     `json:"opaque,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	// Cut: Err is that the stream ended too early.
	Cut bool   `json:"cut,omitempty"`
	Err *Error `json:"error,omitempty"`
}

// Error is an error with its remedy, on its way from the helper to the user.
type Error struct {
	Message string `json:"message"`
	Remedy  string `json:"hint,omitempty"`
	// Missing: the server was asked and has no such thing.
	Missing bool `json:"missing,omitempty"`
	// Refused: asking again brings the same answer.
	Refused bool `json:"refused,omitempty"`
}

func (e *Error) Error() string { return Printable(e.Message) }

// Hint is the remedy, or "".
func (e *Error) Hint() string { return Printable(e.Remedy) }

// AsError puts err in the form that travels; nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	e := &Error{Message: err.Error()}
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		e.Remedy = h.Hint()
	}
	var m interface{ Missing() bool }
	e.Missing = errors.As(err, &m) && m.Missing()
	var r interface{ Refused() bool }
	e.Refused = errors.As(err, &r) && r.Refused()
	return e
}

// Printable makes one printable line of at most 500 bytes of what a stranger may
// have had a part in.
func Printable(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, s)
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return strings.TrimSpace(s)
}

// Send writes v as one line. Not safe for concurrent use.
func Send(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode message: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// Receiver reads messages, each bounded in size.
type Receiver struct{ r *bufio.Reader }

// NewReceiver reads from r.
func NewReceiver(r io.Reader) *Receiver { return &Receiver{bufio.NewReaderSize(r, 64<<10)} }

// Receive decodes the next message into v. It returns io.EOF if the other side
// closed between messages.
func (r *Receiver) Receive(v any) error {
	var line []byte
	for {
		part, err := r.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return errors.New("cannot read message: too long")
		}
		switch {
		case err == nil:
			if err := json.Unmarshal(line, v); err != nil {
				return fmt.Errorf("cannot read message: %w", err)
			}
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) == 0:
			return io.EOF
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}
