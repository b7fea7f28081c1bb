// SPDX-License-Identifier: Apache-2.0

package native

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// timing collects "name=ns" stamps on CLOCK_MONOTONIC, which all processes of
// the machine share.
type timing struct {
	wanted bool
	stamps []string
}

func newTiming() timing {
	_, wanted := os.LookupEnv(contract.EnvTiming)
	return timing{wanted: wanted}
}

func (t *timing) add(name string) {
	if !t.wanted {
		return
	}
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	t.stamps = append(t.stamps, fmt.Sprintf("%s=%d", name, ts.Nano()))
}

func (t *timing) String() string { return strings.Join(t.stamps, ",") }

// printTiming shows how long each step took, from stage0's stamps and init's.
func printTiming(stamps string) {
	var first, last int64
	fmt.Fprintf(os.Stderr, "timing: %10s %10s  step\n", "step", "total")
	for s := range strings.SplitSeq(stamps, ",") {
		name, value, _ := strings.Cut(s, "=")
		var at int64
		if _, err := fmt.Sscan(value, &at); err != nil {
			continue
		}
		if first == 0 {
			first, last = at, at
		}
		fmt.Fprintf(os.Stderr, "timing: %10v %10v  %s\n", time.Duration(at-last).Round(time.Microsecond), time.Duration(at-first).Round(time.Microsecond), name)
		last = at
	}
}
