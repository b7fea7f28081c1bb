// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
)

// What a build of ours is called in statements of provenance.
const (
	statementType  = "https://in-toto.io/Statement/v1"
	provenanceType = "https://slsa.dev/provenance/v1"
	buildType      = "https://github.com/rkt/rkt/blob/main/docs/acbuild.md#provenance"
	payloadType    = "application/vnd.in-toto+json"
)

// subject is an image that a statement is about.
type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

func subjectOf(name string, id image.ID) subject {
	d := id.Digest()
	return subject{name, map[string]string{d.Algorithm(): d.Hex()}}
}

// statement is an in-toto statement with SLSA's provenance, version 1.
type statement struct {
	Type      string    `json:"_type"`
	Subject   []subject `json:"subject"`
	Kind      string    `json:"predicateType"`
	Predicate predicate `json:"predicate"`
}

type predicate struct {
	Definition struct {
		Type       string `json:"buildType"`
		Parameters struct {
			Mode     workspace.Mode `json:"mode"`
			Commands []string       `json:"commands"`
			Epoch    *int64         `json:"SOURCE_DATE_EPOCH,omitempty"`
		} `json:"externalParameters"`
		Dependencies []dependency `json:"resolvedDependencies,omitempty"`
	} `json:"buildDefinition"`
	Run struct {
		Builder struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version"`
		} `json:"builder"`
		Metadata struct {
			Finished string `json:"finishedOn"`
		} `json:"metadata"`
	} `json:"runDetails"`
}

type dependency struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// provenance says what images were made of, and how.
func provenance(w *workspace.Workspace, subjects []subject, epoch time.Time) ([]byte, error) {
	s := statement{Type: statementType, Subject: subjects, Kind: provenanceType}
	d := &s.Predicate.Definition
	d.Type, d.Parameters.Mode, d.Parameters.Commands = buildType, w.State.Mode, []string{}
	for _, h := range w.State.History {
		d.Parameters.Commands = append(d.Parameters.Commands, h.Command)
	}
	if b := w.State.Base; b != nil {
		from := b.ID.Digest()
		d.Dependencies = append(d.Dependencies, dependency{b.Name, map[string]string{from.Algorithm(): from.Hex()}})
	}
	finished := time.Now()
	if !epoch.IsZero() {
		finished = epoch
		n := epoch.Unix()
		d.Parameters.Epoch = &n
	}
	r := &s.Predicate.Run
	r.Builder.ID, r.Builder.Version = "https://github.com/rkt/rkt/cmd/acbuild", map[string]string{"acbuild": Version}
	r.Metadata.Finished = finished.UTC().Format(time.RFC3339)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return bytes.TrimSpace(b.Bytes()), err
}

// writeProvenance writes the statement, in a signed envelope (DSSE) if there is a
// bare key.
func (a *acbuild) writeProvenance(ctx context.Context, w *workspace.Workspace, f writing, subjects []subject, epoch time.Time, s *signer) error {
	text, err := provenance(w, subjects, epoch)
	if err != nil {
		return err
	}
	if s != nil && s.bare {
		if text, err = s.envelope(ctx, text); err != nil {
			return err
		}
	}
	return export.File(ctx, f.provenance, f.overwrite, func(out io.Writer) error {
		_, err := out.Write(append(text, '\n'))
		return err
	})
}

// envelope signs a statement (secure-systems-lab/dsse, envelope.md).
func (s *signer) envelope(ctx context.Context, payload []byte) ([]byte, error) {
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
	sig, err := fetch.Sign(ctx, s.fetch, fetch.SignRequest{PEM: s.key, Password: []byte(os.Getenv("COSIGN_PASSWORD")), Message: message}, nil)
	if err != nil {
		return nil, err
	}
	type signature struct {
		Sig []byte `json:"sig"`
	}
	return json.Marshal(struct {
		PayloadType string      `json:"payloadType"`
		Payload     []byte      `json:"payload"`
		Signatures  []signature `json:"signatures"`
	}{payloadType, payload, []signature{{sig}}})
}
