// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
)

// TestPodFiles: the environment may have secrets, which are nobody else's.
func TestPodFiles(t *testing.T) {
	id := pod.UUID("6733c088-a507-4694-aabf-0123456789ab")
	o := &order{DataDir: t.TempDir(), UUID: id, Dir: t.TempDir(), Step: Step{Upper: "/upper", Argv: []string{"/bin/true"}, Env: []string{"TOKEN=secret"}, User: "0", Group: "0", Network: NetworkNone}}
	doc, err := o.document("/flavor.json")
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.pod(doc)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	err = filepath.WalkDir(p.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		fi, err := os.Lstat(path)
		if err == nil && fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), fi.Mode().Perm())
		}
		files[e.Name()] = true
		return err
	})
	if err != nil || !files[lifecycle.ManifestFile] || len(files) < 2 {
		t.Errorf("%v, %v", files, err)
	}
}
