// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
// on. A module that is not there is built in.
func makeInitramfs(dir, kernel string, modules ...string) (string, error) {
	busybox, err := staticBusybox()
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return "", err
	}
	files, err := findModules(kernel)
	if err != nil {
		return "", err
	}
	var order []string
	var a archive
	for _, d := range []string{"bin", "dev", "root"} {
		a.add(d, 0o040755, nil)
	}
	var load func(name string) error
	load = func(name string) error {
		path, ok := files[name]
		if !ok || slices.Contains(order, name) {
			return nil
		}
		needs, err := dependencies(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := load(n); err != nil {
				return err
			}
		}
		text, err := os.ReadFile(path)
		if err == nil {
			order = append(order, name)
			a.add(name, 0o100644, text)
		}
		return err
	}
	for _, m := range modules {
		if err := load(m); err != nil {
			return "", fmt.Errorf("cannot take module %s: %w", m, err)
		}
	}
	a.add("order", 0o100644, []byte(strings.Join(order, "\n")+"\n"))
	a.add("bin/busybox", 0o100755, program)
	a.add("init", 0o100755, []byte(rootScript))
	path := filepath.Join(dir, "initramfs")
	return path, os.WriteFile(path, a.end(), 0o644)
}

// findModules lists a kernel's modules by name.
func findModules(kernel string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(filepath.Join(kernel, "lib", "modules"), func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); err == nil && ok && !d.IsDir() {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot find the kernel's modules: %w", err)
	}
	return files, nil
}

// dependencies are in a module's section .modinfo, as depends=a,b.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, nil
	}
	text, err := s.Data()
	if err != nil {
		return nil, err
	}
	for word := range bytes.SplitSeq(text, []byte{0}) {
		if list, ok := strings.CutPrefix(string(word), "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}

// archive is a cpio archive in the kernel's form (Documentation/driver-api/
// early-userspace/buffer-format.rst, "newc").
type archive struct {
	b bytes.Buffer
	n int
}

func (a *archive) add(name string, mode int, data []byte) {
	a.n++
	fmt.Fprintf(&a.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", a.n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.b.WriteString(name + "\x00")
	a.pad()
	a.b.Write(data)
	a.pad()
}

func (a *archive) pad() {
	for a.b.Len()%4 != 0 {
		a.b.WriteByte(0)
	}
}

func (a *archive) end() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.b.Bytes()
}
