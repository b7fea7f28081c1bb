// SPDX-License-Identifier: Apache-2.0

package wire

import "strconv"

// What the host and the guest know each other's things by.
const (
	PortName = "rkt.control" // the port that frames go by
	ShareTag = "rkt"         // the shared file system
	Share    = "/share"      // where the guest mounts that
)

// Disk is the serial number of the disk with the root of the app of that number.
func Disk(app int) string { return "root" + strconv.Itoa(app) }

// Below Share: each app's root by its name, each volume by its number, and the
// apps' logs.
const (
	Roots   = "roots"
	Volumes = "volumes"
	Logs    = "logs"
)
