// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/devcgroup"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/spf13/pflag"
)

// registerPod adds the flags of a pod that `run` and `prepare` share.
func (w *wish) registerPod(fs *pflag.FlagSet) {
	each(fs, "volume", "VOLUME", "a volume of the pod: NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL] or NAME,kind=empty[,mode=0755][,uid=0][,gid=0]", func(s string) error {
		v, err := pod.ParseVolume(s)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(w.Volumes, func(o pod.Volume) bool { return o.Name == v.Name }) {
			return fmt.Errorf("there is another volume %q", v.Name)
		}
		w.Volumes = append(w.Volumes, v)
		return nil
	})
	each(fs, "mount", "MOUNT", "where a volume is mounted, volume=NAME,target=PATH: in the image before it, or before any image in all of them", func(s string) error {
		m, err := pod.ParseMount(s)
		if err != nil {
			return err
		}
		if len(w.Apps) == 0 {
			w.Mounts = append(w.Mounts, m)
		} else {
			a := &w.Apps[len(w.Apps)-1]
			a.Mounts = append(a.Mounts, m)
		}
		return nil
	})
	each(fs, "port", "PORT", "lead a port of the host into the pod: NAME:[HOSTIP:]HOSTPORT, NAME as the image has it, or NAME:PROTOCOL:PORT:[HOSTIP:]HOSTPORT; the word socket in place of HOSTPORT makes it a socket that rkt's caller opens (systemd.socket(5)); may be repeated", func(s string) error {
		p, err := pod.ParsePort(s)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(w.Ports, func(o pod.ExposedPort) bool { return o.Name == p.Name }) {
			return fmt.Errorf("port %q is given twice", p.Name)
		}
		w.Ports = append(w.Ports, p)
		return nil
	})
	each(fs, "private-users", "RANGE", "give the pod users and groups of its own: FIRST[:COUNT] of the host's, or pick, which is what the flag alone means, for a range that nobody has; no is the host's (docs/user-namespaces.md)", func(s string) error {
		if _, _, err := pod.ParseUsers(s); err != nil {
			return err
		}
		w.PrivateUsers = s
		return nil
	}).NoOptDefVal = pod.UsersPick
	w.env.register(fs)
	w.registerPullPolicy(fs, "new")
	fs.StringVar(&w.podManifest, "pod-manifest", "", "make the pod of the manifest in `FILE`: an appc pod manifest in JSON, or a Kubernetes Pod in YAML")
	fs.BoolVar(&w.NoOverlay, "no-overlay", false, "make roots without overlay mounts (no flavor of this version can)")
	_ = fs.MarkHidden("no-overlay")
	fs.BoolVar(&w.timing, "timing", false, "print where the time goes, on standard error")
	w.flavor.register(fs)
}

// registerPullPolicy adds the flag that says when to fetch; policy is the default.
func (w *wish) registerPullPolicy(fs *pflag.FlagSet, policy string) {
	each(fs, "pull-policy", "POLICY", "when to fetch images: new (only those that are not stored), update (always) or never", w.setPullPolicy).DefValue = policy
	// rkt's names from before --pull-policy.
	old := func(name, policy string) {
		f := each(fs, name, "bool", "--pull-policy="+policy, func(s string) error {
			if s != "true" {
				return nil
			}
			if w.pullPolicy != "" && w.pullPolicy != policy {
				return errors.New("it does not go with --pull-policy=" + w.pullPolicy)
			}
			return w.setPullPolicy(policy)
		})
		f.NoOptDefVal, f.Hidden = "true", true
	}
	old("store-only", "never")
	old("no-store", "update")
}

func (w *wish) setPullPolicy(s string) error {
	switch s {
	case "new", "update", "never":
		w.pullPolicy = s
		return nil
	}
	return errors.New("want new, update or never")
}

// registerApps adds the flags of one image.
func (w *wish) registerApps(fs *pflag.FlagSet) {
	type req = prepare.AppRequest
	text := func(name, typ, usage string, field func(*req) *string) {
		w.app(fs, name, typ, usage, func(a *req, s string) error {
			if s == "" {
				return errors.New("it is empty")
			}
			*field(a) = s
			return nil
		})
	}
	w.app(fs, "exec", "PROGRAM", "run PROGRAM instead of what the image says", func(a *req, s string) error {
		if s == "" {
			return errors.New("it is empty")
		}
		if a.Exec != "" {
			return errors.New("it is given twice for one image")
		}
		a.Exec = s
		return nil
	})
	w.app(fs, "signature", "FILE", "the detached signature of the ACI before it, instead of the one beside it", func(_ *req, s string) error {
		i := len(w.Apps) - 1
		if s == "" {
			return errors.New("it is empty")
		}
		if w.signatures[i] != "" {
			return errors.New("it is given twice for one image")
		}
		if w.signatures == nil {
			w.signatures = map[int]string{}
		}
		w.signatures[i] = s
		return nil
	})
	text("name", "NAME", "name of the app, unique in the pod", func(a *req) *string { return &a.Name })
	text("user", "USER", "user to run as: a number, a name of the image's, or the /path of a file whose owner to become", func(a *req) *string { return &a.User })
	text("group", "GROUP", "group to run as: a number, a name of the image's, or the /path of a file", func(a *req) *string { return &a.Group })
	w.app(fs, "supplementary-gids", "GID,…", "supplementary group IDs", func(a *req, s string) error {
		gids := []int{}
		for _, f := range strings.Split(s, ",") {
			n, err := strconv.ParseUint(f, 10, 32)
			if err != nil || n >= 1<<32-1 {
				return fmt.Errorf("%q is not a group ID", f)
			}
			gids = append(gids, int(n))
		}
		a.SupplementaryGIDs = gids
		return nil
	})
	w.app(fs, "working-dir", "DIR", "working directory, absolute", func(a *req, s string) error {
		if s == "" {
			return errors.New("it is empty")
		}
		a.WorkingDir = s
		return pod.ValidateWorkingDir(s)
	})
	w.app(fs, "readonly-rootfs", "bool", "mount the app's root read-only", func(a *req, s string) error {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("want true or false")
		}
		a.ReadOnlyRootFS = b
		return nil
	}).NoOptDefVal = "true"
	w.app(fs, "environment", "NAME=VALUE", "set an environment variable of the app; may be repeated", func(a *req, s string) error {
		if err := checkVariable(s); err != nil {
			return err
		}
		a.Environment = append(a.Environment, s)
		return nil
	})
	w.app(fs, "annotation", "NAME=VALUE", "add an annotation to the app's, unless the image has it", func(a *req, s string) error {
		name, value, err := pair(s)
		if err == nil && !pod.ValidIdentifier(name) {
			err = fmt.Errorf("%q is not made of lower-case letters and digits with - . _ ~ / between them", name)
		}
		if err == nil {
			a.Annotations.Set(name, value)
		}
		return err
	})
	w.app(fs, "user-annotation", "NAME=VALUE", "set a user annotation of the app", func(a *req, s string) error {
		return setPair(&a.UserAnnotations, s)
	})
	w.app(fs, "user-label", "NAME=VALUE", "set a user label of the app", func(a *req, s string) error {
		return setPair(&a.UserLabels, s)
	})
	w.registerIsolation(fs)
	w.registerLimits(fs)
	for _, s := range []struct {
		name  string
		field func(*req) *contract.Stream
		modes []contract.Stream
	}{
		{"stdin", func(a *req) *contract.Stream { return &a.Stdin }, []contract.Stream{contract.Null, contract.Inherit}},
		{"stdout", func(a *req) *contract.Stream { return &a.Stdout }, []contract.Stream{contract.Inherit, contract.Log, contract.Null}},
		{"stderr", func(a *req) *contract.Stream { return &a.Stderr }, []contract.Stream{contract.Inherit, contract.Log, contract.Null}},
	} {
		words := fmt.Sprintf("%s or %s", s.modes[0], s.modes[1])
		if len(s.modes) > 2 {
			words = fmt.Sprintf("%s, %s or %s", s.modes[0], s.modes[1], s.modes[2])
		}
		w.app(fs, s.name, "MODE", "where the app's "+s.name+" is: "+words, func(a *req, v string) error {
			if !slices.Contains(s.modes, contract.Stream(v)) {
				return errors.New("want " + words)
			}
			*s.field(a) = contract.Stream(v)
			return nil
		}).DefValue = string(s.modes[0])
	}
}

// registerIsolation adds the flags of capabilities and the like.
func (w *wish) registerIsolation(fs *pflag.FlagSet) {
	type req = prepare.AppRequest
	caps := func(name, usage string, field func(*req) *[]string) {
		set := func(a *req, s string) error {
			list := []string{}
			for _, c := range strings.Split(s, ",") {
				if s == "" {
					break
				}
				if !pod.ValidCapability(c) {
					return fmt.Errorf("%q is not a capability (they are written as CAP_NET_ADMIN)", c)
				}
				list = append(list, c)
			}
			*field(a) = list
			return nil
		}
		w.app(fs, name, "CAP_…,…", usage, set)
		w.app(fs, strings.Replace(name, "caps", "cap", 1), "CAP_…,…", usage, set).Hidden = true // rkt's old name
	}
	caps("caps-retain", "the only capabilities the app may have", func(a *req) *[]string { return &a.CapsRetain })
	caps("caps-remove", "capabilities to take away from the default ones", func(a *req) *[]string { return &a.CapsRemove })
	w.app(fs, "device", "DEVICE", "a device of the host's that the app may use: /dev/X[:/dev/Y][:rwm], a directory of such, or a CDI name as vendor.com/class=name; may be repeated", func(a *req, s string) error {
		d, err := pod.ParseDevice(s)
		if err == nil {
			a.Isolators, err = pod.AddDevices(a.Isolators, pod.Devices{Devices: []pod.Device{d}})
		}
		return err
	})
	w.app(fs, "device-cgroup-rule", "RULE", "devices that the app may use if it has or makes a node, as \"c 189:* rwm\"; may be repeated", func(a *req, s string) error {
		_, err := devcgroup.ParseRule(s)
		if err == nil {
			a.Isolators, err = pod.AddDevices(a.Isolators, pod.Devices{Rules: []string{s}})
		}
		return err
	})
	w.app(fs, "seccomp", "FILTER", "system calls the app may make: mode=retain|remove[,errno=EXXX],NAME|@GROUP,…, or profile=FILE in Docker's or the OCI's form", func(a *req, s string) error {
		f, err := parseSeccomp(s)
		if err == nil {
			a.Seccomp = f
		}
		return err
	})
	label := func(name, typ, usage string, make func(s string) (image.Isolator, error)) {
		w.app(fs, name, typ, usage, func(a *req, s string) error {
			i, err := make(s)
			if err != nil {
				return err
			}
			return addIsolator(&a.Isolators, i)
		})
	}
	label("apparmor-profile", "PROFILE", "the AppArmor profile, loaded on this host, that the app is confined by", pod.AppArmorIsolator)
	label("selinux-context", "USER:ROLE:TYPE[:LEVEL]", "the SELinux context that the app runs in", pod.ParseSELinux)
	w.app(fs, "no-new-privs", "bool", "never let the app gain privileges through programs it runs", func(a *req, s string) error {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("want true or false")
		}
		a.NoNewPrivs = &b
		return nil
	}).NoOptDefVal = "true"
	w.app(fs, "oom-score-adj", "N", "how readily the kernel kills the app when memory is short, -1000 (never) to 1000", func(a *req, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < -1000 || n > 1000 {
			return errors.New("want a number from -1000 to 1000")
		}
		a.OOMScoreAdj = &n
		return nil
	})
}

// pair splits NAME=VALUE.
func pair(s string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return "", "", errors.New("want NAME=VALUE")
	}
	return name, value, nil
}

func setPair(m *map[string]string, s string) error {
	name, value, err := pair(s)
	if err != nil {
		return err
	}
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[name] = value
	return nil
}

// checkVariable checks NAME=VALUE of an environment.
func checkVariable(s string) error {
	name, value, err := pair(s)
	if err != nil {
		return err
	}
	return pod.ValidateEnvironment(name, value)
}

// refuse adds a flag of rkt's that this version cannot do: it is refused by name,
// never ignored. A boolean one has noOpt "true"; set to false it asks for nothing.
func refuse(fs *pflag.FlagSet, name, noOpt, why string) {
	f := each(fs, name, "", "", func(s string) error {
		if noOpt == "true" && s == "false" {
			return nil
		}
		return fmt.Errorf("cannot use --%s: %s", name, why)
	})
	f.Hidden, f.NoOptDefVal = true, noOpt
}

// unavailable adds the flags of run and prepare that are refused.
func unavailable(fs *pflag.FlagSet) {
	refuse(fs, "mds-register", "true", "this version of rkt has no metadata service")
}
