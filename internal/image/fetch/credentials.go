// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// credentials adds to req what Docker's or podman's configuration has for the
// hosts that will be asked and that rkt's own configuration says nothing of.
// The process that reads it is not the one that talks to the network: it may
// read what the user may, and run the credential helpers that the user has.
func credentials(ctx context.Context, opt Options, req *wire.Request) error {
	if !configured() {
		return nil
	}
	hosts := []string{req.Registry}
	for _, r := range req.Registries {
		if r.Name != req.Registry {
			continue
		}
		for _, m := range r.Mirrors {
			host, _, _ := strings.Cut(m.Location, "/")
			hosts = append(hosts, host)
		}
	}
	hosts = slices.DeleteFunc(hosts, func(host string) bool {
		return slices.ContainsFunc(req.Credentials, func(c wire.Credential) bool { return c.Registry == host })
	})
	if len(hosts) == 0 {
		return nil
	}
	slices.Sort(hosts)
	cmd := exec.CommandContext(ctx, opt.Helper, append([]string{"credentials"}, slices.Compact(hosts)...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = linger
	if opt.Stderr != nil {
		cmd.Stderr = opt.Stderr // a credential helper may ask something
		cmd.Stdin = os.Stdin
	}
	out, err := cmd.Output()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var found wire.Credentials
	switch rerr := wire.NewReceiver(bytes.NewReader(out)).Receive(&found); {
	case rerr == nil && found.Err != nil:
		return found.Err
	case errors.Is(err, os.ErrNotExist):
		return nil // the next one says so
	case err == nil:
		err = rerr
	}
	if err != nil {
		return fmt.Errorf("cannot read credentials: %w", err)
	}
	req.Credentials = append(req.Credentials, found.List...)
	return nil
}

// configured tells whether there is a file in which go-containerregistry's
// default keychain would look: most machines have none, and need no process.
func configured() bool {
	home, _ := os.UserHomeDir()
	config := os.Getenv("XDG_CONFIG_HOME")
	if config == "" && home != "" {
		config = filepath.Join(home, ".config")
	}
	for _, p := range []struct{ dir, name string }{
		{home, ".docker/config.json"}, {os.Getenv("DOCKER_CONFIG"), "config.json"},
		{os.Getenv("REGISTRY_AUTH_FILE"), ""},
		{os.Getenv("XDG_RUNTIME_DIR"), "containers/auth.json"}, {config, "containers/auth.json"},
	} {
		if p.dir == "" {
			continue
		}
		if st, err := os.Stat(filepath.Join(p.dir, p.name)); err == nil && !st.IsDir() {
			return true
		}
	}
	return false
}
