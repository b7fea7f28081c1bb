// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/lsm"
	"github.com/rkt/rkt/internal/linux/seccomp"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Confine is what the document says about what app may do; it is the same for
// the app itself and for what `rkt enter` starts beside it.
func Confine(doc *contract.Pod, app *contract.App, users Users) (*Process, error) {
	p := &Process{
		Users:      users,
		Env:        app.Environment,
		Dir:        app.WorkingDir,
		NoNewPrivs: app.NoNewPrivs,
		Rlimits:    app.Rlimits,
		Label:      lsm.Label{AppArmor: app.AppArmor, SELinux: app.SELinux},
		KeepGroups: doc.KeepGroups,
	}
	if p.Dir == "" {
		p.Dir = "/"
	}
	have, known, err := caps.Bounding()
	if err != nil {
		return nil, err
	}
	if users.Namespace > 0 {
		have = known // in its own user namespace, where nothing was taken away
	}
	if doc.Insecure.Capabilities {
		p.Bounding = have
	} else if p.Bounding, _, err = caps.Choose(app.Capabilities, have, known); err != nil {
		return nil, err
	}
	if p.Ambient, _, err = caps.Choose(nonNil(app.Ambient), have, known); err != nil {
		return nil, err
	}
	if !doc.Insecure.Seccomp {
		if err := p.choose(&app.Seccomp); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// choose makes the filter that the document asks for.
func (p *Process) choose(s *contract.SeccompFilter) (err error) {
	if s.Mode != contract.SeccompProfile {
		f := seccomp.Filter{Mode: s.Mode, Names: s.Names, Errno: s.Errno}
		p.Filter, err = seccomp.ForApp(f, uint64(p.Bounding))
		return err
	}
	profile, err := seccomp.ParseProfile([]byte(s.Profile))
	if err != nil {
		return fmt.Errorf("cannot read seccomp profile: %w", err)
	}
	p.Filter, p.FilterFlags, err = seccomp.ForProfile(profile, uint64(p.Bounding))
	return err
}

// BeApart keeps a confined app from tracing other apps and the pod's first process,
// whatever its user and capabilities; but for one that may mount, itself or, without
// a filter, in a user namespace of its own: it could not any more. What enters an
// app is not kept, so that a debugger may look at the app, but the app not at it.
func (p *Process) BeApart() {
	p.Apart = p.Filter != nil && !p.Bounding.Has(unix.CAP_SYS_ADMIN)
}

// nonNil: nil names would be the default set.
func nonNil(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}
