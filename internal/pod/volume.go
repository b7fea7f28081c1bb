// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// The kinds of volumes.
const (
	HostVolume  = "host"  // a directory, file or device of the host
	EmptyVolume = "empty" // a new directory that lives as long as the pod
)

// Volume is appc's Volume: what a pod's apps may mount by name.
type Volume struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Source    string `json:"source,omitempty"` // host: absolute
	ReadOnly  *bool  `json:"readOnly,omitempty"`
	Recursive *bool  `json:"recursive,omitempty"` // host: with what is mounted below; unset is true
	Mode      string `json:"mode,omitempty"`      // empty: octal, "0755" if unset
	UID       *int   `json:"uid,omitempty"`       // empty: 0 if unset
	GID       *int   `json:"gid,omitempty"`
}

// ParseVolume reads the value of --volume:
//
//	NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL]
//	NAME,kind=empty[,mode=0755][,uid=0][,gid=0]
//
// A path with a comma cannot be said so; a pod manifest can.
func ParseVolume(s string) (Volume, error) {
	v, err := parseVolume(s)
	if err == nil {
		err = v.validate()
	}
	if err != nil {
		return Volume{}, fmt.Errorf("cannot parse volume %q: %w", s, err)
	}
	return v, nil
}

func parseVolume(s string) (v Volume, err error) {
	err = eachOption(s, func(i int, key, value string, ok bool) (err error) {
		if i == 0 && !ok {
			v.Name = key
			return nil
		}
		switch key {
		case "name":
			v.Name = value
		case "kind":
			v.Kind = value
		case "source":
			v.Source = value
		case "readOnly":
			v.ReadOnly, err = parseBool(key, value)
		case "recursive":
			v.Recursive, err = parseBool(key, value)
		case "mode":
			if value == "" {
				return errors.New("mode is empty")
			}
			v.Mode = value
		case "uid":
			v.UID, err = parseNumber(key, value)
		case "gid":
			v.GID, err = parseNumber(key, value)
		default:
			return fmt.Errorf("unknown key %q", key)
		}
		return err
	})
	return v, err
}

// ParseMount reads the value of --mount: volume=NAME,target=PATH.
func ParseMount(s string) (m Mount, err error) {
	err = eachOption(s, func(_ int, key, value string, ok bool) error {
		switch {
		case !ok:
			return fmt.Errorf("%q is not KEY=VALUE", key)
		case key == "volume":
			m.Volume = value
		case key == "target":
			m.Path = value
		default:
			return fmt.Errorf("unknown key %q", key)
		}
		return nil
	})
	if err == nil {
		err = m.validate()
	}
	if err != nil {
		return Mount{}, fmt.Errorf("cannot parse mount %q: %w", s, err)
	}
	return m, nil
}

// eachOption splits KEY=VALUE,KEY=VALUE; a key given twice is an error.
func eachOption(s string, f func(i int, key, value string, ok bool) error) error {
	seen := map[string]bool{}
	for i, field := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(field, "=")
		if ok && seen[key] {
			return fmt.Errorf("key %q is given twice", key)
		}
		seen[key] = ok
		if err := f(i, key, value, ok); err != nil {
			return err
		}
	}
	return nil
}

func parseBool(key, s string) (*bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return nil, fmt.Errorf("%s=%q is neither true nor false", key, s)
	}
	return &b, nil
}

func parseNumber(key, s string) (*int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n >= maxID {
		return nil, fmt.Errorf("%s=%q is not a number from 0 to %d", key, s, uint(maxID-1))
	}
	i := int(n)
	return &i, nil
}

// maxID is the first number that is no user or group ID: -1 means "leave it".
const maxID = 1<<32 - 1

func (v *Volume) validate() error {
	if err := checkName("name", v.Name); err != nil {
		return err
	}
	switch v.Kind {
	case HostVolume:
		if err := checkPath("source", v.Source); err != nil {
			return err
		}
		if v.Mode != "" || v.UID != nil || v.GID != nil {
			return errors.New("mode, uid and gid belong to volumes of kind empty")
		}
	case EmptyVolume:
		if v.Source != "" || v.Recursive != nil {
			return errors.New("source and recursive belong to volumes of kind host")
		}
		if _, err := v.mode(); err != nil {
			return err
		}
		for _, id := range []*int{v.UID, v.GID} {
			if id != nil && (*id < 0 || int64(*id) >= maxID) {
				return fmt.Errorf("uid or gid %d is not a number from 0 to %d", *id, uint(maxID-1))
			}
		}
	case "":
		return errors.New("kind is missing: want host or empty")
	default:
		return fmt.Errorf("kind %q is neither host nor empty", v.Kind)
	}
	return nil
}

// Permissions are those of an empty volume's directory, as for chmod(2).
func (v *Volume) Permissions() uint32 { m, _ := v.mode(); return m }

func (v *Volume) mode() (uint32, error) {
	if v.Mode == "" {
		return 0o755, nil
	}
	m, err := strconv.ParseUint(v.Mode, 8, 32)
	if err != nil || m > 0o7777 {
		return 0, fmt.Errorf("mode %q is not an octal number up to 7777", v.Mode)
	}
	return uint32(m), nil
}

// Owner is the user and group of an empty volume's directory.
func (v *Volume) Owner() (uid, gid int) {
	if v.UID != nil {
		uid = *v.UID
	}
	if v.GID != nil {
		gid = *v.GID
	}
	return uid, gid
}

func (m *Mount) validate() error {
	if err := checkName("volume", m.Volume); err != nil {
		return err
	}
	if m.AppVolume != nil {
		if err := m.AppVolume.validate(); err != nil {
			return fmt.Errorf("app volume %q: %w", m.AppVolume.Name, err)
		}
		if m.AppVolume.Name != m.Volume {
			return fmt.Errorf("volume %q is not the app volume %q", m.Volume, m.AppVolume.Name)
		}
	}
	return checkTarget(m.Path)
}

// checkTarget: a volume over the whole root is not what anybody means.
func checkTarget(p string) error {
	if err := checkPath("target", p); err != nil {
		return err
	}
	if path.Clean(p) == "/" {
		return fmt.Errorf("target %q is the app's root", p)
	}
	return nil
}

func checkPath(what, p string) error {
	switch {
	case p == "":
		return fmt.Errorf("%s is missing", what)
	case !path.IsAbs(p):
		return fmt.Errorf("%s %q is not absolute", what, p)
	case strings.IndexByte(p, 0) >= 0:
		return fmt.Errorf("%s %q has a NUL byte", what, p)
	case len(p) >= 4096:
		return fmt.Errorf("%s is longer than 4095 bytes", what)
	}
	return nil
}
