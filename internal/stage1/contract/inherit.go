// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Inherited is what a flavor's `init` finds open when it becomes the pod's first
// process: descriptors by number, 0 for none.
type Inherited struct {
	Control int // to stage0, and later to `run`
	Lock    int // the pod's
	Pod     int // the document, at its beginning
	// Held are to be kept open as long as the pod lives, as Lock is.
	Held []int
	Apps []InheritedApp
	// Started is the pid of the only app if that runs already; 0 if `init` is to
	// start all.
	Started int
}

// InheritedApp is what belongs to one app, in the document's order.
type InheritedApp struct {
	Root   int // its root; of several apps each is also mounted at /NAME
	Cgroup int // its cgroup
	Log    int // its log, for appending
	// Out and Err are reading ends of what a started app writes, if it is not the
	// caller's descriptor.
	Out, Err int
	// Groups are the tasks files of its cgroups in version 1 hierarchies, and, of a
	// pod with users of its own, cgroup.procs of Cgroup.
	Groups []int
}

func (a *InheritedApp) fields() []*int { return []*int{&a.Root, &a.Cgroup, &a.Log, &a.Out, &a.Err} }

// Descriptors are all numbers but 0.
func (h *Inherited) Descriptors() []int {
	list := append([]int{h.Control, h.Lock, h.Pod}, h.Held...)
	for i := range h.Apps {
		for _, f := range h.Apps[i].fields() {
			if *f > 0 {
				list = append(list, *f)
			}
		}
		list = append(list, h.Apps[i].Groups...)
	}
	return list
}

// Encode is the value of EnvInherited.
func (h *Inherited) Encode() string {
	b := []byte{}
	for _, n := range append([]int{h.Control, h.Lock, h.Pod, h.Started, len(h.Held)}, h.Held...) {
		b = append(strconv.AppendInt(b, int64(n), 10), ' ')
	}
	for i := range h.Apps {
		for _, f := range h.Apps[i].fields() {
			b = append(strconv.AppendInt(b, int64(*f), 10), ' ')
		}
		b = append(strconv.AppendInt(b, int64(len(h.Apps[i].Groups)), 10), ' ')
		for _, n := range h.Apps[i].Groups {
			b = append(strconv.AppendInt(b, int64(n), 10), ' ')
		}
	}
	return string(b[:len(b)-1])
}

// ParseInherited reads EnvInherited.
func ParseInherited(text string) (*Inherited, error) {
	words := strings.Fields(text)
	numbers := make([]int, len(words))
	for i, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("cannot take the pod over: %s has %q, which is no descriptor", EnvInherited, w)
		}
		numbers[i] = n
	}
	short := errors.New("cannot take the pod over: " + EnvInherited + " is not set; only rkt starts this program")
	if len(numbers) < 5 || len(numbers) < 5+numbers[4] {
		return nil, short
	}
	h := &Inherited{Control: numbers[0], Lock: numbers[1], Pod: numbers[2], Started: numbers[3]}
	if held := numbers[4]; held > 0 {
		h.Held = numbers[5 : 5+held : 5+held]
	}
	for numbers = numbers[5+len(h.Held):]; len(numbers) > 0; {
		a := InheritedApp{}
		fields := a.fields()
		if len(numbers) < len(fields)+1 {
			return nil, short
		}
		for j, f := range fields {
			*f = numbers[j]
		}
		groups := numbers[len(fields)]
		if numbers = numbers[len(fields)+1:]; len(numbers) < groups {
			return nil, short
		}
		if groups > 0 {
			a.Groups = numbers[:groups:groups]
		}
		numbers = numbers[groups:]
		h.Apps = append(h.Apps, a)
	}
	if len(h.Apps) == 0 {
		return nil, short
	}
	return h, nil
}
