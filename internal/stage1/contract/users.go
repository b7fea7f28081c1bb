// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"

	"github.com/rkt/rkt/internal/plainjson"
)

// Users is a range of the host's users and groups that a pod has for its own:
// 0 in the pod is First on the host. The zero value is a pod without.
type Users struct {
	// First is 0 in a document if a range is to be found when the pod starts; what
	// it came to be then stands in EventsFile.
	First int64 `json:"first,omitempty"`
	Count int64 `json:"count"`
}

// UsersCount is how many a range that rkt finds has: what programs written for
// 16 bits, and those that know nobody as 65534, expect.
const UsersCount = 1 << 16

// Private reports whether there are any.
func (u Users) Private() bool { return u.Count > 0 }

// Inside is the number in the pod of one of the host's.
func (u Users) Inside(host uint32) (uint32, error) {
	if !u.Private() {
		return host, nil
	}
	if n := int64(host); n < u.First || n-u.First >= u.Count {
		return 0, fmt.Errorf("its owner is none of the pod's %d users", u.Count)
	}
	return uint32(int64(host) - u.First), nil
}

// Host is the number on the host of one of the pod's, which it has (Has).
func (u Users) Host(inside uint32) uint32 { return uint32(u.First + int64(inside)) }

// Has is nil if the pod has a user, or group, of that number.
func (u Users) Has(inside uint32) error {
	if u.Private() && int64(inside) >= u.Count {
		return fmt.Errorf("%d is none of the pod's own users and groups, which are 0 to %d", inside, u.Count-1)
	}
	return nil
}

func (u Users) write(w *plainjson.Writer) {
	if u == (Users{}) {
		return
	}
	w.Key("users").Begin('{')
	optInt(w, "first", u.First)
	w.Key("count").Int(u.Count)
	w.End('}')
}

func readUsers(r *plainjson.Reader) (u Users) {
	for name := range r.Object() {
		switch name {
		case "first":
			u.First = r.Int64()
		case "count":
			u.Count = r.Int64()
		}
	}
	return u
}
