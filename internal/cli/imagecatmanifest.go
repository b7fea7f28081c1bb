// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newImageCatManifest(c *cli) *cobra.Command {
	var pretty bool
	cmd := &cobra.Command{
		Use:   "cat-manifest [OPTION…] IMAGE",
		Short: "print the manifest of a stored image",
		Long: `Prints the manifest of an image as it came: appc's of an ACI, OCI's or Docker's of
any other. IMAGE is an ID, or a name under which the image was fetched. With
--pretty-print=false it is byte for byte what the digest was made of.`,
		Example:           "  rkt image cat-manifest sha256-7c0a\n  rkt image cat-manifest docker://busybox",
		Args:              oneArg("the image"),
		ValidArgsFunction: c.completeImages,
		RunE: func(_ *cobra.Command, args []string) error {
			st, err := c.openStore()
			if err != nil {
				return err
			}
			defer st.Close()
			rec, err := storedImage(st, args[0])
			if err != nil {
				return err
			}
			f, err := st.OpenBlob(rec.Manifest)
			if err != nil {
				return err
			}
			defer f.Close()
			b, err := readLimited(f, maxImageManifest)
			if err != nil {
				return fmt.Errorf("cannot read the manifest of image %s: %w", rec.ID, err)
			}
			return c.printManifest(b, pretty)
		},
	}
	cmd.Flags().BoolVar(&pretty, "pretty-print", true, "indent the output")
	return cmd
}

// maxImageManifest bounds what is printed; registries allow 4 MiB.
const maxImageManifest = 16 << 20
