// SPDX-License-Identifier: Apache-2.0

// Command stage1-native holds the entry points of the native flavor; only rkt
// starts it (internal/stage1/contract).
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rkt/rkt/internal/stage1/native"
)

func main() {
	status, err := entry(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
		status = 254
	}
	os.Exit(status)
}

func entry(args []string) (int, error) {
	if len(args) == 0 {
		return 0, errors.New("cannot start: this program is a flavor of rkt's stage1; use rkt run")
	}
	switch args[0] {
	case "init":
		return native.Init()
	case "run":
		return native.Run()
	case "enter":
		app, ok := strings.CutPrefix(strings.Join(args[1:min(2, len(args))], ""), "--app=")
		if !ok || len(args) < 4 || args[2] != "--" {
			return 0, errors.New("cannot enter: want --app=NAME -- COMMAND [ARGUMENT…]")
		}
		return native.Enter(app, args[3:])
	case "stop":
		return 0, native.Stop(len(args) > 1 && args[1] == "--force")
	case "gc":
		return 0, native.GC()
	case "manifest":
		m := native.Manifest()
		_, err := fmt.Printf("%s\n", m.Encode())
		return 0, err
	}
	return 0, fmt.Errorf("cannot start: no entry point %q", args[0])
}
