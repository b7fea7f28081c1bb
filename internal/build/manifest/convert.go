// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"errors"

	"github.com/rkt/rkt/internal/image/aci"
)

// goArch is Go's word for appc's.
func goArch(appc string) string {
	switch appc {
	case "i386":
		return "386"
	case "aarch64":
		return "arm64"
	case "armv6l", "armv7l":
		return "arm"
	}
	return appc
}

// ToOCI says in OCI's words what an ACI says. What those have no word for is
// left out and named in lost.
func (a *AppC) ToOCI() (o *OCI, lost []string, err error) {
	o = NewOCI()
	if v, ok := a.M.Labels.Get("os"); ok {
		o.Top["os"], _ = json.Marshal(v)
	}
	if v, ok := a.M.Labels.Get("arch"); ok {
		o.Top["architecture"], _ = json.Marshal(goArch(v))
	}
	for _, n := range a.M.Annotations {
		o.Annotations[string(n.Name)] = n.Value
	}
	note := func(err error) error {
		var none *NoWordError
		if errors.As(err, &none) {
			lost = append(lost, none.What)
			return nil
		}
		return err
	}
	var errs []error
	for _, l := range a.M.Labels {
		if l.Name != "os" && l.Name != "arch" {
			errs = append(errs, o.AddLabel(string(l.Name), l.Value))
		}
	}
	if a.M.App != nil {
		errs = append(errs, a.appToOCI(a.M.App, o, note)...)
	}
	return o, lost, errors.Join(errs...)
}

func (a *AppC) appToOCI(p *aci.App, o *OCI, note func(error) error) (errs []error) {
	errs = append(errs, o.SetExec(p.Exec))
	if p.User != "0" || p.Group != "0" {
		errs = append(errs, o.setUser(p.User, p.Group))
	}
	if p.WorkingDirectory != "" {
		errs = append(errs, o.SetWorkingDirectory(p.WorkingDirectory))
	}
	if p.SupplementaryGIDs != nil {
		errs = append(errs, note(o.SetSupplementaryGroups(p.SupplementaryGIDs)))
	}
	for _, e := range p.Environment {
		errs = append(errs, o.AddEnvironment(e.Name, e.Value))
	}
	for _, x := range p.Ports {
		errs = append(errs, note(o.AddPort(Port{string(x.Name), x.Protocol, x.Port, x.Count, false})))
	}
	for _, x := range p.MountPoints {
		errs = append(errs, note(o.AddMount(Mount{string(x.Name), x.Path, false})))
	}
	for _, x := range p.EventHandlers {
		errs = append(errs, note(o.SetEventHandler(x.Name, x.Exec)))
	}
	for _, x := range p.Isolators {
		errs = append(errs, note(o.AddIsolator(string(x.Name), x.Value)))
	}
	return errs
}
