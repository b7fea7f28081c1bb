// SPDX-License-Identifier: Apache-2.0

// Package yamljson turns one document of YAML into JSON. It links a YAML parser,
// so only rkt's helper links it.
package yamljson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Convert reads at most limit bytes. A key that is not text, or is there twice,
// is an error.
func Convert(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more any
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document is given")
	}
	b, err := json.Marshal(doc)
	if err == nil && int64(len(b)) > limit { // aliases
		err = fmt.Errorf("as JSON it is larger than %d bytes", limit)
	}
	return b, err
}
