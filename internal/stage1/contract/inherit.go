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
	Apps    []InheritedApp
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
}

func (a *InheritedApp) fields() []*int { return []*int{&a.Root, &a.Cgroup, &a.Log, &a.Out, &a.Err} }

// Descriptors are all numbers but 0.
func (h *Inherited) Descriptors() []int {
	list := []int{h.Control, h.Lock, h.Pod}
	for i := range h.Apps {
		for _, f := range h.Apps[i].fields() {
			if *f > 0 {
				list = append(list, *f)
			}
		}
	}
	return list
}

// Encode is the value of EnvInherited.
func (h *Inherited) Encode() string {
	b := []byte{}
	for _, n := range []int{h.Control, h.Lock, h.Pod, h.Started} {
		b = append(strconv.AppendInt(b, int64(n), 10), ' ')
	}
	for i := range h.Apps {
		for _, f := range h.Apps[i].fields() {
			b = append(strconv.AppendInt(b, int64(*f), 10), ' ')
		}
	}
	return string(b[:len(b)-1])
}

// ParseInherited reads EnvInherited.
func ParseInherited(text string) (*Inherited, error) {
	words := strings.Fields(text)
	per := len((&InheritedApp{}).fields())
	if len(words) < 4+per || (len(words)-4)%per != 0 {
		return nil, errors.New("cannot take the pod over: " + EnvInherited + " is not set; only rkt starts this program")
	}
	numbers := make([]int, len(words))
	for i, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("cannot take the pod over: %s has %q, which is no descriptor", EnvInherited, w)
		}
		numbers[i] = n
	}
	h := &Inherited{Control: numbers[0], Lock: numbers[1], Pod: numbers[2], Started: numbers[3]}
	h.Apps = make([]InheritedApp, (len(words)-4)/per)
	for i := range h.Apps {
		for j, f := range h.Apps[i].fields() {
			*f = numbers[4+i*per+j]
		}
	}
	return h, nil
}
