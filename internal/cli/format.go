// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"

	"github.com/spf13/pflag"
)

// outputFormat is --format and its short form --json.
type outputFormat string

func (f *outputFormat) register(fs *pflag.FlagSet) {
	each(fs, "format", "FORMAT", "print json or json-pretty instead of text", func(s string) error {
		switch s {
		case "", "json", "json-pretty":
			*f = outputFormat(s)
			return nil
		}
		return errors.New("want json or json-pretty")
	})
	b := each(fs, "json", "bool", "short for --format=json", func(s string) error {
		switch s {
		case "true":
			if *f == "" {
				*f = "json"
			}
			return nil
		case "false":
			*f = ""
			return nil
		}
		return errors.New("want true or false")
	})
	b.NoOptDefVal = "true"
}

func (f outputFormat) json() bool   { return f != "" }
func (f outputFormat) pretty() bool { return f == "json-pretty" }
