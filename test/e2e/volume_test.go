// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
)

// shared is a directory of the host for a volume.
func shared(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestVolumes(t *testing.T) {
	h := host(t)
	dir := shared(t)
	vol := "--volume=data,kind=host,source=" + dir
	for _, c := range []struct {
		name     string
		pod, app []string
		script   string
		want     string
	}{
		{"read and write", []string{vol}, []string{"--mount=volume=data,target=/data"}, "cat /data/file; echo written > /data/new; cat /data/new", "from the host\nwritten\n"},
		{"read only", []string{vol + ",readOnly=true"}, []string{"--mount=volume=data,target=/data"}, "cat /data/file; echo x 2>/dev/null > /data/x || echo refused", "from the host\nrefused\n"},
		{"below what exists", []string{vol}, []string{"--mount=volume=data,target=/srv/a/b/c"}, "cat /srv/a/b/c/file /srv/content", "from the host\nfrom the image\n"},
		{"over what exists", []string{vol}, []string{"--mount=volume=data,target=/srv"}, "ls /srv/content 2>/dev/null; cat /srv/file", "from the host\n"},
		{"a file", []string{"--volume=data,kind=host,source=" + dir + "/file"}, []string{"--mount=volume=data,target=/srv/content"}, "cat /srv/content", "from the host\n"},
		{"a link of the image stays inside", []string{vol}, []string{"--mount=volume=data,target=/escape/v"}, "cat /srv/v/file", "from the host\n"},
		{"empty", []string{"--volume=scratch,kind=empty,mode=0700,uid=12,gid=34"}, []string{"--mount=volume=scratch,target=/scratch"},
			"stat -c '%a %u %g' /scratch; ls -A /scratch; echo x > /scratch/x && cat /scratch/x", "700 12 34\nx\n"},
		{"global mount", []string{vol, "--mount=volume=data,target=/data"}, nil, "cat /data/file", "from the host\n"},
		{"twice", []string{vol, "--volume=more,kind=host,source=" + dir}, []string{"--mount=volume=data,target=/a", "--mount=volume=more,target=/b"}, "cat /a/file /b/file", "from the host\nfrom the host\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := tiny(t, h, c.pod, c.app, c.script); r.Stdout != c.want || r.Status != 0 {
				t.Errorf("stdout %q, want %q (status %d)\n%s", r.Stdout, c.want, r.Status, r.Stderr)
			}
		})
	}
	if text, err := os.ReadFile(filepath.Join(dir, "new")); err != nil || string(text) != "written\n" {
		t.Errorf("what the app wrote is not on the host: %q, %v", text, err)
	}
	if _, err := os.Lstat("/srv/v"); err == nil {
		t.Errorf("the host's /srv/v exists: a link of the image led out of it")
	}
}

// TestRecursiveVolume: recursive=true brings the mounts below along, and
// readOnly then holds for each of them; recursive=false does not.
func TestRecursiveVolume(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	// The mounts below are made in a namespace of the test's own, so rkt is
	// started through unshare.
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("needs unshare (util-linux)")
	}
	h := host(t)
	dir := shared(t)
	if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(volume, script string) string {
		t.Helper()
		args := append([]string{install.Bin("rkt"), "--dir=" + h.Dir}, h.Flags...)
		args = append(args, "run", "--net=host", "--volume=data,kind=host,source="+dir+volume,
			image(t, images.Tiny), "--mount=volume=data,target=/data", "--exec=/bin/sh", "--", "-c", script)
		cmd := exec.Command("unshare", append([]string{"-m", "--propagation=private", "sh", "-c",
			"mount -t tmpfs tmpfs '" + dir + "/below' && echo mounted > '" + dir + "/below/file' && exec \"$@\"", "sh"}, args...)...)
		cmd.Env = h.Env
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", volume, err)
		}
		return string(out)
	}
	write := "cat /data/below/file 2>/dev/null || echo not there; echo x 2>/dev/null > /data/below/x || echo refused"
	for volume, want := range map[string]string{
		",recursive=true":               "mounted\n",
		",recursive=true,readOnly=true": "mounted\nrefused\n",
		",recursive=false":              "not there\n",
	} {
		if got := run(volume, write); got != want {
			t.Errorf("%s: %q, want %q", volume, got, want)
		}
	}
}

// TestVolumeIsShared: two apps of a pod see each other through a volume, and
// nowhere else.
func TestVolumeIsShared(t *testing.T) {
	h := host(t)
	img := image(t, images.Tiny)
	r := h.Rkt("run", "--net=none", "--volume=v,kind=empty",
		img, "--name=writer", "--mount=volume=v,target=/v", "--exec=/bin/sh", "--", "-c", "echo hidden > /srv/mine; echo seen > /v/tmp; ln /v/tmp /v/f; while ! test -e /v/done; do sleep 0.05; done", "---",
		img, "--name=reader", "--mount=volume=v,target=/w", "--exec=/bin/sh", "--", "-c", "while ! test -e /w/f; do sleep 0.05; done; cat /w/f; ls /srv/mine 2>/dev/null; touch /w/done", "---")
	if r.Status != 0 || r.Stdout != "seen\n" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

// TestImplicitVolumes: an image's VOLUME without a volume from the user keeps
// the image's content, and is writable even if the root is not.
func TestImplicitVolumes(t *testing.T) {
	h := host(t)
	r := h.Rkt("run", "--net=none", image(t, images.Etcd), "--readonly-rootfs=true", "--exec=/bin/bash", "--", "-c",
		"touch /var/lib/etcd/x && stat -c %a /var/lib/etcd; touch /srv/x 2>/dev/null || echo root refused")
	if r.Status != 0 || r.Stdout != "700\nroot refused\n" {
		t.Errorf("status %d, stdout %q, want mode 700 and a writable directory\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	h := host(t)
	r := tiny(t, h, []string{"--volume=v,kind=empty"}, []string{"--readonly-rootfs=true", "--mount=volume=v,target=/v"},
		"echo x 2>/dev/null > /srv/x || echo refused; echo x > /v/x && echo volume writable")
	if r.Stdout != "refused\nvolume writable\n" {
		t.Errorf("stdout %q\n%s", r.Stdout, r.Stderr)
	}
}

// TestImageIsUntouched: what one pod writes, the next does not see.
func TestImageIsUntouched(t *testing.T) {
	h := host(t)
	if r := tiny(t, h, nil, nil, "echo changed > /srv/content; rm /srv/owned; cat /srv/content"); r.Out() != "changed" {
		t.Fatalf("stdout %q\n%s", r.Stdout, r.Stderr)
	}
	if r := tiny(t, h, nil, nil, "cat /srv/content; ls /srv"); !strings.HasPrefix(r.Stdout, "from the image\n") || !strings.Contains(r.Stdout, "owned") {
		t.Errorf("the next pod sees %q", r.Stdout)
	}
}
