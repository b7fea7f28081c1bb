// SPDX-License-Identifier: Apache-2.0

// Package poddir is what a flavor's entry points find: the document and the events
// in the pod's directory, and descriptors that the environment names
// (docs/stage1-contract.md).
package poddir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// Document reads the document in the pod's directory dir. A version that this
// program does not know is refused, and a pod without apps.
func Document(dir string) (*contract.Pod, error) {
	f, err := os.Open(dir + "/" + contract.File)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	return DocumentIn(f)
}

// DocumentIn is Document for an open file, which it closes.
func DocumentIn(f *os.File) (*contract.Pod, error) {
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	doc, err := contract.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	if doc.Version != contract.Version {
		return nil, fmt.Errorf("cannot run pod %s: its document has version %d, this flavor knows %d", doc.UUID, doc.Version, contract.Version)
	}
	if len(doc.Apps) == 0 {
		return nil, fmt.Errorf("cannot run pod %s: it has no apps", doc.UUID)
	}
	return doc, nil
}

// Events reads the events in the pod's directory dir; none yet is no error.
func Events(dir string) (contract.Events, error) {
	b, err := os.ReadFile(dir + "/" + contract.EventsFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return contract.Events{}, fmt.Errorf("cannot read the pod's events: %w", err)
	}
	return contract.ParseEvents(string(b)), nil
}

// Descriptor takes a descriptor whose number stands in the environment; it is
// closed on exec from then on.
func Descriptor(env string) (int, error) {
	n, err := strconv.Atoi(os.Getenv(env))
	if err != nil || n < 3 {
		return -1, fmt.Errorf("cannot start: %s is not set; only rkt starts this program", env)
	}
	unix.CloseOnExec(n)
	return n, nil
}

// Optional is Descriptor for one that need not be there: -1 then.
func Optional(env string) (int, error) {
	if os.Getenv(env) == "" {
		return -1, nil
	}
	return Descriptor(env)
}

// Stop sends a signal that is to end the pod to the process behind pidfd. One that
// has ended already is fine.
func Stop(pidfd int, sig unix.Signal) error {
	if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("cannot stop the pod: %w", err)
	}
	return nil
}
