// SPDX-License-Identifier: Apache-2.0

package vmm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/forkexec"
)

// QEMU is the driver for QEMU's system emulation, 7.2 or later. The zero value
// finds it where distributions install it.
type QEMU struct{}

// qemuPaths are where the program is, and Debian's package of it; the environment has
// no say, for rkt is root.
func qemuPaths() (paths []string, debian string) {
	name, debian := "qemu-system-x86_64", "qemu-system-x86"
	if runtime.GOARCH == "arm64" {
		name, debian = "qemu-system-aarch64", "qemu-system-arm"
	}
	return []string{"/usr/bin/" + name, "/usr/libexec/qemu-kvm", "/usr/local/bin/" + name}, debian
}

// find is the first of paths that can be executed.
func find(paths []string) (string, bool) {
	for _, p := range paths {
		if unix.Access(p, unix.X_OK) == nil {
			return p, true
		}
	}
	return "", false
}

// Command implements Driver.
func (QEMU) Command(m *Machine) (program string, argv []string, files []*os.File, err error) {
	paths, debian := qemuPaths()
	program, ok := find(paths)
	if !ok {
		return "", nil, nil, hint.Wrap(errors.New("cannot start the virtual machine: there is no qemu"), "install it: Debian's package is "+debian)
	}
	fd := func(f *os.File) string {
		files = append(files, f)
		return strconv.Itoa(firstFD + len(files) - 1)
	}
	// No device but what is named here: none of the machine's own, no monitor, no
	// files of anybody's that change it.
	argv = []string{program, "-name", m.Name, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none", "-parallel", "none"}
	add := func(words ...string) { argv = append(argv, words...) }
	// What the guest may make of a fault in it is little: nobody's process in an
	// empty directory, without a program to execute or scheduling to change. Its
	// filter comes before it changes its user, so that alone is not denied by it;
	// place has seen to it that no privileges come back.
	add("-sandbox", "on,obsolete=deny,elevateprivileges=allow,spawn=deny,resourcecontrol=deny")
	add("-runas", fmt.Sprintf("%d:%d", m.User, m.User), "-chroot", m.Empty)
	// Without an HPET the guest's kernel has one clock less to measure the others by.
	machine := "q35,sata=off,smbus=off,vmport=off,i8042=off,hpet=off"
	if runtime.GOARCH == "arm64" {
		machine = "virt"
	}
	add("-machine", machine+",memory-backend=memory")
	if unix.Access(firmware, unix.R_OK) == nil && runtime.GOARCH == "amd64" {
		add("-bios", firmware)
	}
	switch m.Accelerator {
	case KVM:
		add("-accel", "kvm", "-cpu", "host")
	case TCG:
		add("-accel", "tcg,thread=multi,tb-size=256", "-cpu", emulated())
	default:
		return "", nil, nil, fmt.Errorf("cannot start the virtual machine: there is no accelerator %q", m.Accelerator)
	}
	megabytes := strconv.FormatInt(m.Memory>>20, 10) + "M"
	add("-smp", strconv.Itoa(m.CPUs), "-m", megabytes)
	// Shared with the server of files, which reads and writes the guest's buffers.
	add("-object", "memory-backend-memfd,id=memory,share=on,size="+megabytes)
	add("-kernel", m.Kernel, "-initrd", m.Initramfs, "-append", m.Append)
	add("-chardev", "socket,id=console,fd="+fd(m.Console), "-serial", "chardev:console")
	add("-device", "virtio-serial-pci,max_ports=2")
	add("-chardev", "socket,id=control,fd="+fd(m.Control), "-device", "virtserialport,nr=1,chardev=control,name="+m.PortName)
	if m.Share != nil {
		add("-chardev", "socket,id=share,fd="+fd(m.Share), "-device", "vhost-user-fs-pci,chardev=share,queue-size=1024,tag="+m.ShareTag)
	}
	for i, d := range m.Disks {
		set := strconv.Itoa(i + 1)
		add("-add-fd", "fd="+fd(d.File)+",set="+set)
		add("-blockdev", "driver=raw,read-only=on,node-name=disk"+set+",file.driver=file,file.locking=off,file.filename=/dev/fdset/"+set)
		add("-device", "virtio-blk-pci,drive=disk"+set+",serial="+d.Serial)
	}
	for i, t := range m.Taps {
		id := "net" + strconv.Itoa(i)
		add("-netdev", "tap,id="+id+",fd="+fd(t.File))
		add("-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s,host_mtu=%d,romfile=", id, t.MAC, t.MTU))
	}
	return program, argv, files, nil
}

// firmware does no more than to start a kernel, in less time than the usual one,
// which takes its place where it is not installed.
const firmware = "/usr/share/qemu/qboot.rom"

// emulated is the processor that emulation makes: one that can do all it can, but
// for page tables of five levels, which no guest's memory needs and each walk pays for.
func emulated() string {
	if runtime.GOARCH == "arm64" {
		return "max"
	}
	return "max,la57=off"
}

// firstFD is the descriptor of the first of a program's files.
const firstFD = 3

// place has the child have null, null, the caller's stderr, and files from firstFD
// on, and nothing else.
func place(c *forkexec.Child, null *os.File, files []*os.File) {
	// First above all places, so that placing one does not overwrite another.
	high := firstFD + len(files)
	all := append([]*os.File{null, null, os.Stderr}, files...)
	for i, f := range all {
		c.Call("hand over a descriptor", unix.SYS_DUP3, f.Fd(), uintptr(high+100+i), unix.O_CLOEXEC)
	}
	for i := range all {
		c.Call("hand over a descriptor", unix.SYS_DUP3, uintptr(high+100+i), uintptr(i), 0)
	}
	c.Call("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(high), 1<<32-1, 0)
	c.Keep(all)
	c.Call("start a session", unix.SYS_SETSID)
	c.Call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
