// SPDX-License-Identifier: Apache-2.0

package native

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
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

// printTiming shows when each step was reached and how long after the one
// before, from stage0's stamps and init's. The two work side by side, so a step
// is not always what the time before it went into.
func printTiming(stamps string) {
	type mark struct {
		name string
		at   int64
	}
	var marks []mark
	for s := range strings.SplitSeq(stamps, ",") {
		name, value, _ := strings.Cut(s, "=")
		if at, err := strconv.ParseInt(value, 10, 64); err == nil {
			marks = append(marks, mark{name, at})
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
	fmt.Fprintf(os.Stderr, "timing: %10s %10s  step\n", "step", "total")
	for i, m := range marks {
		step := m.at - marks[max(i-1, 0)].at
		fmt.Fprintf(os.Stderr, "timing: %10v %10v  %s\n", time.Duration(step).Round(time.Microsecond), time.Duration(m.at-marks[0].at).Round(time.Microsecond), m.name)
	}
}
