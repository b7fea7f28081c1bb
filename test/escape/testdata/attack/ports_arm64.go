// SPDX-License-Identifier: Apache-2.0

package main

// ioperm is a call that this architecture does not have.
const ioperm = 1 << 20
