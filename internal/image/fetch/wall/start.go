// SPDX-License-Identifier: Apache-2.0

package wall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/landlock"
	"github.com/rkt/rkt/internal/linux/pty"
)

// Command is a helper to be started.
type Command struct {
	Kind Kind
	Path string   // of the program
	Args []string // after the program's name; Kind is not implied
	Env  []string // all of it
	// Files are its descriptors from 0 on; nil is /dev/null. All others are
	// closed to it. They stay the caller's.
	Files []*os.File
	// Stderr, if not nil, is descriptor 2: a terminal as it is, but to be
	// written only; what goes anywhere else passes through rkt, so that the
	// helper can neither read nor cut what is there.
	Stderr io.Writer
	// Note is told, once in a process, what is missing of the walls; nil is
	// nobody.
	Note func(string)
}

// Process is a running helper.
type Process struct {
	p       *os.Process
	stop    func() bool
	relayed chan struct{}
}

// Start starts the helper behind its walls, and kills it when ctx ends or rkt
// dies. The caller calls Wait.
func (c *Command) Start(ctx context.Context) (*Process, error) {
	row, ok := Of(c.Kind)
	if !ok {
		return nil, fmt.Errorf("cannot start helper: no kind %q", c.Kind)
	}
	s := &starting{Command: c, row: row}
	defer s.close()
	pid, err := s.start()
	if err != nil {
		err = fmt.Errorf("cannot start %q: %w", c.Path, err)
		if errors.Is(err, os.ErrNotExist) && hint.Of(err) == "" {
			err = hint.Wrap(err, "rkt's programs in libexec/rkt belong beside its bin directory")
		}
		return nil, err
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	h := &Process{p: p, relayed: make(chan struct{})}
	h.stop = context.AfterFunc(ctx, h.Kill)
	relay := s.relay
	s.relay = nil
	go func() {
		defer close(h.relayed)
		if relay != nil {
			_, _ = io.Copy(plain{c.Stderr}, relay)
			_ = relay.Close()
		}
	}()
	return h, nil
}

// PID is the helper's process.
func (h *Process) PID() int { return h.p.Pid }

// Kill ends the helper at once.
func (h *Process) Kill() { _ = h.p.Kill() }

// Wait waits for the end of the helper. The error says how it ended, if that
// was not well.
func (h *Process) Wait() error {
	st, err := h.p.Wait()
	h.stop()
	<-h.relayed
	if err != nil {
		return err
	}
	ws, _ := st.Sys().(syscall.WaitStatus)
	switch {
	case ws.Signaled() && ws.Signal() == unix.SIGSYS:
		return hint.Wrap(errors.New("it made a system call that is closed to it, and was killed for it"),
			"an attack, or a fault of rkt's: the kernel's log may name the call (type=1326)")
	case !st.Success():
		return errors.New(st.String())
	}
	return nil
}

// plain passes on text without what a terminal would obey.
type plain struct{ w io.Writer }

func (p plain) Write(b []byte) (int, error) {
	text := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, string(b))
	if _, err := io.WriteString(p.w, text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// starting is a Command between Start and exec.
type starting struct {
	*Command
	row   Row
	child forkexec.Child
	open  []int // to be closed
	relay *os.File
	set   *landlock.Ruleset
	// own: the process gets a user of its own; root: it stays root.
	own, root bool
	// apart: the directory is a mount of its own, on which no device opens.
	apart    bool
	uid, gid uint32
}

func (s *starting) close() {
	for _, fd := range s.open {
		_ = unix.Close(fd)
	}
	if s.relay != nil {
		_ = s.relay.Close()
	}
	if s.set != nil {
		_ = s.set.Close()
	}
}

// keep notes that fd is to be closed.
func (s *starting) keep(fd int, err error) (int, error) {
	if err == nil {
		s.open = append(s.open, fd)
	}
	return fd, err
}

func (s *starting) start() (int, error) {
	if err := s.who(); err != nil {
		return 0, err
	}
	program, err := s.keep(unix.Open(s.Path, unix.O_PATH|unix.O_CLOEXEC, 0))
	if err == nil {
		program, err = s.keep(unix.FcntlInt(uintptr(program), unix.F_DUPFD_CLOEXEC, high))
	}
	if err != nil {
		return 0, err
	}
	files, dir, err := s.files()
	if err != nil {
		return 0, err
	}
	if err := s.landlock(program, dir); err != nil {
		return 0, err
	}
	c := &s.child
	c.Call("begin a session", unix.SYS_SETSID)
	if err := s.limits(); err != nil {
		return 0, err
	}
	if dir >= 0 && s.root {
		dot, err := c.String(".")
		if err != nil {
			return 0, err
		}
		c.Call("enter the directory to be filled", unix.SYS_FCHDIR, uintptr(dir))
		c.Call("make it the root", unix.SYS_CHROOT, dot)
	} else {
		slash, err := c.String("/")
		if err != nil {
			return 0, err
		}
		c.Call("enter /", unix.SYS_CHDIR, slash)
	}
	c.Call("set the umask", unix.SYS_UMASK, 0o077)
	if err := s.privileges(); err != nil {
		return 0, err
	}
	// After the change of user, which clears it.
	c.Call("be killed with rkt", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	c.Call("give up gaining privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	n := uintptr(len(files))
	for i, fd := range files {
		c.Call("hand over a descriptor", unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	// The program's own and the ruleset's follow, for exec to close; of all
	// others nothing is left.
	c.Call("hand over the program", unix.SYS_DUP3, uintptr(program), n, unix.O_CLOEXEC)
	if s.set != nil {
		set, err := s.keep(unix.FcntlInt(s.set.FD(), unix.F_DUPFD_CLOEXEC, high))
		if err != nil {
			return 0, err
		}
		c.Call("set up Landlock", unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(set), 0)
	}
	c.Call("close all other descriptors", unix.SYS_CLOSE_RANGE, n+1, uintptr(^uint32(0)), 0)
	if s.row.Foreign {
		p, err := s.row.Filter(0)
		if err != nil {
			return 0, err
		}
		f := p.Fprog()
		c.Keep(p)
		c.Keep(f)
		c.Call("set up the system call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(f)))
	}
	if err := s.exec(n); err != nil {
		return 0, err
	}
	pid, err := c.Start()
	runtime.KeepAlive(s)
	return pid, err
}

// who decides what the process runs as.
func (s *starting) who() (err error) {
	if os.Geteuid() != 0 {
		return nil
	}
	if s.row.Fills {
		s.root = true
		return nil
	}
	if s.uid, s.gid, err = identity(); err != nil {
		return err
	}
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("cannot read the map of users: %w", err)
	}
	groups, err := os.ReadFile("/proc/self/gid_map")
	if err != nil {
		return fmt.Errorf("cannot read the map of groups: %w", err)
	}
	// Root of a user namespace may have no second user to give.
	s.own = mapped(string(users), s.uid) && mapped(string(groups), s.gid)
	return nil
}

// high is where copies of descriptors lie, out of the way of those that the
// process will have.
const high = 128

// files gives copies of the descriptors, by number, and the directory to be
// filled, or -1.
func (s *starting) files() (files []int, dir int, err error) {
	dir = -1
	var null *os.File
	defer func() {
		if null != nil {
			_ = null.Close()
		}
	}()
	list := append(make([]*os.File, 0, 8), s.Files...)
	for len(list) < 3 {
		list = append(list, nil)
	}
	if s.Stderr != nil {
		f, err := s.stderr()
		if err != nil {
			return nil, -1, err
		}
		defer f.Close()
		list[2] = f
	}
	for i, f := range list {
		if f == nil {
			if null == nil {
				if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
					return nil, -1, err
				}
			}
			f = null
		}
		fd := -1
		if s.row.Fills && i == wire.DirFD {
			fd, err = s.directory(f)
			dir = fd
		} else {
			fd, err = s.keep(copied(f))
		}
		if err != nil {
			return nil, -1, err
		}
		files = append(files, fd)
	}
	if s.row.Fills && dir < 0 {
		return nil, -1, errors.New("no directory to be filled")
	}
	return files, dir, nil
}

// copied gives another descriptor for f, above high, in blocking mode: programs
// that are not Go's know no other. (The mode is both descriptors'.)
func copied(f *os.File) (fd int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := conn.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, high) })
	if err = cmp.Or(cerr, err); err != nil {
		return -1, err
	}
	return fd, unix.SetNonblock(fd, false)
}

// directory opens the directory in f as a mount of its own that is nowhere in
// the file system: from it, ".." leads nowhere.
func (s *starting) directory(f *os.File) (int, error) {
	fd, err := s.keep(copied(f))
	if err != nil || !s.root {
		return fd, err
	}
	tree, err := s.keep(unix.OpenTree(fd, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
	if errors.Is(err, unix.EPERM) {
		// Root of a container that may not mount. The directory will be the
		// root all the same; see privileges for the rest.
		return fd, nil
	}
	if err != nil {
		return -1, fmt.Errorf("cannot set the directory apart: %w", err)
	}
	// It may make device nodes, but not open them.
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return -1, fmt.Errorf("cannot close devices in the directory: %w", err)
	}
	s.apart = true
	if fd, err = s.keep(unix.Openat(tree, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)); err != nil {
		return -1, err
	}
	if fd, err = s.keep(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, high)); err != nil {
		return -1, err
	}
	return fd, nil
}

// stderr gives descriptor 2.
func (s *starting) stderr() (*os.File, error) {
	if f, ok := s.Stderr.(*os.File); ok {
		if t := writeOnly(f); t != nil {
			return t, nil
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	s.relay = r
	return w, nil
}

// writeOnly opens the terminal f again, for writing: terminals are handed down
// open for reading as well, and who reads them first gets what is typed. nil:
// f is no terminal, or one that cannot be opened again.
func writeOnly(f *os.File) *os.File {
	fd, err := copied(f)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if !pty.IsTerminal(fd) {
		return nil
	}
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(again), f.Name())
}

// noted: the user knows that there is no Landlock.
var noted atomic.Bool

// landlock makes the ruleset.
func (s *starting) landlock(program, dir int) error {
	rules := landlock.Rules{Reads: s.row.Reads, Runs: s.row.Runs, Programs: []int{program}, ConnectTCP: s.row.Connects}
	if s.row.Connects {
		// Where the user says the certificates are.
		for _, e := range s.Env {
			for _, name := range []string{"SSL_CERT_FILE=", "SSL_CERT_DIR="} {
				if v, ok := strings.CutPrefix(e, name); ok {
					rules.Reads = append(rules.Reads, strings.Split(v, ":")...)
				}
			}
		}
	}
	if dir >= 0 {
		rules.Fills = []int{dir}
	}
	set, err := landlock.New(rules)
	if errors.Is(err, landlock.ErrNone) {
		if !s.own && !s.root {
			return hint.Wrap(fmt.Errorf("cannot keep it from your files: %w", err),
				"run rkt as root, which gives it a user of its own; or use a kernel with Landlock (5.13, and \"landlock\" in its lsm= list)")
		}
		if s.Note != nil && !noted.Swap(true) {
			s.Note("this kernel has no Landlock; the fetch helper is held by its user, its root directory and its system call filter alone")
		}
		return nil
	}
	s.set = set
	return err
}

// limits appends the limits.
func (s *starting) limits() error {
	for _, l := range []struct {
		what  string
		which int
		most  uint64
	}{
		{"limit core files", unix.RLIMIT_CORE, 0},
		{"limit memory", unix.RLIMIT_DATA, s.row.Memory},
		{"limit files", unix.RLIMIT_FSIZE, s.row.File},
		{"limit descriptors", unix.RLIMIT_NOFILE, s.row.Descriptors},
		{"limit messages", unix.RLIMIT_MSGQUEUE, 0},
		{"limit locked memory", unix.RLIMIT_MEMLOCK, 0},
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.which, &now); err != nil {
			return err
		}
		most := min(l.most, now.Max)
		lim := &unix.Rlimit{Cur: most, Max: most}
		s.child.Keep(lim)
		s.child.Call(l.what, unix.SYS_PRLIMIT64, 0, uintptr(l.which), uintptr(unsafe.Pointer(lim)), 0)
	}
	return nil
}

// privileges appends what takes the user's, and all capabilities but the row's.
func (s *starting) privileges() error {
	c := &s.child
	now, err := caps.Current()
	if err != nil {
		return err
	}
	if !s.own && !s.root && os.Geteuid() != 0 {
		// Not root: what is there is ambient at most.
		c.Call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	} else {
		keep := caps.Set(0)
		if s.root {
			keep = s.row.Keeps & now.Permitted & now.Bounding
			if !s.apart {
				keep = keep.Without(caps.Of(unix.CAP_MKNOD)) // it could open what it makes
			}
		}
		if s.own {
			c.Call("leave all groups", unix.SYS_SETGROUPS, 0, 0)
			c.Call("change the group", unix.SYS_SETRESGID, uintptr(s.gid), uintptr(s.gid), uintptr(s.gid))
		}
		plan := caps.Root(keep).Plan(now.Bounding)
		for _, n := range plan.Drop {
			c.Call("limit capabilities", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0)
		}
		if s.own {
			c.Call("change the user", unix.SYS_SETRESUID, uintptr(s.uid), uintptr(s.uid), uintptr(s.uid))
		}
		c.Call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		c.Keep(plan)
		c.Call("give up capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(plan.Header)), uintptr(unsafe.Pointer(plan.Data)), 0)
	}
	if s.row.Connects && now.Effective.Has(unix.CAP_SYS_ADMIN) {
		// Nobody else's processes. The others start once for each layer, and no
		// call that a namespace would change is in their filters; neither are,
		// for any, those of the namespaces for IPC, host name and network.
		c.CloneFlags = unix.CLONE_NEWPID
	}
	return nil
}

// exec appends the execution of the program in descriptor n.
func (s *starting) exec(n uintptr) error {
	c := &s.child
	empty, err := c.String("")
	if err != nil {
		return err
	}
	argv, err := c.Strings(append([]string{s.Path}, s.Args...))
	if err != nil {
		return err
	}
	env, err := c.Strings(s.Env)
	if err != nil {
		return err
	}
	c.Call("execute", unix.SYS_EXECVEAT, n, empty, argv, env, unix.AT_EMPTY_PATH)
	return nil
}
