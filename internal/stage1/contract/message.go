// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Signals are those that whoever stands in the caller's place gives to the pod.
// What it was started with ignored stays ignored, as under nohup.
var Signals = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}

// Message is what `init` and whoever stands in the caller's place, stage0 at
// first and then `run`, tell each other, one a packet: five words with spaces
// between, the last to the end of the packet. No JSON: this is sent while a pod
// starts, and reflection is slow the first time.
type Message struct {
	Kind   string
	App    string
	Number int   // MessageExited: status, 128+n for signal n; MessageSignal: which
	Time   int64 // nanoseconds since the epoch
	Text   string
}

// The kinds of messages. `init` sends the first three, the other side the last.
const (
	MessageStarted = "started" // of an app, with a pidfd of its process
	MessageExited  = "exited"  // of an app
	MessageTTY     = "tty"     // with a pty's master, for the caller's terminal
	MessageSignal  = "signal"  // to be given to the apps; SIGTERM stops the pod
)

// Encode is the packet.
func (m Message) Encode() []byte {
	app := m.App
	if app == "" {
		app = "-"
	}
	return []byte(m.Kind + " " + app + " " + strconv.Itoa(m.Number) + " " + strconv.FormatInt(m.Time, 10) + " " + m.Text)
}

// DecodeMessage reads a packet; ok is false for what is none.
func DecodeMessage(b []byte) (m Message, ok bool) {
	f := strings.SplitN(string(b), " ", 5)
	if len(f) != 5 {
		return m, false
	}
	m.Kind, m.App, m.Text = f[0], f[1], f[4]
	if strings.ContainsAny(m.App, "\n\r") {
		return m, false // it goes into a line of `events`, as an app's name
	}
	if m.App == "-" {
		m.App = ""
	}
	var err1, err2 error
	m.Number, err1 = strconv.Atoi(f[2])
	m.Time, err2 = strconv.ParseInt(f[3], 10, 64)
	return m, err1 == nil && err2 == nil
}
