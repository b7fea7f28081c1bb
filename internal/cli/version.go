// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"runtime"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/ui"
)

// features are what this build can do that another might not.
const features = "+OCI +ACI +SECCOMP +CNI -TPM -SDJOURNAL"

func newVersion(c *cli) *command {
	var format outputFormat
	cmd := &command{
		usage:   "[OPTION…]",
		short:   "print the version of rkt",
		long:    "Prints the versions of rkt, of the appc specification it implements and of Go,\nand what this build can (+) and cannot (-) do.",
		example: "  rkt version\n  rkt version --format=json",
		args:    noArgs,
		run: func([]string) error {
			if format.json() {
				return ui.JSON(c.Out, struct {
					Version  string `json:"rkt_version"`
					Appc     string `json:"appc_version"`
					Go       string `json:"go_version"`
					Platform string `json:"go_os_arch"`
					Features string `json:"features"`
				}{Version, pod.SpecVersion, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, features}, format.pretty())
			}
			_, err := io.WriteString(c.Out, "rkt Version: "+Version+
				"\nappc Version: "+pod.SpecVersion+
				"\nGo Version: "+runtime.Version()+
				"\nGo OS/Arch: "+runtime.GOOS+"/"+runtime.GOARCH+
				"\nFeatures: "+features+"\n")
			return err
		},
	}
	format.register(cmd.flags())
	return cmd
}
