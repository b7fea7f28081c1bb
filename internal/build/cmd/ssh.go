// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/build/agent"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// sshAgent is one --ssh.
type sshAgent struct {
	id    string
	files []string // a socket, or keys
}

// ssh reads ID[=SOCKET|KEY[,KEY…]].
func (w *building) ssh(text string) error {
	id, list, given := strings.Cut(text, "=")
	s := sshAgent{id: id}
	if given {
		s.files = strings.Split(list, ",")
	} else if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" {
		s.files = []string{socket}
	} else {
		return hint.Wrap(errors.New("there is no SSH agent: SSH_AUTH_SOCK is not set"), "start one, or give a socket or a key: --ssh "+id+"=FILE")
	}
	switch {
	case id == "" || slices.Contains(s.files, ""):
		return fmt.Errorf("%q is not like default, ID=SOCKET or ID=KEY", text)
	case slices.ContainsFunc(w.agents, func(o sshAgent) bool { return o.id == id }):
		return fmt.Errorf("SSH agent %q is there twice", id)
	}
	w.agents = append(w.agents, s)
	return nil
}

// sshAgents opens what --ssh names. end ends those that are ours.
func (a *acbuild) sshAgents(ctx context.Context, list []sshAgent, opt fetch.Options) (asks map[string]agent.Ask, end func() error, err error) {
	asks = map[string]agent.Ask{}
	var open []*fetch.Agent
	end = func() error {
		var err error
		for _, o := range open {
			err = errors.Join(err, o.Close())
		}
		return err
	}
	for _, s := range list {
		if asks[s.id], err = a.sshAgent(ctx, s, opt, &open); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("cannot use SSH agent %q: %w", s.id, err), end())
		}
	}
	return asks, end, nil
}

func (a *acbuild) sshAgent(ctx context.Context, s sshAgent, opt fetch.Options, open *[]*fetch.Agent) (agent.Ask, error) {
	fi, err := os.Stat(s.files[0])
	if err != nil {
		return nil, err
	}
	if fi.Mode().Type() == fs.ModeSocket {
		if len(s.files) > 1 {
			return nil, fmt.Errorf("%q is a socket, and not one of several keys", s.files[0])
		}
		path, err := filepath.Abs(s.files[0])
		return agent.Socket(path), err
	}
	var keys []fetch.AgentKey
	for _, file := range s.files {
		text, err := a.input(file, wire.MaxAgentKey)
		if err != nil {
			return nil, err
		}
		keys = append(keys, fetch.AgentKey{Name: file, PEM: text})
	}
	o, err := fetch.OpenAgent(ctx, opt, keys)
	if err != nil {
		return nil, err
	}
	*open = append(*open, o)
	return func(_ context.Context, message []byte) ([]byte, error) { return o.Ask(message) }, nil
}
