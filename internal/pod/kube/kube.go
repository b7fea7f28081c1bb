// SPDX-License-Identifier: Apache-2.0

// Package kube turns a Kubernetes Pod (API version v1, in YAML or JSON) into a
// pod manifest. What rkt cannot do is refused with the path of the field; what
// says nothing about running the pod on this machine (status, scheduling,
// object metadata) is ignored; labels and annotations become user labels and
// user annotations. It links a YAML parser, so only rkt's helper links it.
//
// A container becomes an app that is laid over its image's own
// (pod.AnnotationMerge), with the image's reference in pod.AnnotationImage: a
// name without a scheme is read as docker://NAME.
package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
)

// MaxSize is the most that Convert reads.
const MaxSize = 1 << 20

// Convert reads one Pod and returns an appc pod manifest in JSON, valid by
// pod.Manifest.Validate.
func Convert(r io.Reader) ([]byte, error) {
	m, err := convert(r)
	if err != nil {
		return nil, fmt.Errorf("cannot use Kubernetes pod: %w", err)
	}
	return m.Encode()
}

func convert(r io.Reader) (*pod.Manifest, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxSize)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more any
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document is given")
	}
	c := &converter{m: &pod.Manifest{ACKind: pod.Kind, ACVersion: pod.SpecVersion}}
	c.pod(c.object("", doc))
	if c.err != nil {
		return nil, c.err
	}
	return c.m, c.m.Validate()
}

type converter struct {
	reader
	m *pod.Manifest

	name        string
	hostNetwork bool
	user, group *int64 // the pod's, for containers that say nothing
	nonRoot     *bool
	groups      []int
	seccomp     *pod.Seccomp
	labels      []image.Isolator
}

func (c *converter) pod(o *object) {
	if v := o.text("apiVersion"); v != "v1" {
		c.fail("apiVersion is %q, not v1", v)
	}
	if k := o.text("kind"); k != "Pod" {
		c.fail("kind is %q, not Pod", k)
	}
	c.metadata(o.child("metadata"))
	o.ignore("status")
	if !o.has("spec") {
		c.fail("spec is missing")
	}
	c.spec(o.child("spec"))
	o.done()
}

func (c *converter) metadata(o *object) {
	c.name = o.text("name")
	if c.name != "" {
		c.m.Annotations.Set(pod.AnnotationPodName, c.name)
	}
	if ns := o.text("namespace"); ns != "" {
		c.m.Annotations.Set(pod.AnnotationNamespace, ns)
	}
	c.m.UserLabels = o.textMap("labels")
	c.m.UserAnnotations = o.textMap("annotations")
	for k := range c.m.UserAnnotations {
		// The old spellings of protections that are fields today.
		if strings.HasPrefix(k, "container.apparmor.security.beta.kubernetes.io/") ||
			strings.HasPrefix(k, "seccomp.security.alpha.kubernetes.io/") ||
			strings.HasPrefix(k, "container.seccomp.security.alpha.kubernetes.io/") {
			c.fail("%s[%q] is not supported", o.at("annotations"), k)
		}
	}
	o.ignore("generateName", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "selfLink", "managedFields", "ownerReferences", "finalizers")
	o.done()
}

func (c *converter) spec(o *object) {
	o.refuse("initContainers", "ephemeralContainers", "hostPID", "subdomain", "setHostnameAsFQDN",
		"activeDeadlineSeconds", "nodeSelector", "affinity", "topologySpreadConstraints", "imagePullSecrets",
		"readinessGates", "resourceClaims", "resources", "overhead", "runtimeClassName", "schedulingGates", "os",
		"automountServiceAccountToken", "serviceAccountName", "serviceAccount", "hostnameOverride")
	// Where the pod should run is decided: here.
	o.ignore("schedulerName", "tolerations", "priority", "priorityClassName", "preemptionPolicy", "nodeName", "enableServiceLinks")
	// Absent is Always to Kubernetes; who starts rkt restarts it.
	o.oneOf("restartPolicy", "Never")
	if b := o.boolean("hostUsers"); b != nil && !*b {
		c.m.Annotations.Set(pod.AnnotationUsers, pod.UsersPick)
	}
	if b := o.boolean("shareProcessNamespace"); b != nil && !*b {
		c.fail("%s: false is not supported, a pod's apps see each other", o.at("shareProcessNamespace"))
	}
	if n := o.number("terminationGracePeriodSeconds", 0, math.MaxInt32); n != nil {
		c.m.Annotations.Set(pod.AnnotationStopSeconds, strconv.FormatInt(*n, 10))
	}
	if o.on("hostIPC") {
		c.m.Annotations.Set(pod.AnnotationHostIPC, "true")
	}
	if c.hostNetwork = o.on("hostNetwork"); c.hostNetwork {
		c.m.Annotations.Set(pod.AnnotationNetwork, "host")
	}
	c.hostname(o)
	c.dns(o)
	c.hostAliases(o)
	c.podSecurity(o.child("securityContext"))
	o.each("volumes", c.volume)
	o.each("containers", c.container)
	if len(c.m.Apps) == 0 {
		c.fail("%s is empty", o.at("containers"))
	}
	o.done()
}

func (c *converter) hostname(o *object) {
	h := o.text("hostname")
	if h == "" && !c.hostNetwork {
		h = c.name // as in Kubernetes
	}
	if h == "" {
		return
	}
	if err := pod.ValidateHostname(h); err != nil {
		c.fail("%s: %w", o.at("hostname"), err)
	}
	c.m.Annotations.Set(pod.AnnotationHostname, h)
}

func (c *converter) dns(o *object) {
	policy := o.oneOf("dnsPolicy", "Default", "None") // there is no cluster to be first
	cfg := o.child("dnsConfig")
	d := pod.DNS{Servers: cfg.texts("nameservers"), Search: cfg.texts("searches")}
	cfg.each("options", func(e *object) {
		s := e.text("name")
		if e.has("value") {
			s += ":" + e.text("value")
		}
		d.Options = append(d.Options, s)
	})
	cfg.done()
	if err := d.Validate(); err != nil {
		c.fail("%s: %w", cfg.path, err)
	}
	switch {
	case policy == "Default" && !d.IsZero():
		c.fail("%s is not supported together with dnsPolicy Default", cfg.path)
	case policy == "Default":
		c.m.Annotations.Set(pod.AnnotationDNS, "host")
	case !d.IsZero():
		c.annotate(&c.m.Annotations, pod.AnnotationDNS, d)
	case policy == "None":
		c.fail("%s: None needs dnsConfig.nameservers", o.at("dnsPolicy"))
	}
}

func (c *converter) hostAliases(o *object) {
	var entries []pod.HostsEntry
	o.each("hostAliases", func(e *object) {
		h := pod.HostsEntry{IP: e.text("ip"), Names: e.texts("hostnames")}
		if err := h.Validate(); err != nil {
			c.fail("%s: %w", e.path, err)
		}
		entries = pod.AddHosts(entries, h)
	})
	if entries != nil {
		c.annotate(&c.m.Annotations, pod.AnnotationHosts, entries)
	}
}

func (c *converter) annotate(to *pod.Pairs, name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		c.fail("%s: %w", name, err)
	}
	to.Set(name, string(b))
}

func (c *converter) podSecurity(o *object) {
	o.refuse("fsGroup", "fsGroupChangePolicy", "seLinuxChangePolicy", "windowsOptions", "supplementalGroupsPolicy")
	c.labels = c.labelsOf(o)
	c.sysctls(o)
	c.user = o.number("runAsUser", 0, math.MaxUint32-1)
	c.group = o.number("runAsGroup", 0, math.MaxUint32-1)
	c.nonRoot = o.boolean("runAsNonRoot")
	c.seccomp = c.seccompProfile(o)
	for i, v := range o.list("supplementalGroups") {
		n, ok := whole(v)
		if !ok || n < 0 || n >= math.MaxUint32 {
			c.fail("%s[%d] is not a group ID", o.at("supplementalGroups"), i)
		}
		c.groups = append(c.groups, int(n))
	}
	o.done()
}

func (c *converter) seccompProfile(parent *object) *pod.Seccomp {
	if !parent.has("seccompProfile") {
		parent.ignore("seccompProfile")
		return nil
	}
	o := parent.child("seccompProfile")
	defer o.done()
	if o.oneOf("type", "RuntimeDefault", "Unconfined") == "Unconfined" {
		return &pod.Seccomp{Retain: true, Names: []string{pod.SeccompAll}}
	}
	return &pod.Seccomp{Names: []string{pod.SeccompEmpty}}
}

func (c *converter) volume(o *object) {
	v := pod.Volume{Name: o.text("name")}
	switch {
	case o.has("hostPath"):
		h := o.child("hostPath")
		v.Kind, v.Source = pod.HostVolume, h.text("path")
		h.refuse("type") // must exist, of any kind
		if v.Source != "" && !path.IsAbs(v.Source) {
			c.fail("%s: %q is not absolute", h.at("path"), v.Source)
		}
		h.done()
	case o.has("emptyDir") || len(o.m) == 1:
		e := o.child("emptyDir")
		v.Kind, v.Mode = pod.EmptyVolume, "0777" // as the kubelet makes it
		e.refuse("sizeLimit")
		e.oneOf("medium")
		e.done()
	}
	o.done() // before the name: the unknown kind is what matters
	if c.err == nil && !pod.ValidName(v.Name) {
		c.fail("%s: %q is not made of lower-case letters and digits with single hyphens between them", o.at("name"), v.Name)
	}
	c.m.Volumes = append(c.m.Volumes, v)
}
