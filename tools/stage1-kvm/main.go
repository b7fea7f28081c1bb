// SPDX-License-Identifier: Apache-2.0

// Command stage1-kvm adds to an installation what the kvm flavor starts: Debian's
// kernel for virtual machines, which it downloads with apt-get, and an initramfs of
// that kernel's modules and rkt's kvm-init. The same packages and programs give the
// same bytes. `make stage1-kvm`.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rkt/rkt/tools/kernel"
)

func main() {
	out := flag.String("o", "build", "the `directory` of the installation, with libexec/rkt/kvm-init")
	linux := flag.String("kernel", "", "`directory` with boot/vmlinuz-* and lib/modules; downloaded if empty")
	flag.Parse()
	if err := run(*out, *linux); err != nil {
		fmt.Fprintln(os.Stderr, "stage1-kvm:", err)
		os.Exit(1)
	}
}

func run(out, linux string) (err error) {
	if linux == "" {
		if linux, err = kernel.Download(); err != nil {
			return err
		}
	}
	return Make(filepath.Join(out, "libexec", "rkt"), linux)
}

// modules are what the guest's drivers and file systems need, beside what is built
// in.
var modules = []string{"virtio_pci", "virtio_console", "virtiofs", "virtio_net"}

// signature ends a module that is signed (Documentation/admin-guide/module-signing.rst).
// Nothing in the guest asks for it, and to verify it takes a quarter of a boot under
// emulation.
const signature = "~Module signature appended~\n"

// Make writes kvm/vmlinux and kvm/initramfs into dir, which has kvm-init.
func Make(dir, linux string) error {
	path, err := kernel.Image(linux)
	if err != nil {
		return err
	}
	image, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := kernel.ELF(image)
	if err != nil {
		return err
	}
	init, err := os.ReadFile(filepath.Join(dir, "kvm-init"))
	if err != nil {
		return err
	}
	list, err := kernel.Modules(linux, modules...)
	if err != nil {
		return err
	}
	var a kernel.Archive
	for _, d := range []string{"dev", "modules"} {
		a.Add(d, 0o040755, nil)
	}
	a.Add("init", 0o100755, init)
	for i, m := range list {
		a.Add(fmt.Sprintf("modules/%02d-%s.ko", i, m.Name), 0o100644, unsigned(m.Text))
	}
	if err := os.MkdirAll(filepath.Join(dir, "kvm"), 0o755); err != nil {
		return err
	}
	for name, text := range map[string][]byte{"vmlinux": text, "initramfs": a.End()} {
		path := filepath.Join(dir, "kvm", name)
		if err := os.WriteFile(path+".new", text, 0o644); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes\n", path, len(text))
	}
	return nil
}

// unsigned is a module without its signature: the marker, and before it 12 bytes of
// which the last four are the length of what comes before those.
func unsigned(text []byte) []byte {
	const info = 12
	if !bytes.HasSuffix(text, []byte(signature)) || len(text) < len(signature)+info {
		return text
	}
	end := len(text) - len(signature) - info
	n := text[end+info-4 : end+info]
	length := int(n[0])<<24 | int(n[1])<<16 | int(n[2])<<8 | int(n[3])
	if length > end {
		return text
	}
	return text[:end-length]
}
