// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/ui"
)

// The exit statuses of rkt. `run`, `run-prepared` and `enter` replace the
// process, so that theirs is the app's own: 128+n if signal n ended it.
const (
	exitOK      = 0
	exitFailure = 254 // rkt itself failed, or could not understand what it was asked
)

// exitStatus is the section of that name in every help text.
const exitStatus = `    0    success
  254    rkt failed; the reason is on standard error`

// exitStatusApp is the same for verbs that become the app.
const exitStatusApp = `  the app's own, 128+n if signal n ended it
  254    rkt failed; the reason is on standard error`

// report prints err as the last thing a verb says: one line, then its hint on
// another. With --debug the chain of causes follows, one level a line.
// Joined errors are reported one by one.
func (c *cli) report(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			c.report(e)
		}
		return
	}
	ui.Message(c.Err, c.verb, err.Error())
	if c.global.debug {
		depth := 0
		for e := err; e != nil; e = errors.Unwrap(e) {
			own, cause := e.Error(), errors.Unwrap(e)
			if cause != nil {
				if own == cause.Error() {
					continue // a wrapper that adds no words
				}
				own = strings.TrimSuffix(own, ": "+cause.Error())
			}
			ui.Message(c.Err, c.verb, strings.Repeat("  ", depth)+"└─"+own)
			depth++
		}
	}
	if h := hint.Of(err); h != "" {
		ui.Message(c.Err, c.verb, "hint: "+h)
	}
}

// say prints a line about what rkt does, on standard error.
func (c *cli) say(text string) { ui.Message(c.Err, c.verb, text) }

// failures collects what went wrong with each of several objects; the verb goes
// on with the next. Every failure is printed when it happens.
type failures struct {
	c     *cli
	count int
}

func (f *failures) add(err error) {
	if err != nil {
		f.c.report(err)
		f.count++
	}
}

// errReported ends a verb whose failures have been printed already.
var errReported = errors.New("reported")

func (f *failures) err() error {
	if f.count > 0 {
		return errReported
	}
	return nil
}
