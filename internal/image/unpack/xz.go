// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"bufio"
	"io"

	"github.com/ulikunitz/xz"
)

func newXz(br *bufio.Reader) (io.Reader, error) {
	return xz.NewReader(br)
}
