// SPDX-License-Identifier: Apache-2.0

// Package hint carries a remedy beside an error, to be shown on a line of its
// own.
package hint

import "errors"

type hinted struct {
	error
	remedy string
}

func (h *hinted) Unwrap() error { return h.error }
func (h *hinted) Hint() string  { return h.remedy }

// Wrap returns err with a remedy; the message is unchanged. A nil err stays
// nil.
func Wrap(err error, remedy string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, remedy}
}

// Of returns the outermost remedy in err's chain, or "".
func Of(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
