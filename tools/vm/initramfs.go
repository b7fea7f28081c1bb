// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/tools/kernel"
)

// rootScript is the first program in the initramfs: it loads modules and goes
// on to the disk.
const rootScript = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for m in $(/bin/busybox cat /order); do /bin/busybox insmod /$m || echo "vm: cannot load $m"; done
n=0
until test -b /dev/vda; do n=$((n+1)); test $n -gt 100 && exit 1; /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root || exit 1
exec /bin/busybox switch_root /root /sbin/init
`

// makeInitramfs makes one of busybox and kernel modules, with those they depend
// on.
func makeInitramfs(dir, linux string, modules ...string) (string, error) {
	busybox, err := staticBusybox()
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return "", err
	}
	list, err := kernel.Modules(linux, modules...)
	if err != nil {
		return "", err
	}
	var order []string
	var a kernel.Archive
	for _, d := range []string{"bin", "dev", "root"} {
		a.Add(d, 0o040755, nil)
	}
	for _, m := range list {
		order = append(order, m.Name)
		a.Add(m.Name, 0o100644, m.Text)
	}
	a.Add("order", 0o100644, []byte(strings.Join(order, "\n")+"\n"))
	a.Add("bin/busybox", 0o100755, program)
	a.Add("init", 0o100755, []byte(rootScript))
	path := filepath.Join(dir, "initramfs")
	return path, os.WriteFile(path, a.End(), 0o644)
}
