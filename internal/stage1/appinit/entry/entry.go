// SPDX-License-Identifier: Apache-2.0

// Package entry is the command line of a flavor's program (docs/stage1-contract.md,
// "Entry points").
package entry

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Points are a flavor's entry points. Init, Pause and Resume are nil in one that
// has none.
type Points struct {
	Init, Run     func() (int, error)
	Enter         func(app string, argv []string) (int, error)
	Stop          func(force bool) error
	GC            func() error
	Pause, Resume func() error
	Manifest      func() contract.Manifest
}

// Main runs the entry point that args name, and returns the exit status: 254 with
// one line on standard error, and one for the remedy if there is one, if stage1
// itself could not do its part.
func Main(args []string, p Points) int {
	return Exit(p.run(args))
}

// Exit is the exit status of what an entry point returns, whose error it prints.
func Exit(status int, err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
		if h := hint.Of(err); h != "" {
			fmt.Fprintln(os.Stderr, "stage1: hint:", h)
		}
		status = 254
	}
	return status
}

func (p Points) run(args []string) (int, error) {
	if len(args) == 0 {
		return 0, errors.New("cannot start: this program is a flavor of rkt's stage1; use rkt run")
	}
	switch args[0] {
	case "init":
		if p.Init != nil {
			return p.Init()
		}
	case "run":
		return p.Run()
	case "enter":
		app, ok := strings.CutPrefix(strings.Join(args[1:min(2, len(args))], ""), "--app=")
		if !ok || len(args) < 4 || args[2] != "--" {
			return 0, errors.New("cannot enter: want --app=NAME -- COMMAND [ARGUMENT…]")
		}
		return p.Enter(app, args[3:])
	case "stop":
		return 0, p.Stop(len(args) > 1 && args[1] == "--force")
	case "gc":
		return 0, p.GC()
	case "pause":
		if p.Pause != nil {
			return 0, p.Pause()
		}
	case "resume":
		if p.Resume != nil {
			return 0, p.Resume()
		}
	case "manifest":
		m := p.Manifest()
		_, err := fmt.Printf("%s\n", m.Encode())
		return 0, err
	}
	return 0, fmt.Errorf("cannot start: no entry point %q", args[0])
}
