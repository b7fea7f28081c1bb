// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// clock keeps the steps of --timing. The first one is taken whether or not they
// are wanted: flags are not read yet then. Steps may come from several threads
// that work side by side, so a step is not always what the time before it went
// into.
type clock struct {
	on    bool
	say   func(string)
	mu    sync.Mutex
	marks []mark
	shown int
}

type mark struct {
	name string
	at   time.Time
}

func (k *clock) mark(name string) {
	if k.on || len(k.marks) == 0 {
		k.Mark(name, time.Now())
	}
}

// Mark notes a step (launch.Clock).
func (k *clock) Mark(step string, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.marks = append(k.marks, mark{step, at})
}

// Print shows the steps since the last time, each with its distance from the one
// before and from the first (launch.Clock).
func (k *clock) Print() {
	if !k.on {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	marks := k.marks
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	ms := func(from, to mark) float64 { return float64(to.at.UnixNano()-from.at.UnixNano()) / 1e6 }
	for i := max(k.shown, 1); i < len(marks); i++ {
		k.say(fmt.Sprintf("timing: %8.3f ms %8.3f ms  %s", ms(marks[i-1], marks[i]), ms(marks[0], marks[i]), marks[i].name))
	}
	k.shown = len(marks)
}
