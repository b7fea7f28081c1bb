// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Scratch is an empty file without a name on the store's file system: it is
// gone when its last descriptor is closed.
func (s *Store) Scratch() (*os.File, error) {
	f, err := os.OpenFile(s.rkt("tmp"), os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot make scratch file: %w", cause(err))
	}
	return f, nil
}
