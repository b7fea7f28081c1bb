// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
)

func newImageCatManifest(c *cli) *command {
	var pretty bool
	cmd := &command{
		usage: "[OPTION…] IMAGE",
		short: "print the manifest of a stored image",
		long: `Prints the manifest of an image as it came: appc's of an ACI, OCI's or Docker's of
any other. IMAGE is an ID, or a name under which the image was fetched. With
--pretty-print=false it is byte for byte what the digest was made of.`,
		example: "  rkt image cat-manifest sha256-7c0a\n  rkt image cat-manifest docker://busybox",
		args:    oneArg("the image"),
		words:   c.imageWords,
		run: func(args []string) error {
			_, st, err := c.openStore()
			if err != nil {
				return err
			}
			rec, err := storedImage(st, args[0])
			if err != nil {
				return err
			}
			defer st.Close()
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
	cmd.flags().BoolVar(&pretty, "pretty-print", true, "indent the output")
	return cmd
}

// maxImageManifest bounds what is printed; registries allow 4 MiB.
const maxImageManifest = 16 << 20
