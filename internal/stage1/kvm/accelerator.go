// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/stage1/kvm/vmm"
)

// How long a machine has until its guest greets; one that takes longer hangs. A
// processor's own takes a fraction of a second. Emulation takes 2, and on a busy host
// a multiple of that.
const (
	probeLimit = 5 * time.Second // where there is emulation to fall back to
	kvmLimit   = 30 * time.Second
	tcgLimit   = 90 * time.Second
)

// foundFile is what a start has found of this machine's KVM: the boot's number, and
// "works" or why it does not. Another boot asks again. Tests have their own.
var foundFile = "/run/rkt/kvm"

const works = "works"

// options are what a manifest may say behind "run".
type options struct {
	accelerator string // auto, kvm or tcg
	times       bool   // say how long the parts of a start took
}

// parseWords reads them.
func parseWords(words []string) (options, error) {
	o := options{accelerator: "auto"}
	for _, w := range words {
		value, ok := strings.CutPrefix(w, "--accelerator=")
		switch {
		case ok && (value == "auto" || value == string(vmm.KVM) || value == string(vmm.TCG)):
			o.accelerator = value
		case w == "--times":
			o.times = true
		default:
			return o, fmt.Errorf("cannot start: %q is neither --accelerator=auto, kvm or tcg, nor --times", w)
		}
	}
	return o, nil
}

// A try is one way to start a machine.
type try struct {
	accelerator vmm.Accelerator
	limit       time.Duration
	// probe: what comes of it is remembered, and another try follows a failure.
	probe bool
}

// tries are the ways to start a machine, in order. That /dev/kvm is there does not
// say that it runs a guest: the first start finds out.
func tries(accelerator string) []try {
	kvm, tcg := try{vmm.KVM, kvmLimit, false}, try{vmm.TCG, tcgLimit, false}
	switch accelerator {
	case string(vmm.KVM):
		return []try{kvm}
	case string(vmm.TCG):
		return []try{tcg}
	}
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil {
		return []try{tcg}
	}
	found, err := os.ReadFile(foundFile)
	text, known := strings.CutPrefix(string(found), boot()+" ")
	switch {
	case err != nil || !known:
		kvm.limit, kvm.probe = probeLimit, true
		return []try{kvm, tcg}
	case strings.TrimSpace(text) == works:
		return []try{kvm}
	}
	return []try{tcg}
}

// found remembers what came of a probe, and tells whether another try is to follow.
func (t try) found(worked bool, after time.Duration) (again bool) {
	if !t.probe {
		return false
	}
	text := works
	if !worked {
		text = fmt.Sprintf("no guest came up within %v", after.Round(100*time.Millisecond))
		fmt.Fprintf(os.Stderr, "stage1: KVM does not work on this machine (%s): processors are emulated, until it is booted or %s removed\n", text, foundFile)
	}
	err := os.MkdirAll(filepath.Dir(foundFile), 0o755)
	if err == nil {
		err = atomicfile.Write(foundFile, []byte(boot()+" "+text+"\n"), 0o644)
	}
	if err != nil && !errors.Is(err, unix.EROFS) {
		fmt.Fprintf(os.Stderr, "stage1: cannot remember that: %v\n", err)
	}
	return !worked
}

// boot is the number that the kernel gave itself when it booted.
func boot() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}
