// SPDX-License-Identifier: Apache-2.0

package wire

// Bounds of what an SSH agent is told.
const (
	MaxAgentKeys    = 16
	MaxAgentKey     = 64 << 10  // a file with a secret key, bytes
	MaxAgentMessage = 256 << 10 // as OpenSSH's
)

// AgentRequest is what `fetch agent` is sent: first its keys, then messages of the
// agent protocol (draft-ietf-sshm-ssh-agent), one at a time and without their length.
type AgentRequest struct {
	Keys    []AgentKey `json:"keys,omitempty"`
	Message []byte     `json:"message,omitempty"`
}

// AgentKey is a secret key as ssh-keygen writes it.
type AgentKey struct {
	Name string `json:"name"` // for messages
	PEM  []byte `json:"pem"`
}

// AgentReply answers each AgentRequest.
type AgentReply struct {
	Message []byte `json:"message,omitempty"`
	Err     *Error `json:"error,omitempty"`
}
