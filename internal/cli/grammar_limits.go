// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/spf13/pflag"
)

// registerLimits adds the flags of resources. After an image they limit that
// app, before any the pod as a whole.
func (w *wish) registerLimits(fs *pflag.FlagSet) {
	limit := func(name, typ, usage string, make func(s string) (image.Isolator, error)) {
		each(fs, name, typ, usage, func(s string) error {
			i, err := make(s)
			if err != nil {
				return err
			}
			to := &w.Isolators
			if len(w.Apps) > 0 {
				to = &w.Apps[len(w.Apps)-1].Isolators
			}
			return addIsolator(to, i)
		})
	}
	resource := func(name, typ, usage, isolator string) {
		limit(name, typ, usage, func(s string) (image.Isolator, error) { return pod.ResourceIsolator(isolator, s) })
	}
	resource("cpu", "LIMIT", "processor time: a number of processors (0.5, 500m), or limit=N,request=N; before any image, of the whole pod", pod.IsolatorCPU)
	limit("cpu-shares", "N", "weight when processors are short, 2 to 262144; 1024 is what others have", func(s string) (image.Isolator, error) {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 2 || n > 1<<18 {
			return image.Isolator{}, errors.New("want a number from 2 to 262144")
		}
		return pod.CPUSharesIsolator(n), nil
	})
	limit("cpu-set", "LIST", "processors to run on, as 0-2,7", func(s string) (image.Isolator, error) {
		i := pod.CPUSetIsolator(s)
		_, err := pod.Isolate([]image.Isolator{i})
		return i, err
	})
	resource("memory", "LIMIT", "memory: a size (512M, 1Gi), or limit=SIZE[,request=SIZE][,high=SIZE][,swap=SIZE]; before any image, of the whole pod", pod.IsolatorMemory)
	resource("pids-limit", "N", "how many processes and threads there may be", pod.IsolatorPIDs)
	resource("block-bandwidth", "SIZE", "bytes a second that may be read from, and as many written to, each block device", pod.IsolatorBlockBandwidth)
	resource("block-iops", "N", "reads a second, and as many writes, of each block device", pod.IsolatorBlockIOPS)
	resource("network-bandwidth", "SIZE", "bytes a second that may pass each of the pod's interfaces, each way; of several apps it is the pod's", pod.IsolatorNetworkBandwidth)
	rlimits := map[int][]pod.Rlimit{} // by the image's place
	w.app(fs, "rlimit", "NAME=SOFT[:HARD]", "a limit of setrlimit(2), as nofile=1024:4096 or core=unlimited; may be repeated", func(a *prepare.AppRequest, s string) error {
		r, err := pod.ParseRlimit(s)
		if err != nil {
			return err
		}
		n := len(w.Apps)
		if slices.ContainsFunc(rlimits[n], func(o pod.Rlimit) bool { return o.Name == r.Name }) {
			return fmt.Errorf("%s is given twice for one image", r.Name)
		}
		rlimits[n] = append(rlimits[n], r)
		a.Isolators = slices.DeleteFunc(a.Isolators, func(i image.Isolator) bool { return i.Name == pod.IsolatorRlimits })
		a.Isolators = append(a.Isolators, pod.RlimitsIsolator(rlimits[n]))
		return nil
	})
	sysctls := map[string]string{}
	each(fs, "sysctl", "NAME=VALUE", "set a kernel parameter of the pod's own namespaces, as net.core.somaxconn=1024; may be repeated", func(s string) error {
		name, value, err := pod.ParseSysctl(s)
		if err != nil {
			return err
		}
		if _, ok := sysctls[name]; ok {
			return fmt.Errorf("%s is given twice", name)
		}
		sysctls[name] = value
		w.Isolators = slices.DeleteFunc(w.Isolators, func(i image.Isolator) bool { return i.Name == pod.IsolatorSysctl })
		w.Isolators = append(w.Isolators, pod.SysctlIsolator(sysctls))
		return nil
	})
}

// addIsolator refuses a second one of the same name: which one would hold?
func addIsolator(to *[]image.Isolator, i image.Isolator) error {
	if slices.ContainsFunc(*to, func(o image.Isolator) bool { return o.Name == i.Name }) {
		return errors.New("it is given twice, for one image or for the pod")
	}
	*to = append(*to, i)
	return nil
}
