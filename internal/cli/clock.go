// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// clock keeps the time stamps of --timing, on CLOCK_MONOTONIC. The first one is
// taken whether or not they are wanted: flags are not read yet then.
type clock struct {
	on    bool
	marks []mark
}

type mark struct {
	name string
	ns   int64
}

func (k *clock) mark(name string) {
	if !k.on && len(k.marks) > 0 {
		return
	}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) == nil {
		k.marks = append(k.marks, mark{name, ts.Nano()})
	}
}

// String is what contract.EnvTiming carries; "" if no timing is wanted.
func (k *clock) String() string {
	if !k.on {
		return ""
	}
	var b strings.Builder
	for i, m := range k.marks {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(m.name + "=" + strconv.FormatInt(m.ns, 10))
	}
	return b.String()
}

// print shows the stamps of a verb that ends here: what passed up to each.
func (k *clock) print(c *cli) {
	if !k.on {
		return
	}
	for i, m := range k.marks[1:] {
		c.say(fmt.Sprintf("timing: %-10s %8.3f ms", m.name, float64(m.ns-k.marks[i].ns)/1e6))
	}
}
