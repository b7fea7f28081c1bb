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
	// Stdout and Stderr are what it writes to in place of the caller's 1 and 2.
	Stdout, Stderr int
	// Groups are the tasks files of its cgroups in version 1 hierarchies, and, of a
	// pod with users of its own, cgroup.procs of Cgroup.
	Groups []int
	// Sockets are the app's, in the order in which it is to have them.
	Sockets []InheritedSocket
}

// InheritedSocket is a socket of App.Sockets, with that port's name.
type InheritedSocket struct {
	FD   int
	Name string
}

func (a *InheritedApp) fields() []*int {
	return []*int{&a.Root, &a.Cgroup, &a.Log, &a.Out, &a.Err, &a.Stdout, &a.Stderr}
}

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
		for _, s := range h.Apps[i].Sockets {
			list = append(list, s.FD)
		}
	}
	return list
}

// Encode is the value of EnvInherited. Names have no spaces: they are those of
// ports.
func (h *Inherited) Encode() string {
	b := []byte{}
	number := func(n int) { b = append(strconv.AppendInt(b, int64(n), 10), ' ') }
	for _, n := range append([]int{h.Control, h.Lock, h.Pod, h.Started, len(h.Held)}, h.Held...) {
		number(n)
	}
	for i := range h.Apps {
		a := &h.Apps[i]
		for _, f := range a.fields() {
			number(*f)
		}
		number(len(a.Groups))
		for _, n := range a.Groups {
			number(n)
		}
		number(len(a.Sockets))
		for _, s := range a.Sockets {
			number(s.FD)
			b = append(append(b, s.Name...), ' ')
		}
	}
	return string(b[:len(b)-1])
}

// inheritedReader takes word after word; after the first that is wrong it gives 0.
type inheritedReader struct {
	words []string
	err   error
}

func (r *inheritedReader) word() string {
	if len(r.words) == 0 {
		if r.err == nil {
			r.err = errors.New("cannot take the pod over: " + EnvInherited + " is not set; only rkt starts this program")
		}
		return ""
	}
	w := r.words[0]
	r.words = r.words[1:]
	return w
}

func (r *inheritedReader) number() int {
	w := r.word()
	n, err := strconv.Atoi(w)
	if err != nil || n < 0 {
		if r.err == nil {
			r.err = fmt.Errorf("cannot take the pod over: %s has %q, which is no descriptor", EnvInherited, w)
		}
		return 0
	}
	return n
}

// ParseInherited reads EnvInherited.
func ParseInherited(text string) (*Inherited, error) {
	r := &inheritedReader{words: strings.Fields(text)}
	h := &Inherited{Control: r.number(), Lock: r.number(), Pod: r.number(), Started: r.number()}
	for n := r.number(); n > 0 && r.err == nil; n-- {
		h.Held = append(h.Held, r.number())
	}
	for r.err == nil && (len(r.words) > 0 || h.Apps == nil) {
		a := InheritedApp{}
		for _, f := range a.fields() {
			*f = r.number()
		}
		for n := r.number(); n > 0 && r.err == nil; n-- {
			a.Groups = append(a.Groups, r.number())
		}
		for n := r.number(); n > 0 && r.err == nil; n-- {
			a.Sockets = append(a.Sockets, InheritedSocket{r.number(), r.word()})
		}
		h.Apps = append(h.Apps, a)
	}
	if r.err != nil {
		return nil, r.err
	}
	return h, nil
}
