// SPDX-License-Identifier: Apache-2.0

// Command stage1-kvm adds to an installation what the kvm flavor starts: Debian's
// kernel for virtual machines, which it downloads with apt-get, and an initramfs of
// that kernel's modules and rkt's kvm-init; and beside them which package that
// kernel is of, its copyright and its licences. The same packages and programs give
// the same bytes. `make stage1-kvm`.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/tools/debian"
	"github.com/rkt/rkt/tools/kernel"
)

func main() {
	out := flag.String("o", "build", "the `directory` of the installation, with libexec/rkt/kvm-init")
	arch := flag.String("arch", runtime.GOARCH, "that of the installation, in Go's words")
	linux := flag.String("kernel", "", "`directory` with boot/vmlinuz-* and lib/modules; downloaded if empty")
	debs := flag.String("debs", "", "`directory` where packages are kept: what is there is not downloaded; a cache of the user's if empty")
	only := flag.Bool("download", false, "only download the packages")
	flag.Parse()
	if *only {
		*out = ""
	}
	if err := run(*out, *arch, *linux, *debs); err != nil {
		fmt.Fprintln(os.Stderr, "stage1-kvm:", err)
		if h := hint.Of(err); h != "" {
			fmt.Fprintln(os.Stderr, "hint:", h)
		}
		os.Exit(1)
	}
}

func run(out, arch, linux, debs string) (err error) {
	if linux == "" {
		if linux, err = kernel.Download(arch, debs); err != nil {
			return err
		}
	}
	if out == "" {
		return nil
	}
	return Make(filepath.Join(out, "libexec", "rkt"), arch, linux)
}

// modules are what the guest's drivers and file systems need, beside what is built
// in.
var modules = []string{"virtio_pci", "virtio_console", "virtiofs", "virtio_net"}

// diskModules are what it needs beside them on a host that shares no files.
var diskModules = []string{"virtio_blk", "erofs", "overlay"}

// signature ends a module that is signed (Documentation/admin-guide/module-signing.rst).
// Nothing in the guest asks for it, and to verify it takes a quarter of a boot under
// emulation.
const signature = "~Module signature appended~\n"

// Make writes the directory kvm into dir, which has kvm-init, in place of what is
// there.
func Make(dir, arch, linux string) error {
	path, err := kernel.Image(linux)
	if err != nil {
		return err
	}
	image, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := kernel.Direct(arch, image)
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
	all, err := kernel.Modules(linux, append(modules[:len(modules):len(modules)], diskModules...)...)
	if err != nil {
		return err
	}
	var a kernel.Archive
	for _, d := range []string{"dev", "modules", "disks"} {
		a.Add(d, 0o040755, nil)
	}
	a.Add("init", 0o100755, init)
	for i, m := range all {
		dir := "modules"
		if i >= len(list) {
			dir = "disks"
		}
		a.Add(fmt.Sprintf("%s/%02d-%s.ko", dir, i, m.Name), 0o100644, unsigned(m.Text))
	}
	files, err := provenance(linux)
	if err != nil {
		return err
	}
	files["vmlinux"], files["initramfs"] = text, a.End()
	return write(filepath.Join(dir, "kvm"), files)
}

// provenance is which package the kernel is of, the copyright and the licences that
// this refers to; nothing for a kernel that does not say.
func provenance(linux string) (map[string][]byte, error) {
	record, err := os.ReadFile(filepath.Join(linux, kernel.Record))
	if os.IsNotExist(err) {
		return map[string][]byte{}, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := debian.ParseRecord(record)
	if err != nil {
		return nil, err
	}
	files, texts := map[string][]byte{kernel.Record: record}, map[string][]byte{}
	for _, p := range list {
		fmt.Printf("kernel: %s\n", p)
		if texts[p.Name], err = os.ReadFile(filepath.Join(linux, debian.CopyrightPath(p.Name))); err != nil {
			return nil, err
		}
		for _, name := range debian.Referred(texts[p.Name]) {
			if files["licenses/"+name], err = os.ReadFile(filepath.Join(linux, debian.Licenses, name)); err != nil {
				return nil, err
			}
		}
	}
	files["copyright"], err = debian.Notice(list, texts)
	return files, err
}

// write makes dir of files, in place of what is there.
func write(dir string, files map[string][]byte) error {
	next := dir + ".new"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(next, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil { // whatever the umask is
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(next, dir); err != nil {
		return err
	}
	for _, name := range []string{"vmlinux", "initramfs"} {
		fmt.Printf("%s: %d bytes\n", filepath.Join(dir, name), len(files[name]))
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
