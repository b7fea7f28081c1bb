// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dist

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// typed has an interactive shell complete line by its own editor, and returns the
// words that the line then has. setup is what the shell reads before.
func typed(t *testing.T, env []string, argv []string, setup, line string) []string {
	t.Helper()
	pts, err := unix.Open("/dev/pts", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pts)
	m, sl, err := pty.Open(pts)
	if err != nil {
		t.Fatal(err)
	}
	master, slave := os.NewFile(uintptr(m), "master"), os.NewFile(uintptr(sl), "slave")
	defer master.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	guard := time.AfterFunc(rkt.Patience, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	// To the end of the line a tab, then to its beginning, and it is printed in place
	// of being run.
	keys := setup + "\n" + line + "\t\x01printf '<%s>\\n' \r" + "exit\r"
	if _, err := master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		out.Write(buf[:n])
		if err != nil { // the shell has ended
			break
		}
	}
	_ = cmd.Wait()
	var words []string
	for l := range strings.Lines(out.String()) {
		l = strings.TrimRight(l, "\r\n")
		if i := strings.LastIndex(l, "\r"); i >= 0 {
			l = l[i+1:]
		}
		if strings.HasPrefix(l, "<") && strings.HasSuffix(l, ">") {
			words = append(words, l[1:len(l)-1])
		}
	}
	if words == nil {
		t.Errorf("%s printed nothing for %q:\n%q", argv[0], line, out.String()[max(0, out.Len()-600):])
	}
	return words
}

// Each shell completes by the script that lies in the package where the shell looks:
// verbs, flags, their values, pods and images.
func TestCompletions(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	usr := filepath.Join(debTree(t, "rkt", "amd64"), "usr")
	h := rkt.New(t, rkt.Install{Dir: usr})
	layout, err := images.Layout()
	if err != nil {
		t.Fatal(err)
	}
	image := "oci:" + layout + ":" + images.Tiny
	h.Must("run", "--net=host", image, "--exec=/bin/true")
	uuid := strings.Fields(h.Must("list", "--no-legend", "--full").Out())[0]
	name := strings.Fields(h.Must("image", "list", "--no-legend", "--fields=name").Out())[0]
	global := "rkt --dir=" + h.Dir + " "
	home := t.TempDir()
	env := []string{"PATH=" + usr + "/bin:/usr/bin:/bin", "HOME=" + home, "TERM=dumb", "LC_ALL=C.UTF-8", "INPUTRC=/dev/null",
		"XDG_DATA_DIRS=" + usr + "/share:/usr/share", "HISTFILE=/dev/null"}

	lines := []struct{ line, last string }{
		{"rkt li", "list"},
		{"rkt image ver", "verify"},
		{"rkt run --net=h", "--net=host"},
		{"rkt run --pull-policy upd", "update"},
		{"rkt list --ful", "--full"},
		{global + "status " + uuid[:4], uuid},
		{global + "image history " + name[:len(name)-2], name},
		{"acbuild annotation rem", "remove"},
		{"acbuild begin --build-m", "--build-mode="},
	}
	shells := map[string]func(line string) []string{
		"bash": func(line string) []string {
			dir := filepath.Join(usr, "share/bash-completion/completions")
			return typed(t, env, []string{"bash", "--norc", "--noprofile", "-i"}, "source "+dir+"/rkt; source "+dir+"/acbuild", line)
		},
		"zsh": func(line string) []string {
			return typed(t, env, []string{"zsh", "-f", "-i"}, "bindkey -e; fpath=("+usr+"/share/zsh/vendor-completions $fpath); autoload -Uz compinit; compinit -u -D", line)
		},
		"fish": func(line string) []string {
			// fish has a command for it, and finds the script by itself.
			cmd := exec.Command("fish", "-c", "complete -C $argv[1]", line)
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("fish: %v\n%s", err, out)
			}
			word, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\t")
			return []string{word}
		},
	}
	for shell, complete := range shells {
		t.Run(shell, func(t *testing.T) {
			needs(t, shell)
			for _, l := range lines {
				words := complete(l.line)
				if len(words) == 0 || words[len(words)-1] != l.last {
					t.Errorf("%q became %q, want %q at its end", l.line, words, l.last)
				}
			}
		})
	}
}
