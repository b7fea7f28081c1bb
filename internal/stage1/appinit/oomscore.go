// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// SetOOMScore sets the caller's own OOM score, which a process inherits at its
// start, through a descriptor of its oom_score_adj (proc(5)). restore sets it back.
// nil changes nothing.
func SetOOMScore(fd int, score *int) (restore func(), err error) {
	if score == nil {
		return func() {}, nil
	}
	buf := make([]byte, 16)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read own OOM score: %w", err)
	}
	if _, err := unix.Pwrite(fd, []byte(strconv.Itoa(*score)), 0); err != nil {
		return nil, fmt.Errorf("cannot set OOM score %d: %w", *score, err)
	}
	return func() { _, _ = unix.Pwrite(fd, buf[:n], 0) }, nil
}
