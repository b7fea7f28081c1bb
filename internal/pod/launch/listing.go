// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// NetworkPlaces are where networks are configured, as in contract.Pod: its
// NetworkConfig, NetworkShared and NetworkPlugins.
type NetworkPlaces struct{ Config, Shared, Plugins []string }

func (p NetworkPlaces) args() (args []string) {
	for _, l := range []struct {
		key  string
		dirs []string
	}{{"config=", p.Config}, {"shared=", p.Shared}, {"plugins=", p.Plugins}} {
		for _, d := range l.dirs {
			args = append(args, l.key+d)
		}
	}
	return args
}

// ListNetworks lists all networks of a data directory, with what they gave to
// whom. With check, plugins are asked how they are.
func ListNetworks(dataDir string, places NetworkPlaces, check bool) (*contract.NetworkListing, error) {
	verb := "list"
	if check {
		verb = "check"
	}
	out, err := runNetwork(verb, dataDir, places)
	if err != nil {
		return nil, fmt.Errorf("cannot list networks: %w", err)
	}
	l := new(contract.NetworkListing)
	if err := json.Unmarshal(out, l); err != nil {
		return nil, fmt.Errorf("cannot list networks: cannot understand %s: %w", networkProgram, err)
	}
	return l, nil
}

// Networks gives back what belongs to no pod of the data directory, and takes
// networks down that none uses.
func Networks(dataDir string, places NetworkPlaces) error {
	if _, err := runNetwork("gc", dataDir, places); err != nil {
		return fmt.Errorf("cannot collect networks: %w", err)
	}
	return nil
}

// runNetwork runs the program and returns what it printed. Its error is the
// first line of what it said; what it says though it works goes to stderr.
func runNetwork(verb, dataDir string, places NetworkPlaces) ([]byte, error) {
	path, err := HelperPath(networkProgram)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, append([]string{verb, dataDir}, places.args()...)...)
	var said bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stderr = environment(), "/", &said
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	if text := strings.TrimPrefix(strings.TrimSpace(said.String()), networkProgram+": "); text != "" {
		err = errors.New(strings.ReplaceAll(text, "\n", "; "))
	}
	return nil, err
}

// ReleaseNetworks gives back what a pod that has ended still holds of networks:
// it was killed before it could. The pod is locked by the caller.
func ReleaseNetworks(p *lifecycle.Pod) error {
	if n, err := p.Networks(); err == nil && n.Released {
		return nil
	}
	return collectNetworks(p)
}
