// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// Without --net, what the command line says and what the document says later are
// the same: else each pod is assembled twice.
func TestWantedOfTheDefaultNetwork(t *testing.T) {
	said, written := wanted(&contract.Pod{}), wanted(&contract.Pod{Network: "none"})
	if said != written {
		t.Errorf("%+v and %+v differ", said, written)
	}
	if host := wanted(&contract.Pod{Network: "host"}); host == written {
		t.Errorf("the host's network is taken for one of the pod's own: %+v", host)
	}
}
