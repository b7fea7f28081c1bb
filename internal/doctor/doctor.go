// SPDX-License-Identifier: Apache-2.0

// Package doctor looks what of rkt works on this machine. What can be tried is
// tried, in processes and namespaces that end with the attempt; versions are not
// believed. Nothing on the machine changes but for a directory that is made in
// the data directory and removed again.
package doctor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/ui"
)

// A State is what came of a check.
type State string

// The states. Unknown is what cannot be tried here.
const (
	OK      State = "ok"
	Missing State = "missing"
	Unknown State = "unknown"
)

// A Finding is the outcome of one check. ID does not change between versions.
type Finding struct {
	ID     string `json:"id"`
	State  State  `json:"state"`
	Needed bool   `json:"needed"` // without it no pod runs
	Detail string `json:"detail"` // what was found
	Remedy string `json:"remedy,omitempty"`
}

// A Machine is where the doctor looks.
type Machine struct {
	DataDir string // absolute
	Config  []string
	// Networks are arguments of the network program: where networks are
	// configured.
	Networks []string
	// Exe is the doctor's own program, which is started again for what is tried
	// in namespaces; the others of libexec lie beside it.
	Exe string
	// Root is before the paths of files that are only read (/etc, /proc …); "" is
	// the machine's own.
	Root string
	// Dev is where device nodes are.
	Dev string
	UID int
	// Path is the list of directories that optional programs are looked for in.
	Path string
	// Patience is how long an attempt may take, for a guest can hang; 0 is ten
	// seconds.
	Patience time.Duration
}

// Examine makes all checks, in the order in which they are to be read.
func (m *Machine) Examine() []Finding {
	var all []Finding
	for _, look := range []func() []Finding{
		m.calls, m.namespaces, m.confinement, m.overlay, m.cgroups, m.network, m.virtual, m.places, m.people, m.helpers, m.programs, m.clock,
	} {
		all = append(all, look()...)
	}
	return all
}

// Lacking are the IDs of what keeps pods from running.
func Lacking(all []Finding) (ids []string) {
	for _, f := range all {
		if f.Needed && f.State != OK {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// Print writes findings for people: a row each, and below what to do.
func Print(w io.Writer, all []Finding) error {
	t := ui.NewTable(w, []string{"CHECK", "STATE", "FOUND"})
	for _, f := range all {
		state := string(f.State)
		if f.Needed && f.State != OK {
			state = strings.ToUpper(state)
		}
		t.Row(f.ID, state, f.Detail)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var b bytes.Buffer
	for _, f := range all {
		if f.State != OK && f.Remedy != "" {
			fmt.Fprintf(&b, "%s: %s\n", f.ID, ui.Escape(f.Remedy))
		}
	}
	verdict := "Pods can run.\n"
	if Lacking(all) != nil {
		verdict = "Pods cannot run: see what is in capitals.\n"
	}
	if b.Len() > 0 {
		fmt.Fprintf(w, "\nWhat to do:\n%s", b.String())
	}
	_, err := io.WriteString(w, "\n"+verdict)
	return err
}

// finding is one that is OK unless err.
func finding(id string, needed bool, err error, detail, remedy string) Finding {
	if err != nil {
		return Finding{id, Missing, needed, err.Error(), remedy}
	}
	return Finding{id, OK, needed, detail, ""}
}

// try makes an attempt in a process of its own, in new namespaces.
func (m *Machine) try(attempt string, namespaces uintptr, args ...string) (string, error) {
	patience := m.Patience
	if patience == 0 {
		patience = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.Exe, append([]string{"try", attempt}, args...)...)
	cmd.Env, cmd.WaitDelay = []string{"GOMAXPROCS=2"}, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if namespaces&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	text := strings.TrimSpace(string(out))
	switch {
	case err == nil:
		return text, nil
	case ctx.Err() != nil:
		return text, fmt.Errorf("no answer within %v", patience)
	}
	if word := strings.TrimSpace(said.String()); word != "" {
		return text, fmt.Errorf("%s", word)
	}
	return text, err
}

// Main is the program: the machine is examined, and the findings are printed as
// format says ("", "json", "json-pretty"). It returns what keeps pods from running.
func Main(m *Machine, format string, out io.Writer) (lacking []string, err error) {
	all := m.Examine()
	if format == "" {
		err = Print(out, all)
	} else {
		err = ui.JSON(out, all, format == "json-pretty")
	}
	return Lacking(all), err
}

// read reads a file below Root; what is not there is "".
func (m *Machine) read(path string) string {
	b, err := os.ReadFile(m.Root + path)
	if err != nil {
		return ""
	}
	return string(b)
}
