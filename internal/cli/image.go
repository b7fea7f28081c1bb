// SPDX-License-Identifier: Apache-2.0

package cli

import "github.com/spf13/cobra"

func newImage(*cli) *cobra.Command {
	return &cobra.Command{
		Use:   "image COMMAND",
		Short: "list and remove stored images",
		Long:  "Works on the images in the store. rkt fetch puts them there.",
	}
}
