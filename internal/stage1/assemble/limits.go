// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/devcgroup"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// enableControllers has the pod's version 2 cgroup, which is to be made, get the
// controllers that its limits need. Where this process itself is in the way it
// steps aside.
func enableControllers(doc *contract.Pod) error {
	names := version2(doc)
	if names == nil {
		return nil
	}
	above := filepath.Dir(doc.Cgroup)
	err := cgroup.Enable(above, names)
	if errors.Is(err, unix.EBUSY) {
		if err = cgroup.StepAside(above, doc.Aside(), names); err == nil {
			failpoint.Hit("assemble/aside")
			err = cgroup.Enable(above, names)
		}
	}
	return err
}

// version2 are the controllers that the pod has in version 2, sorted.
func version2(doc *contract.Pod) (names []string) {
	for _, c := range slices.Sorted(maps.Keys(doc.Controllers)) {
		if doc.Controllers[c] == doc.Cgroup {
			names = append(names, c)
		}
	}
	return names
}

// limit makes the pod's cgroups in version 1 hierarchies and sets all limits.
func limit(doc *contract.Pod) error {
	if !doc.Limited() {
		return nil
	}
	if names := version2(doc); names != nil {
		if err := cgroup.Enable(doc.Cgroup, names); err != nil {
			return err
		}
	}
	var devices []string
	if _, ok := doc.Controllers["io"]; ok {
		var err error
		if devices, err = cgroup.BlockDevices(); err != nil {
			return err
		}
	}
	total := podLimits(doc)
	for _, c := range slices.Sorted(maps.Keys(doc.Controllers)) {
		if c == devcgroup.Controller {
			continue // confineDevices
		}
		dir := doc.Controllers[c]
		if err := limitGroup(c, dir, doc.Cgroup, total, false, devices); err != nil {
			return fmt.Errorf("cannot limit the pod: %w", err)
		}
		for i := range doc.Apps {
			a := &doc.Apps[i]
			own := doc.AppControllers(a.Name)[c]
			if own == dir {
				continue
			}
			l := a.Limits
			if dir != doc.Cgroup && total.CPU > 0 { // version 1 refuses more than above
				l.CPU = min(l.CPU, total.CPU)
			}
			if err := limitGroup(c, own, doc.Cgroup, l, true, devices); err != nil {
				return fmt.Errorf("cannot limit app %q: %w", a.Name, err)
			}
		}
		failpoint.Hit("assemble/limits")
	}
	return nil
}

// Limit makes the cgroups of a pod whose limits are all of version 1 hierarchies,
// and sets the limits, ahead of the assembly. done tells whether that is all of
// it; else the assembly does it, and says what is wrong.
func Limit(doc *contract.Pod) (done bool) {
	if version2(doc) != nil { // this process may have to step aside
		return false
	}
	_, err := MakeCgroups(doc)
	return err == nil && limit(doc) == nil
}

// limitGroup limits by one controller the pod's or an app's cgroup dir, which it
// makes in version 1; v2 is the pod's in version 2.
func limitGroup(controller, dir, v2 string, l contract.Limits, app bool, devices []string) error {
	is2 := v2 != "" && (dir == v2 || strings.HasPrefix(dir, v2+"/"))
	if !is2 {
		if err := cgroup.Create(dir); err != nil {
			return err
		}
		if controller == "cpuset" {
			if err := cgroup.Inherit(dir, filepath.Dir(dir)); err != nil {
				return err
			}
		}
	}
	settings, err := cgroup.Limits(l).Settings(controller, is2, app, devices)
	if err != nil {
		return err
	}
	return cgroup.Apply(dir, settings)
}

// podLimits are the pod's own. What apps have requested they get against other
// pods only if the pod has requested it.
func podLimits(doc *contract.Pod) contract.Limits {
	total := doc.Limits
	var memory, shares int64
	weighed := false
	for i := range doc.Apps {
		l := &doc.Apps[i].Limits
		memory += l.MemoryRequest
		if l.CPUShares > 0 {
			weighed = true
			shares += l.CPUShares
		} else {
			shares += 1024
		}
	}
	if total.MemoryRequest == 0 {
		total.MemoryRequest = memory
	}
	if total.CPUShares == 0 && weighed {
		total.CPUShares = min(shares, 1<<18)
	}
	return total
}

// openGroups opens what the app's process enters its version 1 cgroups by.
func openGroups(doc *contract.Pod, app string) (fds []int, err error) {
	var dirs []string
	for c, dir := range doc.AppControllers(app) {
		if doc.Controllers[c] != doc.Cgroup && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		fd, err := cgroup.OpenTasks(dir)
		if err != nil {
			closeAll(fds)
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// setSysctls sets the kernel parameters of the pod's namespaces, in which the
// calling thread is: proc shows them to each as its own.
func setSysctls(doc *contract.Pod) error {
	for _, name := range slices.Sorted(maps.Keys(doc.Sysctls)) {
		// As sysctl(8): a slash in a name is a dot of the file's.
		path := "/proc/sys/" + strings.NewReplacer(".", "/", "/", ".").Replace(name)
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte(doc.Sysctls[name]))
			unix.Close(fd)
		}
		if err == unix.ENOENT {
			return fmt.Errorf("cannot set kernel parameter %q: the pod's namespaces have none of that name", name)
		}
		if err != nil {
			return fmt.Errorf("cannot set kernel parameter %q to %q: %w", name, doc.Sysctls[name], os.NewSyscallError("write", err))
		}
	}
	return nil
}
