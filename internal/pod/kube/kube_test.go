// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/pod"
)

const full = `
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web}
  annotations: {note: "kept"}
  creationTimestamp: null
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  hostAliases:
  - ip: 10.0.0.1
    hostnames: [db, db.example]
  dnsPolicy: None
  dnsConfig:
    nameservers: [1.1.1.1]
    searches: [example.com]
    options: [{name: ndots, value: "2"}, {name: edns0}]
  securityContext:
    runAsUser: 1000
    runAsNonRoot: true
    supplementalGroups: [5, 6]
    sysctls: [{name: net.core.somaxconn, value: "9"}]
    seccompProfile: {type: RuntimeDefault}
  schedulerName: default-scheduler
  tolerations: [{key: x, operator: Exists}]
  containers:
  - name: front
    image: nginx:1.25
    command: [/bin/sh, -c]
    args: ["echo $(GREETING) $(NOPE) $$(GREETING) 5$"]
    env:
    - {name: WHO, value: world}
    - {name: GREETING, value: hello $(WHO)}
    - {name: EMPTY}
    workingDir: /srv
    ports:
    - {name: http, containerPort: 80}
    - {containerPort: 53, protocol: UDP}
    volumeMounts:
    - {name: data, mountPath: /data, readOnly: true}
    - {name: scratch, mountPath: /tmp/x}
    resources: {limits: {cpu: 1.5, memory: 64Mi}, requests: {cpu: 250m}}
    imagePullPolicy: IfNotPresent
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    securityContext:
      runAsUser: 33
      runAsGroup: 34
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      privileged: false
      capabilities: {add: [NET_ADMIN], drop: [MKNOD, "kill"]}
      seccompProfile: {type: Unconfined}
  - name: side
    image: sha256-aabb
    args: [only]
    securityContext:
      capabilities: {drop: [ALL], add: [CHOWN]}
  volumes:
  - name: data
    hostPath: {path: /srv/data}
  - name: scratch
    emptyDir: {}
  - name: plain
status: {phase: Running}
`

func parse(t *testing.T, text string) *pod.Manifest {
	t.Helper()
	b, err := Convert(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	m, err := pod.ParseManifest(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConvert(t *testing.T) {
	m := parse(t, full)
	get := func(p pod.Pairs, name string) string { v, _ := p.Get(name); return v }
	for name, want := range map[string]string{
		pod.AnnotationPodName: "web", pod.AnnotationNamespace: "shop", pod.AnnotationHostname: "web",
		pod.AnnotationStopSeconds: "5", pod.AnnotationNetwork: "",
		pod.AnnotationDNS:   `{"servers":["1.1.1.1"],"search":["example.com"],"options":["ndots:2","edns0"]}`,
		pod.AnnotationHosts: `[{"ip":"10.0.0.1","names":["db","db.example"]}]`,
	} {
		if got := get(m.Annotations, name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	if m.UserLabels["app"] != "web" || m.UserAnnotations["note"] != "kept" {
		t.Errorf("labels %v, annotations %v", m.UserLabels, m.UserAnnotations)
	}
	wantVolumes := []pod.Volume{{Name: "data", Kind: "host", Source: "/srv/data"},
		{Name: "scratch", Kind: "empty", Mode: "0777"}, {Name: "plain", Kind: "empty", Mode: "0777"}}
	if d := cmp.Diff(wantVolumes, m.Volumes); d != "" {
		t.Error(d)
	}
	front := m.Apps[0]
	if r := front.ImageReference(); r != "docker://nginx:1.25" {
		t.Errorf("image %q", r)
	}
	if got := get(front.Annotations, pod.AnnotationCommand); got != `["/bin/sh","-c"]` {
		t.Errorf("command %s", got)
	}
	var args []string
	if err := json.Unmarshal([]byte(get(front.Annotations, pod.AnnotationArgs)), &args); err != nil ||
		!slices.Equal(args, []string{"echo hello world $(NOPE) $(GREETING) 5$"}) {
		t.Errorf("args %q, %v", args, err)
	}
	if merge, err := front.Merge(); err != nil || !merge || !front.ReadOnlyRootFS {
		t.Errorf("merge %v, %v, read-only %v", merge, err, front.ReadOnlyRootFS)
	}
	a := front.App
	if a.User != "33" || a.Group != "34" || a.WorkingDirectory != "/srv" || !slices.Equal(a.SupplementaryGIDs, []int{5, 6}) {
		t.Errorf("%+v", a)
	}
	if d := cmp.Diff(pod.Pairs{{Name: "WHO", Value: "world"}, {Name: "GREETING", Value: "hello world"}, {Name: "EMPTY"}}, a.Environment); d != "" {
		t.Error(d)
	}
	if len(a.Ports) != 2 || a.Ports[1].Name != "53-udp" || a.Ports[1].Protocol != "udp" || a.Ports[0].Port != 80 {
		t.Errorf("ports %+v", a.Ports)
	}
	if d := cmp.Diff([]pod.Mount{{Volume: "data", Path: "/data"}, {Volume: "scratch", Path: "/tmp/x"}}, front.Mounts); d != "" {
		t.Error(d)
	}
	if len(a.MountPoints) != 1 || a.MountPoints[0].Path != "/data" || !a.MountPoints[0].ReadOnly {
		t.Errorf("mount points %+v", a.MountPoints)
	}
	is, err := pod.Isolate(a.Isolators)
	if err != nil {
		t.Fatal(err)
	}
	if !*is.NoNewPrivs || !is.Seccomp.Retain || is.Seccomp.Names[0] != pod.SeccompAll || !slices.Contains(is.Capabilities, "CAP_NET_ADMIN") ||
		slices.Contains(is.Capabilities, "CAP_MKNOD") || slices.Contains(is.Capabilities, "CAP_KILL") || !slices.Contains(is.Capabilities, "CAP_CHOWN") {
		t.Errorf("%+v", is)
	}
	if !slices.Equal(is.Ambient, []string{"CAP_NET_ADMIN"}) {
		t.Errorf("who is not root would start with %q, want what was added", is.Ambient)
	}
	if is.Limits != (pod.Limits{CPU: 1500, CPUShares: 256, Memory: 64 << 20}) {
		t.Errorf("limits %+v", is.Limits)
	}
	if p, err := pod.PodIsolate(m.Isolators); err != nil || p.Sysctls["net.core.somaxconn"] != "9" {
		t.Errorf("%+v, %v", p, err)
	}
	side := m.Apps[1]
	if r := side.ImageReference(); r != "sha256-aabb" {
		t.Errorf("image %q", r)
	}
	is, err = pod.Isolate(side.App.Isolators)
	if err != nil || !slices.Equal(is.Capabilities, []string{"CAP_CHOWN"}) || !slices.Equal(is.Ambient, []string{"CAP_CHOWN"}) || is.Seccomp.Retain || side.App.User != "1000" || side.App.Group != "" {
		t.Errorf("%+v, %+v, %v", is, side.App, err)
	}
	if _, ok := side.Annotations.Get(pod.AnnotationCommand); ok {
		t.Error("a command out of nothing")
	}
}

const small = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"hostNetwork":true,"dnsPolicy":"Default","hostIPC":true,
 "containers":[{"name":"a","image":"docker://r.example/b@sha256:00","ports":[{"containerPort":80,"hostPort":80}]}]}}`

func TestConvertJSON(t *testing.T) {
	m := parse(t, small)
	for name, want := range map[string]string{pod.AnnotationNetwork: "host", pod.AnnotationDNS: "host", pod.AnnotationHostIPC: "true"} {
		if got, _ := m.Annotations.Get(name); got != want {
			t.Errorf("%s = %q", name, got)
		}
	}
	if _, ok := m.Annotations.Get(pod.AnnotationHostname); ok {
		t.Error("a host name of its own on the host's network")
	}
	if _, ok := m.Annotations.Get(pod.AnnotationUsers); ok {
		t.Error("users of its own that nobody asked for")
	}
	own := parse(t, strings.Replace(small, `"hostIPC":true`, `"hostUsers":false`, 1))
	if got, _ := own.Annotations.Get(pod.AnnotationUsers); got != pod.UsersPick {
		t.Errorf("hostUsers: false is %q", got)
	}
	if len(m.Ports) != 0 || m.Apps[0].ImageReference() != "docker://r.example/b@sha256:00" {
		t.Errorf("%+v", m)
	}
	if m = parse(t, strings.Replace(small, `"hostNetwork":true,`, "", 1)); len(m.Ports) != 1 || m.Ports[0].Name != "80-tcp" {
		t.Errorf("ports %+v", m.Ports)
	}
}

// Every field that would need enforcement is refused by its path.
func TestRefused(t *testing.T) {
	type edit struct{ path, old, new string }
	spec := func(path, field string) edit { return edit{path, "  restartPolicy: Never\n", "  " + field + "\n"} }
	front := func(path, field string) edit {
		return edit{"spec.containers[0]." + path, "    workingDir: /srv\n", "    " + field + "\n"}
	}
	sec := func(path, field string) edit {
		return edit{"spec.containers[0].securityContext." + path, "      privileged: false\n", "      " + field + "\n"}
	}
	for _, e := range []edit{
		{"apiVersion", "apiVersion: v1", "apiVersion: apps/v1"},
		{"kind", "kind: Pod", "kind: Deployment"},
		{"spec is missing", "spec:\n", "spec2:\n"},
		{`metadata.annotations["container.apparmor`, `note: "kept"`, `container.apparmor.security.beta.kubernetes.io/a: "x"`},
		{"metadata.lables", "labels:", "lables:"},
		{"metadata.labels.app is not a string", "{app: web}", "{app: 1}"},
		spec("spec.restartPolicy", "restartPolicy: Always"),
		spec("spec.initContainers", "initContainers: [{name: i, image: x}]"),
		spec("spec.hostPID", "hostPID: true"),
		spec("spec.shareProcessNamespace", "shareProcessNamespace: false"),
		spec("spec.nodeSelector", "nodeSelector: {a: b}"),
		spec("spec.serviceAccountName", "serviceAccountName: robot"),
		spec("spec.automountServiceAccountToken", "automountServiceAccountToken: true"),
		spec("spec.imagePullSecrets", "imagePullSecrets: [{name: x}]"),
		spec("spec.runtimeClassName", "runtimeClassName: kata"),
		spec("spec.activeDeadlineSeconds", "activeDeadlineSeconds: 0"),
		spec("spec.noSuchField", "noSuchField: 1"),
		spec("spec.subdomain", "subdomain: x"),
		spec("spec.hostname", "hostname: a b"),
		{"spec.dnsPolicy", "dnsPolicy: None", "dnsPolicy: ClusterFirst"},
		{"spec.dnsConfig", "dnsPolicy: None", "dnsPolicy: Default"},
		{"spec.dnsConfig", "nameservers: [1.1.1.1]", "nameservers: [dns.example]"},
		{"spec.hostAliases[0]", "ip: 10.0.0.1", "ip: db"},
		{"spec.securityContext.fsGroup", "    runAsNonRoot: true\n", "    fsGroup: 1\n"},
		{"spec.securityContext.sysctls[0]", "net.core.somaxconn", "vm.swappiness"},
		{"spec.securityContext.sysctls[0].value", "value: \"9\"", "value: 9"},
		{"spec.securityContext.seLinuxOptions.x", "    runAsNonRoot: true\n", "    seLinuxOptions: {x: s0}\n"},
		{"spec.securityContext.seLinuxOptions", "    runAsNonRoot: true\n", "    seLinuxOptions: {type: a b}\n"},
		{"spec.securityContext.appArmorProfile.type", "    runAsNonRoot: true\n", "    appArmorProfile: {type: Default}\n"},
		{"spec.securityContext.appArmorProfile", "    runAsNonRoot: true\n", "    appArmorProfile: {type: Localhost}\n"},
		{"spec.securityContext.seccompProfile.type", "{type: RuntimeDefault}", "{type: Localhost, localhostProfile: x}"},
		{"spec.securityContext.runAsUser", "runAsUser: 1000", "runAsUser: -1"},
		{"spec.containers[0].securityContext.runAsNonRoot", "runAsUser: 33", "runAsUser: 0"},
		{"spec.volumes[0].hostPath.type", "{path: /srv/data}", "{path: /srv/data, type: DirectoryOrCreate}"},
		{"spec.volumes[0].hostPath.path", "{path: /srv/data}", "{path: data}"},
		{"spec.volumes[0].configMap", "hostPath: {path: /srv/data}", "configMap: {name: x}"},
		{"spec.volumes[1].emptyDir.medium", "emptyDir: {}", "emptyDir: {medium: Memory}"},
		{"spec.volumes[1].emptyDir.sizeLimit", "emptyDir: {}", "emptyDir: {sizeLimit: 1Gi}"},
		{"spec.containers is empty", "  containers:\n  - name: front", "  containers: []\n  x:\n  - name: front"},
		front("image", "image: \"\""),
		front("resources.limits.ephemeral-storage", "resources: {limits: {ephemeral-storage: 1Gi}}"),
		front("resources.requests.hugepages-2Mi", "resources: {requests: {hugepages-2Mi: 1}}"),
		front("resources: memory", "resources: {limits: {memory: 1}}"),
		front("resources: cpu", "resources: {limits: {cpu: 1}, requests: {cpu: 2}}"),
		front("resources.limits.cpu", "resources: {limits: {cpu: [1]}}"),
		front("resources.claims", "resources: {claims: [{name: x}]}"),
		front("livenessProbe", "livenessProbe: {exec: {command: [x]}}"),
		front("lifecycle", "lifecycle: {preStop: {exec: {command: [x]}}}"),
		front("envFrom", "envFrom: [{configMapRef: {name: x}}]"),
		front("tty", "tty: true"),
		front("volumeDevices", "volumeDevices: [{name: a, devicePath: /dev/x}]"),
		front("imagePullPolicy", "imagePullPolicy: Always"),
		front("workingDir", "workingDir: srv"),
		front("comand", "comand: [x]"),
		{"spec.containers[0].env[0].valueFrom", "{name: WHO, value: world}", "{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}"},
		{"spec.containers[0].env[0].value is not a string", "{name: WHO, value: world}", "{name: WHO, value: 1}"},
		{"spec.containers[0].env[0]", "{name: WHO, value: world}", "{name: A=B, value: x}"},
		{"spec.containers[0].ports[1].protocol", "protocol: UDP", "protocol: SCTP"},
		{"spec.containers[0].ports[0].containerPort", "containerPort: 80", "containerPort: 0"},
		{"spec.containers[0].volumeMounts[0].subPath", "readOnly: true", "subPath: x"},
		{"spec.containers[0].volumeMounts[0].mountPropagation", "readOnly: true", "mountPropagation: Bidirectional"},
		{"spec.containers[0].volumeMounts[0].mountPath", "mountPath: /data", "mountPath: /"},
		{"spec.containers[0].volumeMounts[0].name", "- {name: data, mountPath", "- {name: dta, mountPath"},
		{"spec.containers[0].name", "name: front", "name: Front"},
		{"spec.containers[0].args[0] is not a string", `["echo $(GREETING) $(NOPE) $$(GREETING) 5$"]`, "[1]"},
		sec("privileged", "privileged: true"),
		sec("appArmorProfile.type", "appArmorProfile: {type: runtime/default}"),
		sec("procMount", "procMount: Unmasked"),
		{"spec.containers[0].securityContext.capabilities.add[0]", "add: [NET_ADMIN]", "add: [NOSUCH]"},
		{`multiple apps with name "front"`, "name: side", "name: front"},
	} {
		t.Run(e.path, func(t *testing.T) {
			text := strings.Replace(full, e.old, e.new, 1)
			if text == full {
				t.Fatal("nothing was edited")
			}
			if strings.Contains(e.new, "resources") || strings.Contains(e.new, "imagePullPolicy") || strings.Contains(e.new, "image:") {
				for _, l := range []string{"    resources: {limits: {cpu: 1.5, memory: 64Mi}, requests: {cpu: 250m}}\n", "    imagePullPolicy: IfNotPresent\n", "    image: nginx:1.25\n"} {
					if key, _, _ := strings.Cut(strings.TrimSpace(e.new), ":"); strings.HasPrefix(strings.TrimSpace(l), key+":") {
						text = strings.Replace(text, l, "", 1)
					}
				}
			}
			_, err := Convert(strings.NewReader(text))
			if err == nil {
				t.Fatal("was accepted")
			}
			if !strings.Contains(err.Error(), e.path) {
				t.Errorf("error %q lacks %q", err, e.path)
			}
			if strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("error %q is more than a line", err)
			}
		})
	}
	for name, text := range map[string]string{
		"empty": "", "a list": "[]", "two documents": small + "\n---\n" + small, "a key that is no text": "1: 2",
		"large":        "#" + strings.Repeat("x", MaxSize),
		"key twice":    "apiVersion: v1\napiVersion: v1\nkind: Pod",
		"aliases":      bomb(),
		"broken":       "a: [",
		"null spec":    "apiVersion: v1\nkind: Pod\nspec: null",
		"text spec":    "apiVersion: v1\nkind: Pod\nspec: x",
		"odd contents": "apiVersion: v1\nkind: Pod\nspec: {containers: [1]}",
	} {
		if _, err := Convert(strings.NewReader(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// bomb is ten levels of nine references each.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := range 10 {
		from, to := string(rune('0'+i)), string(rune('1'+i))
		b.WriteString("a" + to + ": &a" + to + " [" + strings.TrimSuffix(strings.Repeat("*a"+from+",", 9), ",") + "]\n")
	}
	return b.String()
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"": "", "x": "x", "$(A)": "1", "$$(A)": "$(A)", "$(B)": "$(A)", "$(C)$(A": "$(C)$(A", "$": "$", "a$b": "a$b", "$$$(A)": "$1", ")$(A)": ")1", "$()": "$()",
	} {
		if got := expand(in, vars); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzConvert(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(small))
	f.Add([]byte(bomb()))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := Convert(bytes.NewReader(b))
		if err != nil {
			return
		}
		if _, err := pod.ParseManifest(bytes.NewReader(out)); err != nil {
			t.Fatalf("converted to what is refused: %v\n%s", err, out)
		}
	})
}

func TestLabels(t *testing.T) {
	text := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"hostNetwork":true,"dnsPolicy":"Default",
 "securityContext":{"seLinuxOptions":{"level":"s0:c1,c2"},"appArmorProfile":{"type":"Localhost","localhostProfile":"strict"}},
 "containers":[{"name":"a","image":"b"},{"name":"c","image":"d","securityContext":{"appArmorProfile":{"type":"Unconfined"},"seLinuxOptions":{"type":"spc_t"}}},
  {"name":"d","image":"e","securityContext":{"appArmorProfile":{"type":"RuntimeDefault"}}}]}}`
	m, err := convert(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][2]string{{"strict", "system_u:system_r:container_t:s0:c1,c2"}, {"unconfined", "system_u:system_r:spc_t:s0"}, {"rkt-default", "system_u:system_r:container_t:s0:c1,c2"}} {
		is, err := pod.Isolate(m.Apps[i].App.Isolators)
		if err != nil || is.AppArmor != want[0] || is.SELinux != want[1] {
			t.Errorf("container %d: %+v, %v, want %q", i, is, err, want)
		}
	}
}
