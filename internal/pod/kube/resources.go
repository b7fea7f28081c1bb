// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"

	"github.com/rkt/rkt/internal/pod"
)

// resources of a container: processors and memory become isolators; others are
// refused.
func (c *converter) resources(a *pod.App, o *object) {
	o.refuse("claims")
	limits, requests := o.child("limits"), o.child("requests")
	for _, r := range []struct{ key, isolator string }{{"cpu", pod.IsolatorCPU}, {"memory", pod.IsolatorMemory}} {
		text := ""
		if v := limits.quantity(r.key); v != "" {
			text = ",limit=" + v
		}
		if v := requests.quantity(r.key); v != "" {
			text += ",request=" + v
		}
		if text == "" || c.err != nil {
			continue
		}
		i, err := pod.ResourceIsolator(r.isolator, text[1:])
		if err != nil {
			c.fail("%s: %s: %w", o.path, r.key, err)
		}
		a.Isolators = append(a.Isolators, i)
	}
	limits.done()
	requests.done()
	o.done()
}

// quantity is a text or a number, as YAML has either.
func (o *object) quantity(key string) string {
	switch v := o.get(key).(type) {
	case nil:
		return ""
	case string:
		return v
	case int, int64, uint64, float64:
		return fmt.Sprint(v)
	}
	o.fail("%s is not a quantity", o.at(key))
	return ""
}

// sysctls of the pod's security context become the pod's isolator.
func (c *converter) sysctls(o *object) {
	set := map[string]string{}
	o.each("sysctls", func(s *object) {
		name, value := s.text("name"), s.text("value")
		if _, ok := set[name]; ok {
			c.fail("%s: %q is given twice", s.path, name)
		}
		if err := pod.ValidateSysctl(name, value); err != nil && c.err == nil {
			c.fail("%s: %w", s.path, err)
		}
		set[name] = value
	})
	if len(set) > 0 {
		c.m.Isolators = append(c.m.Isolators, pod.SysctlIsolator(set))
	}
}
