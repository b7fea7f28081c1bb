// SPDX-License-Identifier: Apache-2.0

// Package retry asks servers again, as patiently as all of rkt is.
package retry

import (
	"context"
	"errors"
	"time"
)

// MaxPause is the longest pause before another try, whatever a server asks for.
const MaxPause = 30 * time.Second

// Passing is an error that another try may not meet.
type Passing interface {
	error
	// Passing tells whether it is one of those, and how long the server asked to
	// wait; 0 if it did not.
	Passing() (after time.Duration, ok bool)
}

// Do repeats ask as long as its failures may pass, tries times at most, with a
// pause that doubles each time. The error is ask's last, or that of ctx.
func Do(ctx context.Context, tries int, pause time.Duration, ask func() error) error {
	for try := 1; ; try++ {
		err := ask()
		var passing Passing
		if err == nil || try >= tries || ctx.Err() != nil || !errors.As(err, &passing) {
			return err
		}
		after, ok := passing.Passing()
		if !ok {
			return err
		}
		if err := Sleep(ctx, max(pause, after)); err != nil {
			return err
		}
		pause = min(2*pause, MaxPause)
	}
}

// Sleep waits, for MaxPause at most. The error is the cause of ctx's end.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(min(d, MaxPause))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
