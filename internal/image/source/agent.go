// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// Agent is `fetch agent`: an SSH agent that has the keys that come first on in, and
// answers messages until in ends. Its error is that nobody can be told.
func Agent(in io.Reader, out io.Writer) error {
	from := wire.NewReceiver(in)
	ring := agent.NewKeyring()
	for first := true; ; first = false {
		var req wire.AgentRequest
		if err := from.Receive(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var reply wire.AgentReply
		if first {
			reply.Err = wire.AsError(addKeys(ring, req.Keys))
		} else {
			var err error
			reply.Message, err = answer(ring, req.Message)
			reply.Err = wire.AsError(err)
		}
		if err := wire.Send(out, reply); err != nil {
			return err
		}
	}
}

func addKeys(ring agent.Agent, keys []wire.AgentKey) error {
	for _, k := range keys {
		key, err := ssh.ParseRawPrivateKey(k.PEM)
		if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
			err = hint.Wrap(errors.New("it has a passphrase"), "have ssh-agent ask for it, by ssh-add, and give its socket")
		}
		if err == nil {
			err = ring.Add(agent.AddedKey{PrivateKey: key}) // a step need not know its file's name
		}
		if err != nil {
			return fmt.Errorf("cannot use key %q: %w", k.Name, err)
		}
	}
	return nil
}

// answer has the agent answer one message.
func answer(ring agent.Agent, message []byte) ([]byte, error) {
	var out bytes.Buffer
	in := bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	err := agent.ServeAgent(ring, struct {
		io.Reader
		io.Writer
	}{in, &out})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if out.Len() < 4 {
		return nil, errors.New("there is no answer")
	}
	return out.Bytes()[4:], nil
}
