// SPDX-License-Identifier: Apache-2.0

package images

import (
	"os/exec"
	"testing"
)

// TestImagesAreValid asks skopeo and tar, which share no code with us, to read
// every image.
func TestImagesAreValid(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo")
	}
	dir, err := Layout()
	if err != nil {
		t.Skipf("%v", err)
	}
	for _, ref := range []string{Tiny, Shell, Etcd, Nginx} {
		if out, err := exec.Command("skopeo", "inspect", "oci:"+dir+":"+ref).CombinedOutput(); err != nil {
			t.Errorf("skopeo cannot read %s: %v\n%s", ref, err, out)
		}
	}
	for _, packer := range []string{"", "gzip", "bzip2", "xz", "zstd"} {
		path, err := ACI(packer)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("tar", "-tf", path, "manifest", "rootfs/bin/busybox").CombinedOutput(); err != nil {
			t.Errorf("tar cannot read %s: %v\n%s", path, err, out)
		}
	}
}
