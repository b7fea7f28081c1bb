// SPDX-License-Identifier: Apache-2.0

// Package landlock takes access to files, TCP ports, other processes' abstract
// sockets and signals away from a process (landlock(7)), as far as the running
// kernel can.
//
//	set, err := landlock.New(landlock.Rules{Reads: []string{"/etc/ssl"}})
//	child.Call("restrict", unix.SYS_LANDLOCK_RESTRICT_SELF, set.FD(), 0)
//
// The kernel keeps a domain per thread: restricting is for a child between fork
// and exec, whose threads are all born after it.
//
// What no kernel restricts: stat, chmod, chown, extended attributes, times,
// flock, and what was open before. What an older one does not:
//
//	no Landlock (or not enabled)   nothing is restricted; ABI is 0
//	ABI 1 (Linux 5.13)             everything is refused that moves a file to another directory
//	ABI 2 (5.19)                   files may be truncated, by truncate(2) and O_TRUNC
//	ABI 3 (6.2)                    TCP ports may be bound and connected
//	ABI 4 (6.7)                    ioctl on devices that may be opened
//	ABI 5 (6.10)                   abstract sockets of others, signals to others
//	up to ABI 9                    UDP, and sockets that have a path
package landlock

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Access rights (linux/landlock.h) that only read, or also run.
const (
	readRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	runRights  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	// fileRights are those that a rule for what is no directory may have.
	fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// allRights are ABI 1's: up to MAKE_SYM.
	allRights = unix.LANDLOCK_ACCESS_FS_REFER - 1
)

// Kinds of rules (enum landlock_rule_type).
const (
	rulePathBeneath = 1
	ruleNetPort     = 2
)

// scopedSignalErratum is the bit of the correction without which the threads of
// one process might not signal each other.
const scopedSignalErratum = 1 << 1

// Rules say what remains allowed; all else that the kernel can refuse is.
type Rules struct {
	// Reads are files and directories, to be read with all that is below. What
	// does not exist is passed over.
	Reads []string
	// Runs are files and directories, to be read and executed likewise, and
	// Programs are descriptors of such (O_PATH will do).
	Runs     []string
	Programs []int
	// Fills are descriptors of directories in which everything is allowed but
	// to execute and to use devices.
	Fills []int
	// ConnectTCP: TCP connections to any port, from a port of the kernel's
	// choice. Binding to a port of one's own choice is never allowed.
	ConnectTCP bool
}

// ABI is the version of the kernel's Landlock, 0 if there is none.
func ABI() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Ruleset is Rules as the kernel takes them.
type Ruleset struct{ f *os.File }

// ErrNone says that the kernel has no Landlock.
var ErrNone = errors.New("the kernel has no Landlock")

// rulesetAttr is struct landlock_ruleset_attr.
type rulesetAttr struct{ fs, net, scoped uint64 }

// New makes a ruleset as strict as the kernel can have it. Error: ErrNone.
func New(r Rules) (*Ruleset, error) {
	abi := ABI()
	if abi == 0 {
		return nil, ErrNone
	}
	attr, size := handled(abi)
	if r.ConnectTCP {
		attr.net &^= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return nil, fmt.Errorf("cannot make Landlock ruleset: %w", errno)
	}
	s := &Ruleset{os.NewFile(fd, "landlock")}
	err := s.add(r, attr.fs)
	if err == nil && r.ConnectTCP && attr.net&unix.LANDLOCK_ACCESS_NET_BIND_TCP != 0 {
		err = s.allowPort(0)
	}
	if err != nil {
		_ = s.f.Close()
		return nil, err
	}
	return s, nil
}

// handled is all that a kernel of an ABI can refuse, and the size of the
// structure it knows.
func handled(abi int) (attr rulesetAttr, size uintptr) {
	attr.fs, size = allRights, unsafe.Sizeof(attr.fs)
	if abi >= 2 {
		attr.fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.net, size = unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, 2*size
	}
	if abi >= 5 {
		attr.fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.scoped, size = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, unsafe.Sizeof(attr)
		if errata, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_ERRATA); errno == 0 && errata&scopedSignalErratum != 0 {
			attr.scoped |= unix.LANDLOCK_SCOPE_SIGNAL
		}
	}
	return attr, size
}

func (s *Ruleset) add(r Rules, known uint64) error {
	for _, p := range []struct {
		paths  []string
		rights uint64
	}{{r.Reads, readRights}, {r.Runs, readRights | runRights}} {
		for _, path := range p.paths {
			if err := s.allowPath(path, p.rights&known); err != nil {
				return fmt.Errorf("cannot allow reading %q: %w", path, err)
			}
		}
	}
	for _, fd := range r.Programs {
		if err := s.allow(fd, runRights&known); err != nil {
			return fmt.Errorf("cannot allow running a program: %w", err)
		}
	}
	for _, fd := range r.Fills {
		if err := s.allow(fd, known&^(unix.LANDLOCK_ACCESS_FS_EXECUTE|unix.LANDLOCK_ACCESS_FS_IOCTL_DEV)); err != nil {
			return fmt.Errorf("cannot allow filling a directory: %w", err)
		}
	}
	return nil
}

// allowPath is allow for what path leads to; what cannot be reached cannot be
// read either.
func (s *Ruleset) allowPath(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EACCES) {
		return nil
	}
	if err == nil {
		err = s.allow(fd, rights)
		_ = unix.Close(fd)
	}
	return err
}

// allow adds a rule for what fd is open at.
func (s *Ruleset) allow(fd int, rights uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	return s.rule(rulePathBeneath, unsafe.Pointer(&beneath{rights, int32(fd)}))
}

// allowPort lets a TCP socket be bound to a port; 0 is one that the kernel
// chooses.
func (s *Ruleset) allowPort(port uint64) error {
	attr := struct{ rights, port uint64 }{unix.LANDLOCK_ACCESS_NET_BIND_TCP, port}
	if err := s.rule(ruleNetPort, unsafe.Pointer(&attr)); err != nil {
		return fmt.Errorf("cannot allow binding to port %d: %w", port, err)
	}
	return nil
}

func (s *Ruleset) rule(kind uintptr, attr unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, s.f.Fd(), kind, uintptr(attr), 0, 0, 0)
	runtime.KeepAlive(s)
	if errno != 0 {
		return errno
	}
	return nil
}

// FD is the ruleset's descriptor, for landlock_restrict_self(2), which wants
// no_new_privs or CAP_SYS_ADMIN; it is close-on-exec and Close's to close.
func (s *Ruleset) FD() uintptr { return s.f.Fd() }

// Close gives the ruleset up; those it restricts stay restricted.
func (s *Ruleset) Close() error { return s.f.Close() }
