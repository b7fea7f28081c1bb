// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"os"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestVolumeOfOneFile: a directory is met by its own ".", a file has none.
func TestVolumeOfOneFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	doc := &contract.Pod{Apps: []contract.App{{Mounts: []contract.Mount{{Source: dir}, {Source: dir + "/file"}}}}}
	m := guestDocument(doc).Apps[0].Mounts
	if !strings.HasSuffix(m[0].Source, "/0/.") || !strings.HasSuffix(m[1].Source, "/1") {
		t.Errorf("%q, %q", m[0].Source, m[1].Source)
	}
}
