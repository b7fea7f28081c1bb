// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
)

func (c *converter) container(o *object) {
	a := pod.RuntimeApp{Name: o.text("name"), App: &pod.App{}}
	if c.err == nil && !pod.ValidName(a.Name) {
		c.fail("%s: %q is not made of lower-case letters and digits with single hyphens between them", o.at("name"), a.Name)
	}
	o.refuse("envFrom", "resizePolicy", "restartPolicy", "restartPolicyRules", "volumeDevices",
		"livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "stdin", "stdinOnce", "tty")
	c.resources(a.App, o.child("resources"))
	o.oneOf("imagePullPolicy", "IfNotPresent")
	o.oneOf("terminationMessagePath", "/dev/termination-log") // the API server's defaults
	o.oneOf("terminationMessagePolicy", "File")

	a.Annotations.Set(pod.AnnotationMerge, "true")
	ref := o.text("image")
	if ref == "" {
		c.fail("%s is missing", o.at("image"))
	}
	a.Annotations.Set(pod.AnnotationImage, reference(ref))

	vars := map[string]string{}
	o.each("env", func(e *object) {
		e.refuse("valueFrom")
		name := e.text("name")
		value := expand(e.text("value"), vars)
		if err := pod.ValidateEnvironment(name, value); err != nil {
			c.fail("%s: %w", e.path, err)
		}
		vars[name] = value
		a.App.Environment.Set(name, value)
	})
	for _, f := range []struct{ key, annotation string }{
		{"command", pod.AnnotationCommand}, {"args", pod.AnnotationArgs},
	} {
		if list := o.texts(f.key); len(list) > 0 {
			for i := range list {
				list[i] = expand(list[i], vars)
			}
			c.annotate(&a.Annotations, f.annotation, list)
		}
	}
	a.App.WorkingDirectory = o.text("workingDir")
	if err := pod.ValidateWorkingDir(a.App.WorkingDirectory); err != nil {
		c.fail("%s: %w", o.at("workingDir"), err)
	}
	o.each("ports", func(p *object) { c.port(a.App, p) })
	o.each("volumeMounts", func(m *object) { c.volumeMount(&a, m) })
	c.containerSecurity(a.App, &a, o.child("securityContext"))
	c.m.Apps = append(c.m.Apps, a)
}

func (c *converter) port(a *pod.App, o *object) {
	p := image.Port{Name: o.text("name"), Protocol: "tcp", Count: 1}
	if o.oneOf("protocol", "TCP", "UDP") == "UDP" {
		p.Protocol = "udp"
	}
	n := o.number("containerPort", 1, 65535)
	if n == nil {
		c.fail("%s is missing", o.at("containerPort"))
		return
	}
	p.Port = uint(*n)
	if p.Name == "" {
		p.Name = strconv.Itoa(int(p.Port)) + "-" + p.Protocol
	}
	if c.err == nil && !pod.ValidName(p.Name) {
		c.fail("%s: %q is not made of lower-case letters and digits with single hyphens between them", o.at("name"), p.Name)
	}
	a.Ports = append(a.Ports, p)
	host, ip := o.number("hostPort", 0, 65535), o.text("hostIP")
	switch {
	case host == nil || *host == 0:
		if ip != "" && ip != "0.0.0.0" && ip != "::" {
			c.fail("%s is not supported without hostPort", o.at("hostIP"))
		}
	case c.hostNetwork:
		// Nothing to forward: the app's port is the host's.
		if uint(*host) != p.Port || ip != "" {
			c.fail("%s: with hostNetwork it is the containerPort, without hostIP", o.at("hostPort"))
		}
	default:
		c.m.Ports = append(c.m.Ports, pod.ExposedPort{Name: p.Name, HostPort: uint(*host), HostIP: ip})
	}
}

func (c *converter) volumeMount(a *pod.RuntimeApp, o *object) {
	name, target := o.text("name"), o.text("mountPath")
	readOnly := o.on("readOnly")
	o.refuse("subPath", "subPathExpr")
	o.oneOf("mountPropagation", "None")
	o.oneOf("recursiveReadOnly", "Disabled", "IfPossible")
	if c.err != nil {
		return
	}
	if !slices.ContainsFunc(c.m.Volumes, func(v pod.Volume) bool { return v.Name == name }) {
		c.fail("%s: the pod has no volume %q", o.at("name"), name)
		return
	}
	if !path.IsAbs(target) || path.Clean(target) == "/" {
		c.fail("%s: %q is not an absolute path below the root", o.at("mountPath"), target)
		return
	}
	a.Mounts = append(a.Mounts, pod.Mount{Volume: name, Path: target})
	if !readOnly {
		return
	}
	// A volume is read-only for all; a mount point for one app at one path. Its
	// name must be its own, since one volume may be mounted several times.
	a.App.MountPoints = append(a.App.MountPoints, pod.MountPoint{
		Name: "mount-" + strconv.Itoa(len(a.Mounts)) + "-" + name, Path: target, ReadOnly: true})
}

func (c *converter) containerSecurity(a *pod.App, ra *pod.RuntimeApp, o *object) {
	o.refuse("privileged", "windowsOptions")
	o.oneOf("procMount", "Default")
	user, group, nonRoot := c.user, c.group, c.nonRoot
	if n := o.number("runAsUser", 0, math.MaxUint32-1); n != nil {
		user = n
	}
	if n := o.number("runAsGroup", 0, math.MaxUint32-1); n != nil {
		group = n
	}
	if b := o.boolean("runAsNonRoot"); b != nil {
		nonRoot = b
	}
	if nonRoot != nil && *nonRoot && (user == nil || *user == 0) {
		c.fail("%s is not supported without a runAsUser other than 0", o.at("runAsNonRoot"))
	}
	if user != nil {
		a.User = strconv.FormatInt(*user, 10)
	}
	if group != nil {
		a.Group = strconv.FormatInt(*group, 10)
	}
	a.SupplementaryGIDs = c.groups
	ra.ReadOnlyRootFS = o.on("readOnlyRootFilesystem")
	if b := o.boolean("allowPrivilegeEscalation"); b != nil && !*b {
		a.Isolators = append(a.Isolators, pod.NoNewPrivsIsolator(true))
	}
	if o.has("capabilities") {
		a.Isolators = append(a.Isolators, c.capabilities(o.child("capabilities"))...)
	}
	labels := c.labelsOf(o)
	for _, l := range c.labels { // the pod's, where the container has none of its own
		if !slices.ContainsFunc(labels, func(own image.Isolator) bool { return own.Name == l.Name }) {
			labels = append(labels, l)
		}
	}
	a.Isolators = append(a.Isolators, labels...)
	seccomp := c.seccompProfile(o)
	if seccomp == nil {
		seccomp = c.seccomp
	}
	if seccomp != nil {
		a.Isolators = append(a.Isolators, seccomp.Isolator())
	}
	o.ignore("capabilities")
	o.done()
}

// capabilities: rkt's default set, ALL added or dropped first, then the others
// (as the CRI's runtimes do). Who is not root starts with those that were added,
// as with podman.
func (c *converter) capabilities(o *object) []image.Isolator {
	add, drop := c.capNames(o, "add"), c.capNames(o, "drop")
	o.done()
	set := pod.DefaultCapabilities()
	if slices.Contains(add, capAll) {
		set = pod.AllCapabilities()
	}
	if slices.Contains(drop, capAll) {
		set = nil
	}
	for _, n := range add {
		if n != capAll && !slices.Contains(set, n) {
			set = append(set, n)
		}
	}
	set = slices.DeleteFunc(set, func(n string) bool { return slices.Contains(drop, n) })
	slices.Sort(set)
	ambient := slices.Clone(set)
	if !slices.Contains(add, capAll) {
		ambient = slices.DeleteFunc(ambient, func(n string) bool { return !slices.Contains(add, n) })
	}
	return []image.Isolator{pod.CapsIsolator(pod.IsolatorCapsRetain, set), pod.CapsIsolator(pod.IsolatorCapsAmbient, ambient)}
}

const capAll = "CAP_ALL"

func (c *converter) capNames(o *object, key string) []string {
	names := o.texts(key)
	for i, n := range names {
		n = strings.ToUpper(n)
		if !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		if n != capAll && !pod.ValidCapability(n) {
			c.fail("%s[%d]: %q is not a capability", o.at(key), i, names[i])
		}
		names[i] = n
	}
	return names
}

// reference is a container's image as rkt's command line would name it.
func reference(s string) string {
	for _, prefix := range []string{"docker://", "oci:", "oci-archive:", "docker-archive:", "sha256-", "sha512-"} {
		if strings.HasPrefix(s, prefix) {
			return s
		}
	}
	return "docker://" + s
}

// expand replaces $(NAME) by the variable, if there is one, and $$ by $
// (Kubernetes, "Define Dependent Environment Variables").
func expand(s string, vars map[string]string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			return b.String() + s
		}
		b.WriteString(s[:i])
		s = s[i:]
		switch end := strings.IndexByte(s, ')'); {
		case s[1] == '$':
			b.WriteByte('$')
			s = s[2:]
		case s[1] == '(' && end > 0:
			if v, ok := vars[s[2:end]]; ok {
				b.WriteString(v)
			} else {
				b.WriteString(s[:end+1])
			}
			s = s[end+1:]
		default:
			b.WriteByte('$')
			s = s[1:]
		}
	}
}
