// SPDX-License-Identifier: Apache-2.0

//go:build !amd64

package doctor

import (
	"errors"
	"os"
)

// runGuest has no guest for this kind of machine.
func runGuest(device string) (string, error) {
	if _, err := os.Stat(device); err != nil {
		return "", err
	}
	return "", errors.New("a guest " + notTried)
}
