// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Push copies ref of the OCI layout dir to image ("name:tag") with skopeo.
// Flags go to skopeo copy ("--format=v2s2", "--all").
func (s *Server) Push(dir, ref, image string, flags ...string) error {
	return Push(s.Addr, dir, ref, image, flags...)
}

// Push copies ref of the OCI layout dir to a registry on loopback.
func Push(addr, dir, ref, image string, flags ...string) error {
	args := append([]string{"copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false"}, flags...)
	out, err := exec.Command("skopeo", append(args, "oci:"+dir+":"+ref, "docker://"+addr+"/"+image)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot push %s to %s: %w\n%s", ref, addr, err, out)
	}
	return nil
}

// StartDistribution starts Debian's docker-registry, the implementation that
// the world runs, on a free port of 127.0.0.1, with its data in dir. It
// returns its address and what ends it.
func StartDistribution(dir string) (addr string, stop func(), err error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return "", nil, err
	}
	addr, err = freeAddr()
	if err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	if err := answers(addr); err != nil {
		stop()
		return "", nil, err
	}
	return addr, stop, nil
}
