// SPDX-License-Identifier: Apache-2.0

package cli

func newImage(*cli) *command {
	return &command{
		usage: "COMMAND",
		short: "look into, write, check and remove stored images",
		long:  "Works on the images in the store. rkt fetch puts them there.",
	}
}
