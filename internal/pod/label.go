// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// Isolators of the kernel's security modules (appc 0.8.11).
const (
	IsolatorAppArmor = "os/linux/apparmor-profile"
	IsolatorSELinux  = "os/linux/selinux-context"
)

// DefaultProfile is the AppArmor profile of apps that name none, where it is
// loaded: dist/apparmor.
const DefaultProfile = "rkt-default"

type appArmorValue struct {
	Profile string `json:"profile"`
}

type seLinuxValue struct {
	User  string `json:"user,omitempty"`
	Role  string `json:"role,omitempty"`
	Type  string `json:"type,omitempty"`
	Level string `json:"level,omitempty"`
}

// AppArmorIsolator is os/linux/apparmor-profile.
func AppArmorIsolator(profile string) (image.Isolator, error) {
	return image.Isolator{Name: IsolatorAppArmor, Value: mustJSON(appArmorValue{profile})}, validateProfile(profile)
}

// SELinuxIsolator is os/linux/selinux-context. What is "" is what containers have
// in common policies: system_u, system_r, container_t, s0.
func SELinuxIsolator(user, role, typ, level string) (image.Isolator, error) {
	v := seLinuxValue{user, role, typ, level}
	_, err := v.context()
	return image.Isolator{Name: IsolatorSELinux, Value: mustJSON(v)}, err
}

// ParseSELinux reads USER:ROLE:TYPE[:LEVEL].
func ParseSELinux(s string) (image.Isolator, error) {
	f := strings.SplitN(s, ":", 4)
	if len(f) < 3 {
		return image.Isolator{}, fmt.Errorf("%q is not USER:ROLE:TYPE[:LEVEL]", s)
	}
	return SELinuxIsolator(f[0], f[1], f[2], strings.Join(f[3:], ""))
}

func validateProfile(s string) error {
	if s == "" {
		return errors.New("the profile is empty")
	}
	if len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("%q is not the name of a profile", s)
	}
	return nil
}

func (v *seLinuxValue) context() (string, error) {
	const usual = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
	parts := []string{v.User, v.Role, v.Type, v.Level}
	for i, d := range []string{"system_u", "system_r", "container_t", "s0"} {
		allowed := usual
		if i == 3 {
			allowed += ":,"
		}
		if parts[i] == "" {
			parts[i] = d
		}
		if strings.Trim(parts[i], allowed) != "" || len(parts[i]) > 1024 {
			return "", fmt.Errorf("%q is not part of a context", parts[i])
		}
	}
	return strings.Join(parts, ":"), nil
}

// addLabel reads an isolator of the kernel's security modules; known is false for
// others.
func (is *Isolation) addLabel(i image.Isolator) (known bool, err error) {
	switch i.Name {
	case IsolatorAppArmor:
		var v appArmorValue
		if err := strict(i.Value, &v); err != nil {
			return true, err
		}
		is.AppArmor = v.Profile
		return true, validateProfile(v.Profile)
	case IsolatorSELinux:
		var v seLinuxValue
		if err := strict(i.Value, &v); err != nil {
			return true, err
		}
		is.SELinux, err = v.context()
		return true, err
	}
	return false, nil
}
