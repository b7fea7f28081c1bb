// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

const ioperm = unix.SYS_IOPERM
