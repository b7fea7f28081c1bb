// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/kvm/vmm"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// machineUser is whom the virtual machine's program runs as: nobody's number on
// hosts. Machines are kept from each other by their namespaces.
const machineUser = 60579

// A keeper's descriptors: its ends of the control socket and the console, the pod's
// lock, and those of taps, whose addresses are the rest of its arguments.
const (
	keeperControl = 3 + iota
	keeperConsole
	keeperLock
	keeperTaps
)

// startKeeper starts the keeper, as the first process of a pid namespace, in the
// cgroup behind a descriptor or, if that is 0, in this process's own. It is killed
// with the calling thread.
func startKeeper(a vmm.Accelerator, cgroup int, control, console *os.File, lock int, taps []vmm.Tap) (int, error) {
	argv := []string{"stage1-kvm", "keep", string(a)}
	files := []int{int(control.Fd()), int(console.Fd()), lock}
	for _, t := range taps {
		argv = append(argv, t.MAC, strconv.Itoa(t.MTU))
		files = append(files, int(t.File.Fd()))
	}
	c := &forkexec.Child{CgroupFD: cgroup, CloneFlags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET}
	c.Call("end with run", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	c.Call("start a session", unix.SYS_SETSID)
	// First above all places, so that placing one does not overwrite another.
	const above = 200
	for i, fd := range files {
		c.Call("hand over a descriptor", unix.SYS_DUP3, uintptr(fd), uintptr(above+i), unix.O_CLOEXEC)
	}
	for i := range files {
		c.Call("hand over a descriptor", unix.SYS_DUP3, uintptr(above+i), uintptr(keeperControl+i), 0)
	}
	c.Call("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(keeperControl+len(files)), 1<<32-1, 0)
	if err := c.Exec("/proc/self/exe", argv, []string{"GOMAXPROCS=1"}); err != nil {
		return 0, err
	}
	pid, err := c.Start()
	runtime.KeepAlive(taps)
	if err != nil {
		return 0, fmt.Errorf("cannot start the virtual machine: cannot %w", err)
	}
	return pid, nil
}

// Keep is the keeper: it gives the machine what it is to have, starts it, and ends
// when that does. args are those of startKeeper behind "keep".
func Keep(args []string) (int, error) {
	runtime.LockOSThread() // it has a mount namespace and a working directory of its own
	if len(args) == 0 || len(args)%2 == 0 {
		return 0, errors.New("cannot start: only rkt starts this program")
	}
	doc, err := poddir.Document(".")
	if err != nil {
		return 0, err
	}
	files, err := installed()
	if err != nil {
		return 0, err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return 0, os.NewSyscallError("unshare", err)
	}
	if err := layShare(doc); err != nil {
		return 0, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return 0, fmt.Errorf("cannot find the pod's directory: %w", err)
	}
	m := &vmm.Machine{
		Name:   "rkt-" + doc.UUID,
		Kernel: files.kernel, Initramfs: files.initramfs, Append: commandLine,
		CPUs: cpus(doc), Memory: memory(doc), Accelerator: vmm.Accelerator(args[0]),
		Control: descriptor(keeperControl), Console: descriptor(keeperConsole), PortName: wire.PortName,
		ShareTag: wire.ShareTag, Empty: dir + "/" + emptyDir, User: machineUser,
	}
	unix.CloseOnExec(keeperLock)
	for i, rest := 0, args[1:]; len(rest) > 1; i, rest = i+1, rest[2:] {
		mtu, err := strconv.Atoi(rest[1])
		if err != nil {
			return 0, err
		}
		m.Taps = append(m.Taps, vmm.Tap{File: descriptor(keeperTaps + i), MAC: rest[0], MTU: mtu})
	}
	server := -1
	if vmm.ServesFiles() {
		server, m.Share, err = vmm.ServeFiles(dir+"/"+shareDir, shareSocket)
	} else {
		m.Disks, err = makeDisks(doc, dir)
	}
	if err != nil {
		return 0, err
	}
	pid, err := vmm.Start(vmm.QEMU{}, m)
	if err != nil {
		return 0, err
	}
	for _, f := range []*os.File{m.Control, m.Console, m.Share} {
		if f != nil {
			f.Close() // else nobody would see the machine's end
		}
	}
	// As the namespace's first process it gets what others leave behind.
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case got == pid:
			return wait.Status(ws), nil
		case got == server:
			// With a machine's end it ends as well, and may be first.
			for end := time.Now().Add(serverAlone); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil); err == nil && got == pid {
					return wait.Status(ws), nil
				}
			}
			return 0, errors.New("cannot go on with the virtual machine: virtiofsd, which serves its files, has ended")
		}
	}
}

// serverAlone is how long a machine may take to end after its server of files has.
const serverAlone = 5 * time.Second

func descriptor(fd int) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "descriptor "+strconv.Itoa(fd))
}

// commandLine is the guest's kernel's: quiet, no checks of devices that an emulated
// machine does not have, and the machine's end with the kernel's. What is left out of
// its start fills tracefs, which nobody mounts, an eighth of all its instructions.
const commandLine = "console=ttyS0 quiet loglevel=1 panic=-1 no_timer_check tsc=reliable apparmor=0 audit=0 random.trust_cpu=on 8250.nr_uarts=1 " +
	"rcupdate.rcu_expedited=1 cryptomgr.notests initcall_blacklist=tracer_init_tracefs,trace_eval_init"
