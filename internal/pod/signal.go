// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The real-time signals as programs count them: the C library keeps the
// kernel's first two for itself (signal(7)).
const (
	sigRTMin = 34
	sigRTMax = 64
)

// ParseSignal reads a signal as images name it: "SIGTERM", "term", "15",
// "SIGRTMIN+3". Systemd's images ask to be stopped by the last.
func ParseSignal(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > sigRTMax {
			return 0, fmt.Errorf("cannot use signal %q: want 1 to %d", s, sigRTMax)
		}
		return n, nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return int(n), nil
	}
	for base, start := range map[string]int{"SIGRTMIN": sigRTMin, "SIGRTMAX": sigRTMax} {
		rest, ok := strings.CutPrefix(name, base)
		if !ok {
			continue
		}
		offset := 0
		if rest != "" {
			var err error
			if offset, err = strconv.Atoi(rest); err != nil || rest[0] != '+' && rest[0] != '-' {
				break
			}
		}
		if n := start + offset; n >= sigRTMin && n <= sigRTMax {
			return n, nil
		}
	}
	return 0, fmt.Errorf("cannot use signal %q: no such signal", s)
}
