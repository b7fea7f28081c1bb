// SPDX-License-Identifier: Apache-2.0

// Command hello is the app of `make demo`: it says where it finds itself.
package main

import (
	"fmt"
	"os"
)

func main() {
	host, _ := os.Hostname()
	root, _ := os.ReadDir("/")
	fmt.Printf("Hello from a pod: host %s, app %s, pid %d of its own pid namespace, uid %d, %d entries in /\n",
		host, os.Getenv("AC_APP_NAME"), os.Getpid(), os.Getuid(), len(root))
}
