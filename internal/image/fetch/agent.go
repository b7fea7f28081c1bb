// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// AgentKey is a key of an Agent's.
type AgentKey = wire.AgentKey

// Agent is an SSH agent in a helper, which has the keys, and no network.
type Agent struct {
	mu      sync.Mutex // a message and its answer
	proc    *wall.Process
	in, out *os.File
	replies *wire.Receiver
}

// OpenAgent starts an agent with the keys. It ends with ctx.
func OpenAgent(ctx context.Context, opt Options, keys []AgentKey) (*Agent, error) {
	if len(keys) > wire.MaxAgentKeys {
		return nil, fmt.Errorf("cannot start an SSH agent: %d keys are more than %d", len(keys), wire.MaxAgentKeys)
	}
	inR, inW, err := newPipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := newPipe()
	if err != nil {
		_, _ = inR.Close(), inW.Close()
		return nil, err
	}
	c := wall.Command{Kind: wall.Agent, Path: opt.Helper, Args: []string{string(wall.Agent)}, Note: opt.note, Files: []*os.File{inR, outW, nil}}
	a := &Agent{in: inW, out: outR, replies: wire.NewReceiver(outR)}
	a.proc, err = c.Start(ctx)
	_, _ = inR.Close(), outW.Close()
	if err != nil {
		_, _ = inW.Close(), outR.Close()
		return nil, fmt.Errorf("cannot start an SSH agent: %w", err)
	}
	if _, err := a.ask(wire.AgentRequest{Keys: keys}); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Ask gives the answer to one message of the agent protocol, both without their
// length. It may be called at the same time.
func (a *Agent) Ask(message []byte) ([]byte, error) {
	return a.ask(wire.AgentRequest{Message: message})
}

func (a *Agent) ask(req wire.AgentRequest) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var reply wire.AgentReply
	err := wire.Send(a.in, req)
	if err == nil {
		err = a.replies.Receive(&reply)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("lost the SSH agent: %w", err)
	case reply.Err != nil:
		return nil, reply.Err
	case len(reply.Message) > wire.MaxAgentMessage:
		return nil, errors.New("the SSH agent's answer is too long")
	}
	return reply.Message, nil
}

// Close ends the agent, and forgets the keys with it.
func (a *Agent) Close() error {
	_, _ = a.in.Close(), a.out.Close()
	timer := time.AfterFunc(linger, a.proc.Kill)
	defer timer.Stop()
	return a.proc.Wait()
}
