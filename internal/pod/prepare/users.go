// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Users is PrivateUsers as the document has it; it has been parsed before.
func (r *Request) Users() contract.Users {
	if r.PrivateUsers == "" {
		return contract.Users{}
	}
	first, count, err := pod.ParseUsers(r.PrivateUsers)
	if err != nil {
		return contract.Users{}
	}
	return contract.Users{First: first, Count: count}
}

// users gives the pod users of its own, if it is to have them, and notes in its
// manifest what the request says of it.
func (r *Request) users(c *contract.Pod, m *pod.Manifest) error {
	said, ok := m.Annotations.Get(pod.AnnotationUsers)
	if r.PrivateUsers != "" {
		said, ok = r.PrivateUsers, true
	}
	if !ok {
		return nil
	}
	first, count, err := pod.ParseUsers(said)
	if err != nil {
		return fmt.Errorf("private users %q: %w", said, err)
	}
	c.Users = contract.Users{First: first, Count: count}
	m.Annotations.Set(pod.AnnotationUsers, pod.FormatUsers(first, count))
	if !c.Users.Private() {
		return nil
	}
	if !userns.Initial() {
		return errors.New("only root gives a pod users of its own (--private-users): yours has those of your own user namespace already")
	}
	return r.Flavor.need(contract.PrivateUsers, "users of the pod's own (--private-users)")
}

// tryUsers finds out for a pod that will be run later whether what it is made of
// can be given to users of its own: whoever runs it should not be the first to
// hear of it.
func (r *Request) tryUsers(c *contract.Pod) error {
	if !c.Users.Private() || !r.Options.Later {
		return nil
	}
	places := []userns.Place{{Path: r.DataDir}}
	names := []string{"data directory"}
	for i := range c.Apps {
		if dir := filepath.Dir(c.Apps[i].Layers[0]); i == 0 {
			places = append(places, userns.Place{Path: dir})
			names = append(names, "directory of layers")
		}
		for _, m := range c.Apps[i].Mounts {
			if m.Source != "" && !strings.HasPrefix(m.Source, r.DataDir+"/") {
				places = append(places, userns.Place{Path: m.Source, Recursive: m.Recursive})
				names = append(names, fmt.Sprintf("volume %q", m.Volume))
			}
		}
	}
	if n, err := userns.Try(places); err != nil {
		return fmt.Errorf("%s: %w", names[n], err)
	}
	return nil
}

// checkUsers refuses what a pod with users of its own cannot have. The document is
// complete.
func checkUsers(c *contract.Pod, volumes []pod.Volume) error {
	if !c.Users.Private() {
		return nil
	}
	if c.HostIPC {
		return errors.New("the pod cannot have both users of its own (--private-users) and the host's IPC namespace: to its objects it would be nobody")
	}
	for i := range volumes {
		uid, gid := volumes[i].Owner()
		for _, id := range []int{uid, gid} {
			if err := c.Users.Has(uint32(id)); err != nil && volumes[i].Kind == pod.EmptyVolume {
				return fmt.Errorf("volume %q: owner %w", volumes[i].Name, err)
			}
		}
	}
	for i := range c.Apps {
		a := &c.Apps[i]
		for _, gid := range a.SupplementaryGIDs {
			if err := c.Users.Has(uint32(gid)); err != nil {
				return fmt.Errorf("app %q: supplementary group %w", a.Name, err)
			}
		}
		if a.OOMScoreAdj != nil && *a.OOMScoreAdj < 0 {
			return hint.Wrap(fmt.Errorf("app %q: an OOM score of %d is below the usual one, and takes a privilege over the host that a pod with users of its own (--private-users) does not have", a.Name, *a.OOMScoreAdj),
				"run rkt itself with that score (choom, OOMScoreAdjust=), which apps inherit")
		}
	}
	return nil
}
