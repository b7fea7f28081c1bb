// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/agent"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/binfmt"
	"github.com/rkt/rkt/internal/linux/flock"
)

// pipes is where here-documents with a #! line are, as with BuildKit.
const pipes = "/dev/pipes"

// runCommand is RUN.
func (s *stage) runCommand(ctx context.Context, c *instructions.RunCommand) error {
	if instructions.GetSecurity(c) == instructions.SecurityInsecure {
		return errors.New("cannot run without confinement: acbuild has no --security=insecure")
	}
	if len(instructions.GetDevices(c)) > 0 {
		return errors.New("cannot give devices to a step: acbuild has no --device")
	}
	argv, script, err := s.command(c)
	if err != nil {
		return err
	}
	r := &running{s: s, step: engine.Step{
		Argv: argv, Dir: s.cfg.Config.WorkingDir, Lower: s.fs.trees,
		Engine: s.b.o.Engine, DataDir: s.b.o.DataDir,
		NetworkConfig: s.b.o.NetworkConfig, NetworkShared: s.b.o.NetworkShared, NetworkPlugins: s.b.o.NetworkPlugins,
		UserNetwork: s.b.o.UserNetwork, Hosts: s.b.o.Hosts,
	}}
	defer r.close()
	r.step.User, r.step.Group, _ = strings.Cut(s.cfg.Config.User, ":")
	r.step.Env = s.env()
	if _, ok := s.env().get("PATH"); !ok {
		r.step.Env = append(r.step.Env, "PATH="+defaultPath)
	}
	if script != nil {
		r.step.Mounts = append(r.step.Mounts, *script)
	}
	r.step.Network = instructions.GetNetwork(c)
	if r.step.Network == "" || r.step.Network == instructions.NetworkDefault {
		r.step.Network = s.b.o.Network
	}
	mounts := instructions.GetMounts(c)
	keys := []string{"run", s.fs.key, toJSON(argv), toJSON(r.step.Env), r.step.User, r.step.Group, r.step.Dir, r.step.Network, r.step.Engine}
	if len(r.step.Hosts) > 0 {
		keys = append(keys, hashKey("hosts", toJSON(r.step.Hosts)))
	}
	if script != nil {
		keys = append(keys, string(script.Secret.Content))
	}
	for _, m := range mounts {
		key, err := r.mount(ctx, m)
		if err != nil {
			if m.Target == "" {
				return fmt.Errorf("cannot mount %s: %w", m.Type, err)
			}
			return fmt.Errorf("cannot mount %s at %s: %w", m.Type, m.Target, err)
		}
		keys = append(keys, key)
	}
	// What no cache is to know.
	for _, name := range proxies() {
		if v, ok := s.b.o.Args[name]; ok {
			if _, set := s.env().get(name); !set {
				r.step.Env = append(r.step.Env, name+"="+v)
			}
		}
	}
	next, err := s.b.makeLayer(s.fs, hashKey(keys...), s.step, func(upper, work string) error {
		r.step.Upper, r.step.Work = upper, work
		return r.run(ctx)
	})
	if err != nil {
		return err
	}
	s.layered(s.runText(argv), next)
	return nil
}

// runText is Docker's line for the history.
func (s *stage) runText(argv []string) string {
	text := "RUN "
	if len(s.args) > 0 {
		text += fmt.Sprintf("|%d %s ", len(s.args), strings.Join(s.args, " "))
	}
	return text + strings.Join(argv, " ")
}

func toJSON(v []string) string {
	b, _ := json.Marshal(v) // strings: no error
	return string(b)
}

// command is the argument vector, and the mount of a here-document that is a
// program of its own.
func (s *stage) command(c *instructions.RunCommand) ([]string, *engine.Mount, error) {
	line := c.ShellDependantCmdLine
	if len(c.Files) == 0 {
		return s.shell(line), nil, nil
	}
	if len(line.CmdLine) != 1 || !line.PrependShell {
		return nil, nil, errors.New("a here-document goes with the shell form of RUN only")
	}
	text := func(f instructions.ShellInlineFile) string {
		if f.Chomp {
			return parser.ChompHeredocContent(f.Data)
		}
		return f.Data
	}
	first := c.Files[0]
	switch {
	case parser.MustParseHeredoc(line.CmdLine[0]) == nil:
		// The shell itself reads them.
		full := line.CmdLine[0]
		for _, f := range c.Files {
			full += "\n" + f.Data + f.Name
		}
		line.CmdLine = []string{full}
	case strings.HasPrefix(first.Data, "#!"):
		if strings.ContainsAny(first.Name, "/\x00") {
			return nil, nil, fmt.Errorf("here-document %q cannot be a file's name", first.Name)
		}
		target := path.Join(pipes, first.Name)
		m := &engine.Mount{Target: target, Secret: &engine.Secret{Content: []byte(text(first)), Mode: 0o755}}
		line.CmdLine = []string{target}
		return s.shell(line), m, nil
	default:
		line.CmdLine = []string{text(first)}
	}
	return s.shell(line), nil, nil
}

// running is one RUN.
type running struct {
	s       *stage
	step    engine.Step
	cleanup []func()
	locks   []func() error // taken when the command really runs
	agents  int            // mounts of SSH agents
}

func (r *running) close() {
	for _, f := range slices.Backward(r.cleanup) {
		f()
	}
}

func (r *running) run(ctx context.Context) error {
	if arch := r.s.cfg.Architecture; arch != "" && !binfmt.Runs(arch) {
		return hint.Wrap(fmt.Errorf("cannot run a program for %s on this machine: the kernel knows no interpreter for it", r.s.cfg.Platform),
			"Debian's package qemu-user-static registers some with binfmt_misc; or let a stage FROM --platform=$BUILDPLATFORM do the work, and COPY from it")
	}
	for _, l := range r.locks {
		if err := l(); err != nil {
			return err
		}
	}
	out := &lines{out: r.s.b.o.Output, mu: &r.s.b.out, prefix: r.s.name() + " | "}
	if out.out != nil {
		r.step.Stdout, r.step.Stderr = out, out
	}
	status, err := engine.Run(ctx, r.step)
	out.flush()
	if err != nil {
		if ctx.Err() != nil {
			return errOther
		}
		return err
	}
	if status != 0 {
		return &StatusError{status}
	}
	return nil
}

// mount adds a mount and gives what the cache is to know of it.
func (r *running) mount(ctx context.Context, m *instructions.Mount) (key string, err error) {
	target := m.Target
	if target != "" && !path.IsAbs(target) {
		target = path.Join("/", r.s.cfg.Config.WorkingDir, target)
	}
	switch m.Type {
	case instructions.MountTypeBind, "":
		return r.bind(ctx, m, target)
	case instructions.MountTypeCache:
		return r.cacheMount(ctx, m, target)
	case instructions.MountTypeTmpfs:
		r.step.Mounts = append(r.step.Mounts, engine.Mount{Target: target, Tmpfs: &engine.Tmpfs{Size: m.SizeLimit}})
		return hashKey("tmpfs", target, fmt.Sprint(m.SizeLimit)), nil
	case instructions.MountTypeSecret:
		return r.secret(m, target)
	case instructions.MountTypeSSH:
		return r.agent(m, target)
	}
	return "", fmt.Errorf("there is no type %q", m.Type)
}

// bind shows a part of a stage, an image or the context. What is written there is
// lost.
func (r *running) bind(ctx context.Context, m *instructions.Mount, target string) (string, error) {
	at := path.Join("/", m.Source)
	if m.From == "" {
		return r.bindContext(r.s.b.context, m, target)
	}
	if dir := r.s.sources[m.From].context; dir != "" {
		return r.bindContext(r.s.b.named[dir], m, target)
	}
	var src stack
	var err error
	if m.From == "scratch" {
		src = stack{key: hashKey("scratch")}
	} else if src, err = r.s.b.tree(ctx, r.s.sources[m.From]); err != nil {
		return "", err
	}
	if len(src.trees) == 0 {
		dir, err := r.s.b.cache.Work()
		if err != nil {
			return "", err
		}
		src.trees = []string{dir}
	}
	r.step.Mounts = append(r.step.Mounts, engine.Mount{Target: target, Trees: src.trees, Source: at, ReadOnly: m.ReadOnly})
	return hashKey("bind", src.key, at, target, fmt.Sprint(m.ReadOnly)), nil
}

// bindContext shows what is not ignored of a context.
func (r *running) bindContext(f *files, m *instructions.Mount, target string) (string, error) {
	found, err := f.find(m.Source)
	if err != nil {
		return "", err
	}
	seen := map[string]seenFile{}
	sum, err := f.sum(found[0], nil, seen)
	if err != nil {
		return "", err
	}
	dir, err := r.s.b.cache.Work()
	if err != nil {
		return "", err
	}
	em := engine.Mount{Target: target, Trees: []string{dir}, Source: "/" + contextName, ReadOnly: m.ReadOnly}
	r.locks = append(r.locks, func() error { return r.s.copyPlain(f, found[0], dir, "/"+contextName, seen) })
	st, err := f.stat(found[0].real)
	if err != nil {
		return "", err
	}
	// The engine looks at it before the copy is there to see what it is.
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.Mkdir(filepath.Join(dir, contextName), 0o755)
	}
	r.step.Mounts = append(r.step.Mounts, em)
	return hashKey("context", sum, target, fmt.Sprint(m.ReadOnly)), err
}

// contextName is what a copy out of the context is called.
const contextName = "context"

// copyPlain copies a match to a directory of the build's own.
func (s *stage) copyPlain(f *files, m match, dir, dest string, seen map[string]seenFile) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	p := &placer{root: fd, links: map[[2]uint64]string{}, seen: seen, warn: s.b.o.warn}
	return p.into(f, m, dest)
}

// cacheMount is a directory that lives on from build to build.
func (r *running) cacheMount(ctx context.Context, m *instructions.Mount, target string) (string, error) {
	id := m.CacheID
	if id == "" {
		id = path.Clean(target)
	}
	var src stack
	if m.From != "" && m.From != "scratch" {
		var err error
		if src, err = r.s.b.tree(ctx, r.s.sources[m.From]); err != nil {
			return "", err
		}
	}
	key := hashKey("cache", id, src.key, m.Source)
	i := len(r.step.Mounts)
	// The place is needed for the engine to know that it is a directory.
	r.step.Mounts = append(r.step.Mounts, engine.Mount{Target: target, ReadOnly: m.ReadOnly})
	r.locks = append(r.locks, func() error {
		dir, err := r.cacheDir(ctx, m, key, src)
		r.step.Mounts[i].Source = dir
		return err
	})
	return hashKey("cache", id, target, fmt.Sprint(m.ReadOnly)), nil
}

// cacheDir finds the directory, under the lock that its sharing wants.
func (r *running) cacheDir(ctx context.Context, m *instructions.Mount, key string, src stack) (string, error) {
	how := flock.Shared
	if m.CacheSharing == instructions.MountSharingLocked || m.CacheSharing == instructions.MountSharingPrivate {
		how = flock.Exclusive
	}
	for n := 0; ; n++ {
		id := key
		if n > 0 {
			id = fmt.Sprintf("%s-%d", key, n)
		}
		dir, err := r.s.b.cache.Mount(id, func(dir string) error { return r.fillCache(m, dir, src) })
		if err != nil {
			return "", err
		}
		f, err := os.Open(dir)
		if err != nil {
			return "", err
		}
		r.cleanup = append(r.cleanup, func() { f.Close() })
		if m.CacheSharing == instructions.MountSharingPrivate {
			if err := flock.TryLock(f, how); errors.Is(err, flock.ErrBusy) {
				continue // somebody else's: another one
			} else if err != nil {
				return "", err
			}
		} else if err := waitLock(ctx, f, how); err != nil {
			return "", err
		}
		return dir, nil
	}
}

// fillCache makes of an empty directory what a cache mount begins as.
func (r *running) fillCache(m *instructions.Mount, dir string, src stack) error {
	mode, uid, gid := uint32(0o755), 0, 0
	if src.trees != nil {
		f, err := r.s.b.view(src)
		if err != nil {
			return err
		}
		defer f.close()
		f.name = "the source"
		found, err := f.find(m.Source)
		if err != nil {
			return err
		}
		st, err := f.stat(found[0].real)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = fmt.Errorf("its source %q is no directory", m.Source)
		}
		if err != nil {
			return err
		}
		mode, uid, gid = st.Mode&0o7777, int(st.Uid), int(st.Gid)
		if err := r.s.copyPlain(f, found[0], dir, "/", nil); err != nil {
			return err
		}
	}
	mode, uid, gid = given(m, mode, uid, gid)
	if err := unix.Lchown(dir, uid, gid); err != nil {
		return &os.PathError{Op: "chown", Path: dir, Err: err}
	}
	return unix.Chmod(dir, mode&0o7777)
}

// given are the mode and the owner of what is mounted, where the mount says them.
func given(m *instructions.Mount, mode uint32, uid, gid int) (uint32, int, int) {
	if m.Mode != nil {
		mode = uint32(*m.Mode)
	}
	if m.UID != nil {
		uid = int(*m.UID)
	}
	if m.GID != nil {
		gid = int(*m.GID)
	}
	return mode, uid, gid
}

// waitLock waits for a lock, or for ctx to end.
func waitLock(ctx context.Context, f *os.File, how flock.Mode) error {
	got := make(chan error, 1)
	go func() { got <- flock.Lock(f, how) }()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return errOther // the process ends soon, and the lock with it
	}
}

// maxSecret bounds a secret, bytes.
const maxSecret = 500 << 10

func (r *running) secret(m *instructions.Mount, target string) (string, error) {
	id := m.CacheID
	if id == "" && target != "" {
		id = path.Base(target)
	}
	if id == "" {
		return "", errors.New("a secret needs an id or a target")
	}
	content, found, err := r.s.b.secretContent(id)
	if err != nil {
		return "", err
	}
	if !found {
		if m.Required {
			return "", hint.Wrap(fmt.Errorf("secret %q is required", id), "give it with --secret id="+id+",src=FILE")
		}
		return hashKey("secret", id, target), nil
	}
	if m.Env != nil {
		name := *m.Env
		if name == "" {
			name = id
		}
		r.step.Env = append(r.step.Env, name+"="+string(content))
	}
	if m.Env == nil || target != "" {
		if target == "" {
			target = "/run/secrets/" + id
		}
		sec := &engine.Secret{Content: content}
		sec.Mode, sec.UID, sec.GID = given(m, 0o400, 0, 0)
		r.step.Mounts = append(r.step.Mounts, engine.Mount{Target: target, Secret: sec})
	}
	return hashKey("secret", id, target), nil
}

// secretContent reads a secret. It enters no key: what a secret is must not
// be guessed from the cache.
func (b *Builder) secretContent(id string) ([]byte, bool, error) {
	sec, ok := b.o.Secrets[id]
	switch {
	case !ok:
		return nil, false, nil
	case sec.Env != "":
		v, ok := os.LookupEnv(sec.Env)
		return []byte(v), ok, nil
	}
	f, err := os.Open(sec.File)
	if err != nil {
		return nil, false, fmt.Errorf("cannot read secret %q: %w", id, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(text) > maxSecret {
		err = fmt.Errorf("secret %q is larger than %d bytes", id, maxSecret)
	}
	return text, true, err
}

// agent lets the command ask an SSH agent, at a socket that is there as long as it
// runs. What the agent says enters no key.
func (r *running) agent(m *instructions.Mount, target string) (string, error) {
	if m.Source != "" {
		return "", errors.New("an SSH agent has no source: its id says which one it is")
	}
	id := m.CacheID
	if id == "" {
		id = "default"
	}
	if target == "" {
		target = fmt.Sprintf("/run/buildkit/ssh_agent.%d", r.agents)
	}
	r.agents++
	key := hashKey("ssh", id, target)
	ask := r.s.b.o.Agents[id]
	if ask == nil {
		if m.Required {
			return "", hint.Wrap(fmt.Errorf("SSH agent %q is required", id), "give it with --ssh "+id+", for the one that SSH_AUTH_SOCK names, or --ssh "+id+"=SOCKET")
		}
		return key, nil
	}
	mode, uid, gid := given(m, 0o600, 0, 0)
	if _, ok := vars(r.step.Env).get("SSH_AUTH_SOCK"); !ok {
		r.step.Env = append(r.step.Env, "SSH_AUTH_SOCK="+target)
	}
	i := len(r.step.Mounts)
	r.step.Mounts = append(r.step.Mounts, engine.Mount{Target: target, ReadOnly: true})
	r.locks = append(r.locks, func() error {
		dir, err := r.s.b.cache.Work()
		if err != nil {
			return err
		}
		f, err := agent.Listen(dir, ask)
		if err != nil {
			return fmt.Errorf("cannot forward SSH agent %q: %w", id, err)
		}
		r.cleanup = append(r.cleanup, func() { _ = f.Close() })
		r.step.Mounts[i].Source = f.Path
		if err := (owner{uid, gid}).give(unix.AT_FDCWD, f.Path); err != nil {
			return fmt.Errorf("cannot give SSH agent %q to %d:%d: %w", id, uid, gid, err)
		}
		return unix.Chmod(f.Path, mode&0o777)
	})
	return key, nil
}

// sumText is a digest of a text.
func sumText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
