// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/landlock"
)

// calls asks for the system calls that every pod's start makes, with arguments
// that no kernel accepts: only one that lacks the call says so.
func (m *Machine) calls() []Finding {
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	bad := ^uintptr(0)
	var lacking []string
	for _, c := range []struct {
		name string
		nr   uintptr
	}{
		{"clone3", unix.SYS_CLONE3}, {"pidfd_open", unix.SYS_PIDFD_OPEN}, {"openat2", unix.SYS_OPENAT2}, {"close_range", unix.SYS_CLOSE_RANGE},
		{"fsopen", unix.SYS_FSOPEN}, {"fsmount", unix.SYS_FSMOUNT}, {"open_tree", unix.SYS_OPEN_TREE}, {"move_mount", unix.SYS_MOVE_MOUNT}, {"mount_setattr", unix.SYS_MOUNT_SETATTR},
	} {
		args := [4]uintptr{bad, 0, bad, 0}
		if c.nr == unix.SYS_CLOSE_RANGE {
			args = [4]uintptr{1, 0, 0, 0} // a range that ends before it begins
		}
		if _, _, errno := unix.RawSyscall6(c.nr, args[0], args[1], args[2], args[3], 0, 0); errno == unix.ENOSYS {
			lacking = append(lacking, c.name)
		}
	}
	var err error
	if lacking != nil {
		err = errors.New("not there: " + strings.Join(lacking, ", "))
	}
	release := unix.ByteSliceToString(uts.Release[:])
	return []Finding{finding("kernel.calls", true, err, "Linux "+release+" has all that a start needs", "a kernel of 5.12 or later; in a container, one whose filter allows them")}
}

func (m *Machine) namespaces() []Finding {
	const pods = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET
	_, err := m.try("nothing", pods)
	what := finding("namespaces", m.UID == 0, err, "mount, pid, IPC, UTS and network namespaces can be made", "CAP_SYS_ADMIN: run as root, and not in a container without it")
	if m.UID != 0 && err != nil {
		what.Detail, what.Remedy = "not without root: a user namespace has to come first", "see namespaces.user"
	}
	all := []Finding{what}
	_, err = m.try("nothing", unix.CLONE_NEWUSER|pods)
	detail, remedy := "made, with all others in it", "a kernel with CONFIG_USER_NS"
	for _, s := range []struct{ path, bad, remedy string }{
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for rkt with `userns,`"},
	} {
		if strings.TrimSpace(m.read(s.path)) == s.bad {
			remedy = s.remedy
			if err == nil {
				detail += "; ordinary users may not (" + filepath.Base(s.path) + "=" + s.bad + ")"
			}
		}
	}
	all = append(all, finding("namespaces.user", m.UID != 0, err, detail, remedy))
	return all
}

func (m *Machine) confinement() []Finding {
	_, err := m.try("seccomp", 0)
	all := []Finding{finding("seccomp", true, err, "a filter was installed and refused a call", "a kernel with CONFIG_SECCOMP_FILTER")}
	abi := landlock.ABI()
	f := Finding{"landlock", OK, false, fmt.Sprintf("ABI %d", abi), ""}
	switch {
	case abi == 0:
		f = Finding{"landlock", Missing, false, "not there: as root, images are fetched behind the other walls alone; others cannot fetch; apps of one user in a pod can trace each other", "boot with `landlock` in lsm=, with a kernel of 5.13 or later"}
	case abi < 6:
		f.Detail += "; 6 also confines signals and abstract sockets of who fetches"
	}
	all = append(all, f)
	lsm := strings.TrimSpace(m.read("/sys/kernel/security/lsm"))
	if lsm == "" {
		return append(all, Finding{"lsm", Unknown, false, "securityfs is not mounted", ""})
	}
	return append(all, Finding{"lsm", OK, false, lsm, ""})
}

// overlay is tried in the data directory's own file system.
func (m *Machine) overlay() []Finding {
	dir := existing(m.DataDir)
	scratch, err := os.MkdirTemp(dir, ".rkt-doctor-")
	if err != nil {
		return []Finding{{"overlay", Missing, true, "cannot try: " + err.Error(), "choose a data directory that can be written to (--dir)"}}
	}
	defer os.RemoveAll(scratch)
	var all []Finding
	if m.UID == 0 {
		_, err = m.try("overlay", unix.CLONE_NEWNS, scratch)
		all = append(all, finding("overlay", true, err, "mounted in "+dir+", and written to", "a file system that overlayfs can write to (ext4, xfs with ftype=1, btrfs, tmpfs): --dir"))
		_, err = m.try("idmap", unix.CLONE_NEWNS, scratch)
		all = append(all, finding("idmap", false, err, "mounts in "+dir+" can have users of their own", "a kernel of 5.12 (overlay: 5.19) or later and a file system that can (ext4, xfs, btrfs, tmpfs)"))
	}
	_, err = m.try("overlay", unix.CLONE_NEWUSER|unix.CLONE_NEWNS, scratch, "userxattr")
	return append(all, finding("overlay.user", m.UID != 0, err, "mounted in a user namespace", "a kernel of 5.11 or later, and user namespaces"))
}

// existing is the path itself or the nearest directory above it that exists.
func existing(path string) string {
	for path != "/" {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

func (m *Machine) cgroups() []Finding {
	v1, v2 := 0, ""
	for line := range strings.Lines(m.read("/proc/self/mountinfo")) {
		_, rest, _ := strings.Cut(line, " - ")
		switch kind, _, _ := strings.Cut(rest, " "); kind {
		case "cgroup":
			v1++
		case "cgroup2":
			if f := strings.Fields(line); len(f) > 4 && v2 == "" {
				v2 = f[4]
			}
		}
	}
	mode := Finding{"cgroup", OK, false, "version 2 at " + v2, ""}
	switch {
	case v1 > 0 && v2 != "":
		mode.Detail = fmt.Sprintf("hybrid: version 2 at %s, and %d hierarchies of version 1", v2, v1)
	case v1 > 0:
		mode.Detail = fmt.Sprintf("version 1, %d hierarchies", v1)
	case v2 == "":
		mode = Finding{"cgroup", Missing, false, "no hierarchy is mounted: no pod can be limited", "mount -t cgroup2 none /sys/fs/cgroup"}
	}
	all := []Finding{mode}
	if m.Root != "" || mode.State != OK {
		return all
	}
	wanted := []string{"cpu", "memory", "pids", "io", "cpuset"}
	var have, lack []string
	writable := true
	where := map[string]string{}
	for _, c := range wanted {
		homes, err := cgroup.Homes([]string{c})
		if err != nil || homes[c] == "" {
			lack = append(lack, c)
			continue
		}
		where[c] = homes[c]
		have = append(have, c)
		writable = writable && unix.Access(homes[c], unix.W_OK) == nil
	}
	f := Finding{"cgroup.controllers", OK, false, strings.Join(have, ", "), ""}
	if lack != nil {
		f = Finding{"cgroup.controllers", Missing, false, "not here: " + strings.Join(lack, ", "), "start rkt by `systemd-run --scope -p Delegate=yes rkt …`, or enable them in a cgroup above"}
	}
	all = append(all, f)
	d := Finding{"cgroup.delegation", OK, false, "rkt may make cgroups below its own", ""}
	if !writable {
		d = Finding{"cgroup.delegation", Missing, false, "rkt may not make cgroups in " + strings.Join(slices.Compact(slices.Sorted(maps.Values(where))), ", "), "as a user: `systemd-run --user --scope -p Delegate=yes rkt …`; in a container: one with a writable cgroup tree"}
	}
	return append(all, d)
}

func (m *Machine) network() []Finding {
	space := uintptr(unix.CLONE_NEWNET)
	if m.UID != 0 {
		space |= unix.CLONE_NEWUSER
	}
	var all []Finding
	for _, n := range []struct{ id, detail, remedy string }{
		{"veth", "a pair of interfaces was made", "a kernel with CONFIG_VETH; else --net=host or --net=none"},
		{"nftables", "a table was made", "a kernel with CONFIG_NF_TABLES; else --net=host or --net=none"},
		{"bridge", "a bridge was made", "a kernel with CONFIG_BRIDGE; only the CNI plugin bridge needs it"},
	} {
		_, err := m.try(n.id, space)
		all = append(all, finding(n.id, false, err, n.detail, n.remedy))
	}
	return all
}

// virtual runs a guest. That a guest's instructions run does not say that a
// kernel boots.
func (m *Machine) virtual() []Finding {
	remedy := "enable virtualization in the firmware, load kvm_intel or kvm_amd, and be allowed to open /dev/kvm"
	detail, err := m.try("kvm", 0, m.Dev+"/kvm")
	boot := Finding{"kvm.boot", Unknown, false, "not tried: whether a guest's kernel boots", ""}
	if err != nil && strings.Contains(err.Error(), notTried) {
		return []Finding{{"kvm", Unknown, false, err.Error(), ""}, boot}
	}
	return []Finding{finding("kvm", false, err, detail, remedy), boot}
}
