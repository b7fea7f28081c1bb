// SPDX-License-Identifier: Apache-2.0

// Package sshagent starts OpenSSH's agent for tests.
package sshagent

import (
	"os"
	"os/exec"
	"testing"
)

// Start starts an agent at socket, with a key, by the words under, such as setpriv
// and its options. It ends with the test.
func Start(t testing.TB, socket, key string, under ...string) {
	t.Helper()
	words := append(under, "ssh-agent", "-D", "-a", socket)
	agent := exec.Command(words[0], words[1:]...)
	out, err := agent.StdoutPipe()
	if err == nil {
		err = agent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil { // it listens
		t.Fatal(err)
	}
	add := exec.Command("ssh-add", "-q", key)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if text, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}
