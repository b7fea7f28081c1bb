// SPDX-License-Identifier: Apache-2.0

package contract

import "github.com/rkt/rkt/internal/plainjson"

// Encode is the document as it is stored, but for a newline at the end: the
// same text that encoding/json makes.
func (p *Pod) Encode() []byte {
	w := plainjson.NewWriter(4 << 10)
	w.Begin('{')
	w.Key("version").Int(int64(p.Version))
	w.Key("uuid").String(p.UUID)
	w.Key("flavor").String(p.Flavor)
	w.OptString("stage1Image", p.Stage1Image)
	plainjson.OptEach(w, "features", p.Features, writeFeature)
	w.Key("hostname").String(p.Hostname)
	plainjson.Each(w.Key("apps"), p.Apps, (*App).write)
	w.OptString("cgroup", p.Cgroup)
	w.OptStringMap("controllers", p.Controllers)
	p.Limits.write(w)
	w.OptBool("confineDevices", p.ConfineDevices)
	w.OptStringMap("sysctls", p.Sysctls)
	p.Users.write(w)
	w.Key("network").String(p.Network)
	plainjson.OptEach(w, "networks", p.Networks, (*Network).write)
	optInt(w, "networkBandwidth", p.NetworkBandwidth)
	plainjson.OptEach(w, "ports", p.Ports, (*Port).write)
	w.OptStrings("networkConfig", p.NetworkConfig)
	w.OptStrings("networkShared", p.NetworkShared)
	w.OptStrings("networkPlugins", p.NetworkPlugins)
	w.OptString("networkProgram", p.NetworkProgram)
	w.OptBool("hostIPC", p.HostIPC)
	if p.Resolv != nil {
		w.Key("resolv").String(*p.Resolv)
	}
	if p.Hosts != nil {
		w.Key("hosts").String(*p.Hosts)
	}
	w.OptBool("noNetworkDNS", p.NoNetworkDNS)
	w.OptBool("hostsIfMissing", p.HostsIfMissing)
	w.OptBool("notify", p.Notify)
	w.OptBool("interactive", p.Interactive)
	if p.Insecure != (Insecure{}) {
		w.Key("insecure").Begin('{')
		w.OptBool("capabilities", p.Insecure.Capabilities)
		w.OptBool("paths", p.Insecure.Paths)
		w.OptBool("seccomp", p.Insecure.Seccomp)
		w.End('}')
	}
	w.Key("stopSeconds").Int(int64(p.StopSeconds))
	w.OptStrings("overlayOptions", p.OverlayOptions)
	w.OptBool("keepGroups", p.KeepGroups)
	w.End('}')
	b, _ := w.Bytes() // no Raw and no Time in it: no error
	return b
}

func (a *App) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(a.Name)
	w.Key("layers").Strings(a.Layers)
	w.Key("upper").String(a.Upper)
	w.Key("work").String(a.Work)
	w.OptBool("readOnlyRoot", a.ReadOnlyRoot)
	w.Key("exec").Strings(a.Exec)
	w.Key("environment").Strings(a.Environment)
	w.Key("workingDir").String(a.WorkingDir)
	w.Key("user").String(a.User)
	w.Key("group").String(a.Group)
	w.OptInts("supplementaryGIDs", a.SupplementaryGIDs)
	plainjson.OptEach(w, "mounts", a.Mounts, (*Mount).write)
	plainjson.OptEach(w, "devices", a.Devices, (*Device).write)
	w.OptStrings("deviceRules", a.DeviceRules)
	plainjson.OptEach(w, "sockets", a.Sockets, (*Socket).write)
	w.OptString("notify", a.Notify)
	w.Key("capabilities").Strings(a.Capabilities)
	w.OptStrings("ambient", a.Ambient)
	if s := &a.Seccomp; s.Mode != "" || s.Names != nil || s.Errno != "" || s.Profile != "" {
		w.Key("seccomp").Begin('{')
		w.OptString("mode", s.Mode)
		w.OptStrings("names", s.Names)
		w.OptString("errno", s.Errno)
		w.OptString("profile", s.Profile)
		w.End('}')
	}
	w.OptBool("noNewPrivileges", a.NoNewPrivs)
	w.OptString("appArmor", a.AppArmor)
	w.OptString("seLinux", a.SELinux)
	if a.OOMScoreAdj != nil {
		w.Key("oomScoreAdj").Int(int64(*a.OOMScoreAdj))
	}
	a.Limits.write(w)
	plainjson.OptEach(w, "rlimits", a.Rlimits, (*Rlimit).write)
	w.OptString("stopSignal", a.StopSignal)
	w.OptStrings("preStart", a.PreStart)
	w.OptStrings("postStop", a.PostStop)
	w.OptString("stdin", string(a.Stdin))
	w.OptString("stdout", string(a.Stdout))
	w.OptString("stderr", string(a.Stderr))
	w.End('}')
}

func (m *Mount) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("volume").String(m.Volume)
	w.OptString("source", m.Source)
	w.Key("target").String(m.Target)
	w.OptBool("readOnly", m.ReadOnly)
	w.OptBool("recursive", m.Recursive)
	w.OptBool("noSUID", m.NoSUID)
	w.OptBool("noExec", m.NoExec)
	w.OptBool("private", m.Private)
	w.OptBool("keep", m.Keep)
	w.End('}')
}

// Decode reads a document. Fields that are not known are passed over; whether
// the Version is known is for the caller to ask.
func Decode(b []byte) (*Pod, error) {
	p := new(Pod)
	r := plainjson.NewReader(b)
	for name := range r.Object() {
		switch name {
		case "version":
			p.Version = r.Int()
		case "uuid":
			p.UUID = r.String()
		case "flavor":
			p.Flavor = r.String()
		case "stage1Image":
			p.Stage1Image = r.String()
		case "features":
			p.Features = features(r.Strings())
		case "hostname":
			p.Hostname = r.String()
		case "apps":
			p.Apps = plainjson.List(r, readApp)
		case "cgroup":
			p.Cgroup = r.String()
		case "controllers":
			p.Controllers = r.StringMap()
		case "limits":
			p.Limits = readLimits(r)
		case "confineDevices":
			p.ConfineDevices = r.Bool()
		case "sysctls":
			p.Sysctls = r.StringMap()
		case "users":
			p.Users = readUsers(r)
		case "network":
			p.Network = r.String()
		case "networks":
			p.Networks = plainjson.List(r, readNetwork)
		case "networkBandwidth":
			p.NetworkBandwidth = r.Int64()
		case "ports":
			p.Ports = plainjson.List(r, readPort)
		case "networkConfig":
			p.NetworkConfig = r.Strings()
		case "networkShared":
			p.NetworkShared = r.Strings()
		case "networkPlugins":
			p.NetworkPlugins = r.Strings()
		case "networkProgram":
			p.NetworkProgram = r.String()
		case "hostIPC":
			p.HostIPC = r.Bool()
		case "resolv":
			p.Resolv = plainjson.Pointer(r, (*plainjson.Reader).String)
		case "hosts":
			p.Hosts = plainjson.Pointer(r, (*plainjson.Reader).String)
		case "noNetworkDNS":
			p.NoNetworkDNS = r.Bool()
		case "hostsIfMissing":
			p.HostsIfMissing = r.Bool()
		case "notify":
			p.Notify = r.Bool()
		case "interactive":
			p.Interactive = r.Bool()
		case "insecure":
			p.Insecure = readInsecure(r)
		case "stopSeconds":
			p.StopSeconds = r.Int()
		case "overlayOptions":
			p.OverlayOptions = r.Strings()
		case "keepGroups":
			p.KeepGroups = r.Bool()
		}
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return p, nil
}

func readInsecure(r *plainjson.Reader) (i Insecure) {
	for name := range r.Object() {
		switch name {
		case "capabilities":
			i.Capabilities = r.Bool()
		case "paths":
			i.Paths = r.Bool()
		case "seccomp":
			i.Seccomp = r.Bool()
		}
	}
	return i
}

func readApp(r *plainjson.Reader) (a App) {
	for name := range r.Object() {
		switch name {
		case "name":
			a.Name = r.String()
		case "layers":
			a.Layers = r.Strings()
		case "upper":
			a.Upper = r.String()
		case "work":
			a.Work = r.String()
		case "readOnlyRoot":
			a.ReadOnlyRoot = r.Bool()
		case "exec":
			a.Exec = r.Strings()
		case "environment":
			a.Environment = r.Strings()
		case "workingDir":
			a.WorkingDir = r.String()
		case "user":
			a.User = r.String()
		case "group":
			a.Group = r.String()
		case "supplementaryGIDs":
			a.SupplementaryGIDs = r.Ints()
		case "mounts":
			a.Mounts = plainjson.List(r, readMount)
		case "devices":
			a.Devices = plainjson.List(r, readDevice)
		case "deviceRules":
			a.DeviceRules = r.Strings()
		case "sockets":
			a.Sockets = plainjson.List(r, readSocket)
		case "notify":
			a.Notify = r.String()
		case "capabilities":
			a.Capabilities = r.Strings()
		case "ambient":
			a.Ambient = r.Strings()
		case "seccomp":
			a.Seccomp = readSeccomp(r)
		case "noNewPrivileges":
			a.NoNewPrivs = r.Bool()
		case "appArmor":
			a.AppArmor = r.String()
		case "seLinux":
			a.SELinux = r.String()
		case "oomScoreAdj":
			a.OOMScoreAdj = plainjson.Pointer(r, (*plainjson.Reader).Int)
		case "limits":
			a.Limits = readLimits(r)
		case "rlimits":
			a.Rlimits = plainjson.List(r, readRlimit)
		case "stopSignal":
			a.StopSignal = r.String()
		case "preStart":
			a.PreStart = r.Strings()
		case "postStop":
			a.PostStop = r.Strings()
		case "stdin":
			a.Stdin = Stream(r.String())
		case "stdout":
			a.Stdout = Stream(r.String())
		case "stderr":
			a.Stderr = Stream(r.String())
		}
	}
	return a
}

func readSeccomp(r *plainjson.Reader) (s SeccompFilter) {
	for name := range r.Object() {
		switch name {
		case "mode":
			s.Mode = r.String()
		case "names":
			s.Names = r.Strings()
		case "errno":
			s.Errno = r.String()
		case "profile":
			s.Profile = r.String()
		}
	}
	return s
}

func readMount(r *plainjson.Reader) (m Mount) {
	for name := range r.Object() {
		switch name {
		case "volume":
			m.Volume = r.String()
		case "source":
			m.Source = r.String()
		case "target":
			m.Target = r.String()
		case "readOnly":
			m.ReadOnly = r.Bool()
		case "recursive":
			m.Recursive = r.Bool()
		case "noSUID":
			m.NoSUID = r.Bool()
		case "noExec":
			m.NoExec = r.Bool()
		case "private":
			m.Private = r.Bool()
		case "keep":
			m.Keep = r.Bool()
		}
	}
	return m
}

// Encode is the manifest as it lies beside the program, but for a newline at
// the end: the same text that encoding/json makes.
func (m *Manifest) Encode() []byte {
	w := plainjson.NewWriter(1 << 10)
	w.Begin('{')
	w.Key("contractVersion").Int(int64(m.ContractVersion))
	w.Key("name").String(m.Name)
	w.OptString("version", m.Version)
	w.Key("entrypoints")
	plainjson.EachOf(w, m.Entrypoints, (*plainjson.Writer).Strings)
	plainjson.Each(w.Key("features"), m.Features, writeFeature)
	w.OptStrings("code", m.Code)
	w.End('}')
	b, _ := w.Bytes() // as for Pod
	return b
}

// DecodeManifest reads a flavor's manifest, as Decode does a document.
func DecodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	r := plainjson.NewReader(b)
	for name := range r.Object() {
		switch name {
		case "contractVersion":
			m.ContractVersion = r.Int()
		case "name":
			m.Name = r.String()
		case "version":
			m.Version = r.String()
		case "entrypoints":
			m.Entrypoints = plainjson.Map(r, (*plainjson.Reader).Strings)
		case "features":
			m.Features = features(r.Strings())
		case "code":
			m.Code = r.Strings()
		}
	}
	if err := r.End(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

func writeFeature(f *Feature, w *plainjson.Writer) { w.String(string(*f)) }

func features(words []string) []Feature {
	if words == nil {
		return nil
	}
	list := make([]Feature, len(words))
	for i, w := range words {
		list[i] = Feature(w)
	}
	return list
}
