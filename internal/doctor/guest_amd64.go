// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers of linux/kvm.h.
const (
	kvmGetAPIVersion = 0xae00
	kvmCreateVM      = 0xae01
	kvmGetMmapSize   = 0xae04
	kvmCreateVCPU    = 0xae41
	kvmSetMemory     = 0x4020ae46
	kvmRun           = 0xae80
	kvmSetRegs       = 0x4090ae82
	kvmGetSregs      = 0x8138ae83
	kvmSetSregs      = 0x4138ae84
	kvmExitIO        = 2
	kvmExitHalt      = 5
)

// guest writes a K to the first serial port, and halts.
var guest = [...]byte{
	0xba, 0xf8, 0x03, // mov $0x3f8, %dx
	0xb0, 'K', // mov $'K', %al
	0xee, // out %al, (%dx)
	0xf4, // hlt
}

// runGuest runs it, in real mode, on a processor of its own. Its own time is not
// bounded: who called ends this process.
func runGuest(device string) (string, error) {
	kvm, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: device, Err: err}
	}
	ioctl := func(fd int, name string, request, arg uintptr) (int, error) {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
		if errno != 0 {
			return -1, os.NewSyscallError(name, errno)
		}
		return int(r), nil
	}
	if v, err := ioctl(kvm, "KVM_GET_API_VERSION", kvmGetAPIVersion, 0); err != nil || v != 12 {
		return "", fmt.Errorf("version %d of its interface, not 12 (%w)", v, err)
	}
	vm, err := ioctl(kvm, "KVM_CREATE_VM", kvmCreateVM, 0)
	if err != nil {
		return "", err
	}
	const place = 0x1000
	memory, err := unix.Mmap(-1, 0, 0x1000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return "", os.NewSyscallError("mmap", err)
	}
	copy(memory, guest[:])
	region := struct {
		slot, flags              uint32
		physical, size, userland uint64
	}{0, 0, place, 0x1000, uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if _, err := ioctl(vm, "KVM_SET_USER_MEMORY_REGION", kvmSetMemory, uintptr(unsafe.Pointer(&region))); err != nil {
		return "", err
	}
	cpu, err := ioctl(vm, "KVM_CREATE_VCPU", kvmCreateVCPU, 0)
	if err != nil {
		return "", err
	}
	size, err := ioctl(kvm, "KVM_GET_VCPU_MMAP_SIZE", kvmGetMmapSize, 0)
	if err != nil {
		return "", err
	}
	shared, err := unix.Mmap(cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return "", os.NewSyscallError("mmap", err)
	}
	var sregs [0x138]byte // cs first: base (8 bytes), limit (4), selector (2)
	if _, err := ioctl(cpu, "KVM_GET_SREGS", kvmGetSregs, uintptr(unsafe.Pointer(&sregs[0]))); err != nil {
		return "", err
	}
	clear(sregs[:8])
	clear(sregs[12:14])
	if _, err := ioctl(cpu, "KVM_SET_SREGS", kvmSetSregs, uintptr(unsafe.Pointer(&sregs[0]))); err != nil {
		return "", err
	}
	var regs [18]uint64
	regs[16], regs[17] = place, 2 // rip, rflags
	if _, err := ioctl(cpu, "KVM_SET_REGS", kvmSetRegs, uintptr(unsafe.Pointer(&regs[0]))); err != nil {
		return "", err
	}
	heard := ""
	for range 16 {
		if _, err := ioctl(cpu, "KVM_RUN", kvmRun, 0); err != nil {
			return "", err
		}
		switch reason := binary.LittleEndian.Uint32(shared[8:]); reason {
		case kvmExitIO:
			port, at := binary.LittleEndian.Uint16(shared[34:]), binary.LittleEndian.Uint64(shared[40:])
			if port == 0x3f8 && at < uint64(len(shared)) {
				heard += string(shared[at : at+1])
			}
		case kvmExitHalt:
			if heard != "K" {
				return "", fmt.Errorf("a guest ran and said %q, not K", heard)
			}
			return "a guest's instructions ran: it wrote to a port and halted", nil
		default:
			return "", fmt.Errorf("a guest ended with exit reason %d", reason)
		}
	}
	return "", fmt.Errorf("a guest does not halt")
}
