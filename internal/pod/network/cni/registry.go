// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod/lifecycle"
)

// recordDir, in a pod's directory, has its records, IFNAME.json each.
const recordDir = "net"

func recordFile(podDir, ifName string) string {
	return filepath.Join(podDir, recordDir, ifName+".json")
}

// registry is a directory of the machine's, in which each attachment to a
// network has a symbolic link: NETWORK/UUID.IFNAME → data directory. A network
// has pods of several data directories, and whoever collects its garbage must
// know them all. It does not outlive the machine's uptime, and nor does any pod.
type registry string

// member is an attachment that is or was registered.
type member struct {
	UUID, IfName string
	DataDir      string
}

func (r registry) path(network, uuid, ifName string) string {
	return filepath.Join(string(r), network, uuid+"."+ifName)
}

// enter registers an attachment, before its record is written.
func (r registry) enter(network string, m member) error {
	path := r.path(network, m.UUID, m.IfName)
	err := os.Symlink(m.DataDir, path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.Symlink(m.DataDir, path)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot register the attachment: %w", err)
	}
	return nil
}

// leave takes an attachment out, after its record is removed.
func (r registry) leave(network, uuid, ifName string) error {
	if err := os.Remove(r.path(network, uuid, ifName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot take the attachment out of the register: %w", err)
	}
	return nil
}

// members are all that are registered, those without a record among them.
func (r registry) members(network string) ([]member, error) {
	dir := filepath.Join(string(r), network)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list attachments: %w", err)
	}
	var list []member
	for _, e := range entries {
		uuid, ifName, ok := strings.Cut(e.Name(), ".")
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || !ok {
			continue // gone meanwhile, or not one of ours
		}
		list = append(list, member{uuid, ifName, target})
	}
	return list, nil
}

// record finds a member's record, wherever its pod is in its life; "" if there
// is none. A pod that is renamed meanwhile is found: a phase is only ever left
// forward.
func (m member) record() string {
	for _, phase := range lifecycle.Phases() {
		path := recordFile(filepath.Join(m.DataDir, "pods", string(phase), m.UUID), m.IfName)
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return ""
}

// valid are the attachments of which plugins must leave everything alone: those
// that have a record. Those without are taken out of the register. The caller
// holds the network's lock, exclusively.
func (r registry) valid(network string) ([]ValidAttachment, error) {
	all, err := r.members(network)
	if err != nil {
		return nil, err
	}
	var list []ValidAttachment
	for _, m := range all {
		if m.record() == "" {
			if err := r.leave(network, m.UUID, m.IfName); err != nil {
				return nil, err
			}
			continue
		}
		list = append(list, ValidAttachment{m.UUID, m.IfName})
	}
	slices.SortFunc(list, func(a, b ValidAttachment) int {
		return strings.Compare(a.ContainerID+a.IfName, b.ContainerID+b.IfName)
	})
	return list, nil
}

// lock takes a network's lock: shared while an attachment is made or unmade,
// exclusive while garbage is collected (the specification's section 3).
func (r registry) lock(network string, mode flock.Mode) (unlock func(), err error) {
	if err := os.MkdirAll(string(r), 0o755); err != nil {
		return nil, fmt.Errorf("cannot lock network %q: %w", network, err)
	}
	f, err := os.OpenFile(filepath.Join(string(r), network+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock network %q: %w", network, err)
	}
	if err := flock.Lock(f, mode); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
