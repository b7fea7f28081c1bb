// SPDX-License-Identifier: Apache-2.0

package page

import (
	_ "embed"
	"strings"
)

var (
	//go:embed completion/rkt.bash
	bashScript string
	//go:embed completion/rkt.zsh
	zshScript string
	//go:embed completion/rkt.fish
	fishScript string
)

// CompletionScript is the script by which a shell completes program's command
// line: it asks `program __complete WORD… BEGUN`, with the words after program.
// The answer is one candidate a line, with what it is after a tab, and as the last
// line ":files" if a file could stand there as well, or ":end". ok is false if
// there is no script for shell.
func CompletionScript(shell, program string) (script string, ok bool) {
	switch shell {
	case "bash":
		script = bashScript
	case "zsh":
		script = zshScript
	case "fish":
		script = fishScript
	}
	return strings.ReplaceAll(script, "rkt", program), script != ""
}
