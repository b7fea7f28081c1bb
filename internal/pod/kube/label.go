// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
)

// labelsOf are the isolators of a securityContext's seLinuxOptions and
// appArmorProfile.
func (c *converter) labelsOf(parent *object) (list []image.Isolator) {
	if parent.has("seLinuxOptions") {
		o := parent.child("seLinuxOptions")
		i, err := pod.SELinuxIsolator(o.text("user"), o.text("role"), o.text("type"), o.text("level"))
		if err != nil {
			c.fail("%s: %w", parent.at("seLinuxOptions"), err)
		}
		o.done()
		list = append(list, i)
	}
	if parent.has("appArmorProfile") {
		o := parent.child("appArmorProfile")
		profile := "unconfined"
		switch o.oneOf("type", "RuntimeDefault", "Localhost", "Unconfined") {
		case "RuntimeDefault":
			profile = pod.DefaultProfile
		case "Localhost":
			profile = o.text("localhostProfile")
		}
		i, err := pod.AppArmorIsolator(profile)
		if err != nil {
			c.fail("%s: %w", parent.at("appArmorProfile"), err)
		}
		o.done()
		list = append(list, i)
	}
	parent.ignore("seLinuxOptions")
	parent.ignore("appArmorProfile")
	return list
}
