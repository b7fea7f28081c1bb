// SPDX-License-Identifier: Apache-2.0

// Package vmm starts virtual machines. A Driver is a program that runs one: QEMU is
// the one there is. What a pod needs of it is a Machine, in words that any has:
//
//	              QEMU                      Cloud Hypervisor         Firecracker
//	Kernel        -kernel (PVH)             --kernel (PVH)           boot-source (PVH, ELF)
//	Control       virtserialport on a       --vsock: the same        vsock: the same frames,
//	              socket                    frames, over its socket  over its socket
//	Console       -serial                   --serial tty             its standard output
//	Share         vhost-user-fs-pci         --fs                     none: refuse a pod that
//	                                                                 needs one, or roots as
//	                                                                 block images
//	Disks         virtio-blk-pci            --disk                   drives
//	Taps          -netdev tap,fds=          --net fd=                network-interfaces, by
//	                                                                 the tap's name
//	Memory, CPUs  -m, -smp                  --memory, --cpus         machine-config
//
// A driver is given open descriptors, never paths of what the guest is to reach, and
// gives the machine nothing that the Machine does not name. How long it takes, and
// what the guest says, is not its affair: package kvm asks that over Control.
package vmm

import (
	"os"

	"github.com/rkt/rkt/internal/linux/forkexec"
)

// A Machine is what a driver is to start.
type Machine struct {
	Name string
	// Kernel is an ELF file with an entry for virtual machines (PVH), Initramfs a
	// cpio archive; Append is the kernel's command line.
	Kernel, Initramfs, Append string
	CPUs                      int
	Memory                    int64 // bytes, a multiple of MiB
	Accelerator               Accelerator
	// Control is a connected socket to the other end of the guest's port PortName,
	// Console one to which the guest's kernel writes.
	Control, Console *os.File
	PortName         string
	// Share is a connected socket to a server of vhost-user file systems, for the
	// one of name ShareTag; nil for none.
	Share    *os.File
	ShareTag string
	// Disks are files that the guest reads as disks, by their serial numbers.
	Disks []Disk
	Taps  []Tap
	// Empty is an empty directory, which becomes the program's root once it has
	// opened all; User is whom it runs as then.
	Empty string
	User  uint32
}

// A Disk is a file that the guest may read.
type Disk struct {
	File   *os.File
	Serial string
}

// A Tap is a network interface of the guest's: the descriptor of a tap device.
type Tap struct {
	File *os.File
	MAC  string
	MTU  int
}

// Accelerator is what runs the guest's instructions.
type Accelerator string

// The accelerators.
const (
	KVM Accelerator = "kvm" // the processor's own
	TCG Accelerator = "tcg" // emulation
)

// A Driver starts machines with one program.
type Driver interface {
	// Command is the program and what it is told to start m. The files of m are its
	// descriptors.
	Command(m *Machine) (program string, argv []string, files []*os.File, err error)
}

// Start starts m and returns its pid; the caller waits for it, and sees to it that it
// ends: by a pid namespace of which it is the first process.
func Start(d Driver, m *Machine) (int, error) {
	program, argv, files, err := d.Command(m)
	if err != nil {
		return 0, err
	}
	return start(program, argv, files)
}

// start starts a program with descriptors from 3 on, and nothing else of ours:
// nothing to read, what it says on stderr.
func start(program string, argv []string, files []*os.File) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	c := &forkexec.Child{}
	place(c, null, files)
	if err := c.Exec(program, argv, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=/tmp"}); err != nil {
		return 0, err
	}
	return c.Start()
}
