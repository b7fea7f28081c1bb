// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

type passing struct {
	after time.Duration
	ok    bool
}

func (passing) Error() string                             { return "it may pass" }
func (p passing) Passing() (after time.Duration, ok bool) { return p.after, p.ok }

func TestDo(t *testing.T) {
	lasting := errors.New("it lasts")
	for name, c := range map[string]struct {
		answers []error
		tries   int
		asked   int
		took    time.Duration
		err     error
	}{
		"at once":         {[]error{nil}, 5, 1, 0, nil},
		"lasting":         {[]error{lasting}, 5, 1, 0, lasting},
		"passes":          {[]error{passing{0, true}, passing{0, true}, nil}, 5, 3, 3 * time.Second, nil},
		"wrapped":         {[]error{fmt.Errorf("x: %w", passing{0, true}), nil}, 5, 2, time.Second, nil},
		"too often":       {[]error{passing{0, true}}, 3, 3, 3 * time.Second, passing{0, true}},
		"not passing":     {[]error{passing{0, false}}, 3, 1, 0, passing{0, false}},
		"asked to wait":   {[]error{passing{9 * time.Second, true}, nil}, 5, 2, 9 * time.Second, nil},
		"asked too much":  {[]error{passing{time.Hour, true}, nil}, 5, 2, MaxPause, nil},
		"pauses are held": {[]error{passing{0, true}}, 8, 8, (1 + 2 + 4 + 8 + 16 + 30 + 30) * time.Second, passing{0, true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, begun := 0, time.Now()
				err := Do(t.Context(), c.tries, time.Second, func() error {
					asked++
					return c.answers[min(asked, len(c.answers))-1]
				})
				if !errors.Is(err, c.err) || asked != c.asked || time.Since(begun) != c.took {
					t.Errorf("error %v after %d tries and %v, want %v, %d, %v", err, asked, time.Since(begun), c.err, c.asked, c.took)
				}
			})
		})
	}
}

func TestDoEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(1500*time.Millisecond, func() { cancel(cause) })
		if err := Do(ctx, 100, time.Second, func() error { return passing{0, true} }); !errors.Is(err, cause) {
			t.Errorf("error %v", err)
		}
	})
}
