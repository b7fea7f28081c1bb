// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
)

// Bounds for one run of a plugin.
const (
	// Patience is how long a plugin may take if a Runner says nothing else. The
	// dhcp plugin waits 10 s for each of some answers.
	Patience = time.Minute

	maxOutput  = 1 << 20
	maxStderr  = 4 << 10 // its end is kept, what came before is dropped
	maxMessage = 1 << 10 // of what a plugin says in an error

	// linger is how long a plugin that has ended may have left its output
	// open, as those do that start a daemon.
	linger = time.Second
)

// The error codes of the specification that mean something to rkt.
const (
	codeVersion     = 1
	codeTryAgain    = 11
	codeUnavailable = 50
	codeLimited     = 51
)

// A PluginError is what went wrong with a plugin.
type PluginError struct {
	Plugin string
	Code   int // the plugin's own, of the specification's section 5; 0 if it gave none
	msg    string
}

func (e *PluginError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("plugin %q: %s", e.Plugin, e.msg)
	}
	return fmt.Sprintf("plugin %q: %s (code %d)", e.Plugin, e.msg, e.Code)
}

// Hint is a remedy, where there is one.
func (e *PluginError) Hint() string {
	switch e.Code {
	case codeVersion:
		return "give the network a cniVersion that its plugins know"
	case codeTryAgain:
		return "the plugin says that it may work later"
	}
	return ""
}

// A Runner runs plugins.
type Runner struct {
	Path     []string      // the directories of plugins, first one first
	Patience time.Duration // for each run of a plugin; 0 is Patience
}

// find looks a plugin up.
func (r *Runner) find(name string) (string, error) {
	for _, dir := range r.Path {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", hint.Wrap(fmt.Errorf("plugin %q is not in %s", name, strings.Join(r.Path, ", ")),
		"Debian has the usual plugins in the package containernetworking-plugins")
}

// A call is one run of a plugin.
type call struct {
	command string // ADD, DEL …
	plugin  string
	stdin   []byte
	// The parameters, as far as the command has them.
	containerID, netns, ifName string
	args                       [][2]string
}

// ignoreUnknown is the argument of CNI_ARGS that has plugins pass over those
// that they do not know.
const ignoreUnknown = "IgnoreUnknown"

func (c *call) environment(path []string) []string {
	env := []string{"CNI_COMMAND=" + c.command, "CNI_PATH=" + strings.Join(path, ":")}
	for _, v := range [][2]string{{"CNI_CONTAINERID", c.containerID}, {"CNI_NETNS", c.netns}, {"CNI_IFNAME", c.ifName}} {
		if v[1] != "" {
			env = append(env, v[0]+"="+v[1])
		}
	}
	if len(c.args) > 0 {
		// All plugins of a chain, and their address plugins, get all arguments, and
		// most refuse those of others unless they are told not to.
		words := make([]string, 0, len(c.args)+1)
		if !slices.ContainsFunc(c.args, func(kv [2]string) bool { return kv[0] == ignoreUnknown }) {
			words = append(words, ignoreUnknown+"=1")
		}
		for _, kv := range c.args {
			words = append(words, kv[0]+"="+kv[1])
		}
		env = append(env, "CNI_ARGS="+strings.Join(words, ";"))
	}
	// Plugins run iptables, modprobe and their like.
	search := os.Getenv("PATH")
	if search == "" {
		search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return append(env, "PATH="+search)
}

// run runs a plugin to its end and returns what it printed. The error is a
// *PluginError, unless the plugin is not there or ctx ended first.
func (r *Runner) run(ctx context.Context, c call) ([]byte, error) {
	path, err := r.find(c.plugin)
	if err != nil {
		return nil, err
	}
	patience := r.Patience
	if patience == 0 {
		patience = Patience
	}
	bounded, cancel := context.WithTimeoutCause(ctx, patience, errHangs)
	defer cancel()
	bounded, stop := context.WithCancelCause(bounded)
	defer stop(nil)

	stdout, stderr := &capture{limit: maxOutput, over: func() { stop(errFloods) }}, &tail{}
	cmd := exec.CommandContext(bounded, path)
	cmd.Dir = "/"
	cmd.Env = c.environment(r.Path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.stdin), stdout, stderr
	// In a process group of its own: what it has started ends with it. And not
	// without rkt: gc must not meet a plugin that is still at work.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = linger
	runtime.LockOSThread() // the signal comes when the thread ends that forked
	err = cmd.Run()
	runtime.UnlockOSThread()
	fail := func(msg string) error { return &PluginError{Plugin: c.plugin, msg: msg} }
	switch cause := context.Cause(bounded); {
	case errors.Is(cause, errFloods):
		return nil, fail(fmt.Sprintf("it printed more than %d bytes and was killed", maxOutput))
	case errors.Is(cause, errHangs):
		return nil, fail(fmt.Sprintf("it had not ended after %s and was killed%s", patience, stderr.said()))
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		return stdout.kept, nil
	case !errors.As(err, &exit):
		return nil, fail(fmt.Sprintf("it cannot be run: %v", err))
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return nil, fail(fmt.Sprintf("it was ended by signal %d (%v)%s", ws.Signal(), ws.Signal(), stderr.said()))
	}
	return nil, c.decodeError(stdout.kept, stderr, exit.ExitCode())
}

var (
	errHangs  = errors.New("it hangs")
	errFloods = errors.New("it prints too much")
)

// decodeError reads the error that a plugin printed.
func (c *call) decodeError(stdout []byte, stderr *tail, status int) error {
	var e struct {
		Code    *int   `json:"code"`
		Msg     string `json:"msg"`
		Details string `json:"details"`
	}
	err := &PluginError{Plugin: c.plugin}
	if json.Unmarshal(stdout, &e) == nil && (e.Code != nil || e.Msg != "") {
		if e.Code != nil {
			err.Code = *e.Code
		}
		err.msg = plain(e.Msg)
		if err.msg == "" {
			err.msg = "it failed"
		}
		if e.Details != "" {
			err.msg += "; " + plain(e.Details)
		}
		return err
	}
	err.msg = fmt.Sprintf("it failed with exit status %d%s", status, stderr.said())
	if text := plain(string(stdout)); text != "" {
		err.msg += fmt.Sprintf(", and printed %q where an error in JSON belongs", text)
	}
	return err
}

// plain is a stranger's text in one line of bounded length.
func plain(s string) string {
	cut := len(s) > maxMessage
	if cut {
		s = s[:maxMessage]
	}
	s = strings.ToValidUTF8(s, "")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f && r <= 0xa0 }), " ")
	if cut {
		s += "…"
	}
	return s
}

// capture keeps what is written, and calls over when that is more than limit.
type capture struct {
	kept  []byte
	limit int
	over  func()
}

func (c *capture) Write(p []byte) (int, error) {
	if len(c.kept)+len(p) > c.limit {
		c.over()
		return 0, errFloods
	}
	c.kept = append(c.kept, p...)
	return len(p), nil
}

// tail keeps the end of what is written.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-maxStderr):]...)
	if len(t.kept) > 2*maxStderr {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-maxStderr:]...)
	}
	return len(p), nil
}

// said is the last of it as the end of a message.
func (t *tail) said() string {
	text := plain(string(t.kept[max(0, len(t.kept)-maxMessage):]))
	if text == "" {
		return ""
	}
	return fmt.Sprintf("; it said %q", text)
}
