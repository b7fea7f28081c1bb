// SPDX-License-Identifier: Apache-2.0

package cli

func newGenerate(*cli) *command {
	return &command{
		usage: "COMMAND",
		short: "write files by which others run pods",
		long:  "Writes, for other programs, how a pod is run.",
	}
}
