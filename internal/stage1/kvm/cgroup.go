// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// What the machine's programs, qemu and virtiofsd, may have of the host beside the
// guest's memory. A guest that finds a fault in them is bounded by that, too.
const (
	// programs is their own memory, with what emulation has translated
	// (vmm.TCG, 256 MiB at most) and the cache of files that they read.
	programs = 512 * mebibyte
	// threads is how many they have at most: qemu's of each processor and for its
	// work, virtiofsd's for each request under way.
	threads = 512
)

// openCgroup makes the machine's own cgroup in the pod's, and opens it; 0 without.
func openCgroup(doc *contract.Pod) (int, error) {
	if doc.Cgroup == "" {
		return 0, nil
	}
	if _, err := os.Stat(doc.Cgroup); errors.Is(err, os.ErrNotExist) {
		return 0, nil // stage0 was not let
	}
	const own = "/.machine"
	if err := cgroup.Create(doc.Cgroup + own); err != nil {
		return 0, err
	}
	if err := bound(doc, doc.Cgroup+own); err != nil {
		return 0, fmt.Errorf("cannot bound the virtual machine: %w", err)
	}
	return cgroup.Open(doc.Cgroup + own)
}

// bound sets the machine's limits, by the controllers that the pod's cgroup has.
// What the pod may use of memory is what the machine has: the pod's own limit is not
// for the machine's programs, which need more.
func bound(doc *contract.Pod, own string) error {
	text, err := os.ReadFile(doc.Cgroup + "/cgroup.controllers")
	if err != nil {
		return err
	}
	there := strings.Fields(string(text))
	for _, l := range []struct{ controller, dir, file, value string }{
		{"memory", doc.Cgroup, "memory.high", "max"},
		{"memory", doc.Cgroup, "memory.max", "max"},
		{"memory", own, "memory.max", strconv.FormatInt(memory(doc)+programs, 10)},
		{"pids", doc.Cgroup, "pids.max", "max"},
		{"pids", own, "pids.max", strconv.Itoa(threads + cpus(doc))},
	} {
		if !slices.Contains(there, l.controller) {
			continue
		}
		if err := cgroup.Enable(doc.Cgroup, []string{l.controller}); err != nil {
			return err
		}
		if err := os.WriteFile(l.dir+"/"+l.file, []byte(l.value), 0); err != nil {
			return err
		}
	}
	return nil
}
