// SPDX-License-Identifier: Apache-2.0

// Package repository gets the files of a git repository, by git, which runs
// without privilege and with nobody's configuration: no hooks, no filters, no
// submodules, no keys.
package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/mount"
)

// Address is a repository, a commit of it, and a directory in that.
type Address struct {
	URL    string
	Ref    string // a branch, a tag, a whole commit; "" is the repository's own choice
	Subdir string
}

// Parse reads URL[#REF[:SUBDIR]], and whether text is of that form at all: what
// ends in .git, or begins with git:// or file://, or what only ssh understands.
func Parse(text string) (a Address, is bool, err error) {
	a.URL, a.Ref, _ = strings.Cut(text, "#")
	a.Ref, a.Subdir, _ = strings.Cut(a.Ref, ":")
	if strings.HasPrefix(a.URL, "git@") || strings.HasPrefix(a.URL, "ssh://") {
		return a, true, hint.Wrap(fmt.Errorf("cannot clone %q: acbuild gives git no keys", text), "clone it beforehand, and build from the directory")
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return a, false, nil
	}
	switch u.Scheme {
	case "git", "file":
	case "http", "https":
		if !strings.HasSuffix(u.Path, ".git") {
			return a, false, nil
		}
	default:
		return a, false, nil
	}
	switch {
	case u.User != nil:
		err = errors.New("a password in it would be seen by every process")
	case strings.HasPrefix(a.Ref, "-") || strings.ContainsAny(a.Ref, " \t\n\x00*?[\\^~"):
		err = fmt.Errorf("%q is no branch, tag or commit", a.Ref)
	case strings.ContainsRune(a.Subdir, 0):
		err = errors.New("its directory has a NUL byte")
	}
	if err != nil {
		err = fmt.Errorf("cannot clone %q: %w", text, err)
	}
	return a, true, err
}

// Bounds of what a stranger's repository may cost.
const (
	maxBytes = 4 << 30
	maxFiles = 1_000_000
	maxTime  = 15 * time.Minute
)

// nobody is whom git runs as, where there is such a user.
const nobody = 65534

// place is where git finds the directory: in a mount namespace of its own, over a
// directory that is on every machine. git runs as a user who may not see what the
// directory is in, and looks at each component of its path.
const place = "/proc/fs"

// Clone gets the files of a's commit into dir, an empty directory that is its alone,
// and gives the commit. It makes the directory that of git's user. What is in it
// after an error means nothing. git ends with this process, however that ends.
func Clone(ctx context.Context, a Address, dir string) (commit string, err error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("cannot clone %q: there is no git", a.URL), "install git, or clone it elsewhere")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxTime, fmt.Errorf("it takes longer than %s", maxTime))
	defer cancel()
	c := &clone{git: git, dir: dir}
	if err = c.prepare(); err == nil {
		commit, err = c.do(ctx, a)
	}
	if err != nil {
		return "", fmt.Errorf("cannot clone %q: %w", a.URL, err)
	}
	return commit, nil
}

type clone struct {
	git, dir string
	as       *syscall.Credential
}

// prepare makes the directory that of who git runs as.
func (c *clone) prepare() error {
	if os.Geteuid() != 0 {
		return nil
	}
	err := unix.Lchown(c.dir, nobody, nobody)
	if err == unix.EINVAL { // a user namespace with one user, who is the caller
		return nil
	}
	c.as = &syscall.Credential{Uid: nobody, Gid: nobody}
	return err
}

// show gives the calling thread, and what is started from it, a mount namespace in
// which the directory is at place.
func (c *clone) show() error {
	if err := mount.Apart(); err != nil {
		return err
	}
	if err := unix.Mount(c.dir, place, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot show git its directory: %w", err)
	}
	return nil
}

func (c *clone) do(ctx context.Context, a Address) (string, error) {
	ref := a.Ref
	if ref == "" {
		ref = "HEAD"
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--template="},
		{"fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", a.URL, ref},
		{"checkout", "--quiet", "--detach", "FETCH_HEAD"},
	} {
		if _, err := c.run(ctx, args...); err != nil {
			return "", err
		}
	}
	out, err := c.run(ctx, "rev-parse", "HEAD")
	return strings.TrimSpace(out), err
}

// run runs git, and kills it and its children when ctx ends or the files are too
// many.
func (c *clone) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	settings := []string{"core.hooksPath=/dev/null", "core.fsmonitor=false", "core.protectHFS=true", "core.protectNTFS=true", "fetch.fsckObjects=true",
		"submodule.recurse=false", "protocol.allow=never", "protocol.https.allow=always", "protocol.http.allow=always",
		"protocol.git.allow=always", "protocol.file.allow=always", "http.followRedirects=true", "credential.helper=", "gc.auto=0", "maintenance.auto=false"}
	var words []string
	for _, s := range settings {
		words = append(words, "-c", s)
	}
	cmd := exec.CommandContext(ctx, c.git, append(words, args...)...)
	cmd.Dir = c.dir
	if os.Geteuid() == 0 {
		cmd.Dir = place
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=/bin/false", "GIT_LFS_SKIP_SMUDGE=1", "LC_ALL=C"}
	for _, name := range []string{"http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "SSL_CERT_FILE", "GIT_SSL_CAINFO"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.as, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &limited{&said}
	done := make(chan struct{})
	go c.watch(ctx, cancel, done)
	err := c.start(cmd)
	close(done)
	switch {
	case err == nil:
		// It may have been faster than whoever watches.
		return out.String(), c.size()
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	}
	if text := strings.TrimSpace(said.String()); text != "" {
		err = errors.New(strings.ReplaceAll(strings.TrimPrefix(text, "fatal: "), "\n", "; "))
	}
	return "", err
}

// start runs the command on a thread of its own, which ends with it: its mount
// namespace is nobody else's.
func (c *clone) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if os.Geteuid() == 0 {
			if err := c.show(); err != nil {
				done <- err
				return
			}
		}
		done <- cmd.Run()
	}()
	return <-done
}

// watch ends git when it has written too much.
func (c *clone) watch(ctx context.Context, cancel context.CancelCauseFunc, done chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
			if err := c.size(); err != nil {
				cancel(err)
				return
			}
		}
	}
}

// size is an error if there is more in the directory than may be.
func (c *clone) size() error {
	var bytes, files int64
	err := filepath.WalkDir(c.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // git removes files of its own
		}
		if fi, err := d.Info(); err == nil {
			bytes += fi.Size()
		}
		if files++; files > maxFiles || bytes > maxBytes {
			return fmt.Errorf("it is larger than %d bytes or %d files", int64(maxBytes), maxFiles)
		}
		return nil
	})
	return err
}

// limited keeps the first bytes of what git says.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	const most = 4096
	l.b.Write(p[:min(len(p), max(0, most-l.b.Len()))])
	return len(p), nil
}
