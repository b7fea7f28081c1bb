// SPDX-License-Identifier: Apache-2.0

// Package trust knows whom the administrator trusts: the keystore with OpenPGP
// keys for names of App Container images, and the policy for images of
// registries. It reads and writes those files; what is in a key, and whether a
// signature is good, is found out elsewhere (libexec/rkt/fetch).
//
// The keystore is rkt's own, in two configuration directories, the system's and
// the local one:
//
//	trustedkeys/root.d/FINGERPRINT             a key for every image
//	trustedkeys/prefix.d/PREFIX/FINGERPRINT    a key for PREFIX and what is below it
//
// A key's file is called by its primary fingerprint. Later ones override
// earlier ones of the same fingerprint: first root.d of the system, local
// root.d, then the system's prefixes of a name, shortest first, then the local
// ones. An empty local file masks the key where it is met.
package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/linux/atomicfile"
)

// What the keystore takes.
const (
	MaxKey   = 1 << 20 // bytes of one key
	maxKeys  = 1000    // keys that apply to one name, or that there are in all
	maxDepth = 64      // components of a prefix
)

// Keystore is rkt's, below two configuration directories; "" is none.
type Keystore struct{ system, local string }

// Keys is the keystore of d. The user's directory has never had keys.
func Keys(d config.Dirs) Keystore {
	below := func(dir string) string {
		if dir == "" {
			return ""
		}
		return filepath.Join(dir, "trustedkeys")
	}
	return Keystore{below(d.System), below(d.Local)}
}

// Key is one file of the keystore.
type Key struct {
	Prefix      string // "" is a root key
	Fingerprint string // the file's name
	Path        string
	Local       bool
	Masks       bool // it is empty
	// Masked: in All, a later file of the same prefix is what counts.
	Masked bool
	Data   []byte
}

// IsFingerprint says whether s is the name of a key's file: 40 lower-case
// hexadecimal digits.
func IsFingerprint(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// CheckPrefix refuses what can be no prefix of an image's name.
func CheckPrefix(prefix string) error {
	if scheme, _, ok := strings.Cut(prefix, "://"); ok {
		return fmt.Errorf("prefix %q has a scheme (%s://), which names of images do not have", prefix, scheme)
	}
	if err := aci.ACIdentifier(prefix).Validate(); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	if strings.Count(prefix, "/") >= maxDepth {
		return fmt.Errorf("prefix %q has more than %d components", prefix, maxDepth)
	}
	return nil
}

// Prefixes are the names that stand for name: its leading components, the
// shortest first, and name itself.
func Prefixes(name string) []string {
	var list []string
	for i, c := range name {
		if c == '/' {
			list = append(list, name[:i])
		}
	}
	return append(list, name)
}

// place is a directory of keys.
type place struct {
	dir    string
	prefix string
	local  bool
}

// places are where keys for name lie, in the order in which they count.
func (k Keystore) places(name string) []place {
	var list []place
	for _, base := range []struct {
		dir   string
		local bool
	}{{k.system, false}, {k.local, true}} {
		if base.dir != "" {
			list = append(list, place{filepath.Join(base.dir, "root.d"), "", base.local})
		}
	}
	for _, base := range []struct {
		dir   string
		local bool
	}{{k.system, false}, {k.local, true}} {
		if base.dir == "" {
			continue
		}
		for _, p := range Prefixes(name) {
			list = append(list, place{filepath.Join(base.dir, "prefix.d", p), p, base.local})
		}
	}
	return list
}

// For gives the keys whose word counts for the image called name, with their
// content, each fingerprint once. A file that has no business among keys, or
// cannot be read, is an error: nobody knows what it was to forbid.
func (k Keystore) For(name string) ([]Key, error) {
	if err := CheckPrefix(name); err != nil {
		return nil, fmt.Errorf("cannot look for keys: %w", err)
	}
	var list []Key
	for _, p := range k.places(name) {
		found, err := p.read()
		if err != nil {
			return nil, err
		}
		for _, key := range found {
			list = slices.DeleteFunc(list, func(o Key) bool { return o.Fingerprint == key.Fingerprint })
			if !key.Masks {
				list = append(list, key)
			}
		}
		if len(list) > maxKeys {
			return nil, fmt.Errorf("cannot read keystore: more than %d keys for %q", maxKeys, name)
		}
	}
	return list, nil
}

// Has tells whether the key of that fingerprint counts for the image called
// name. It reads nothing: two calls of stat for each component of the name.
func (k Keystore) Has(name, fingerprint string) (bool, error) {
	if err := CheckPrefix(name); err != nil || !IsFingerprint(fingerprint) {
		return false, err
	}
	has := false
	for _, p := range k.places(name) {
		st, err := os.Stat(filepath.Join(p.dir, fingerprint))
		switch {
		case missing(err):
		case err != nil:
			return false, fmt.Errorf("cannot read keystore: %w", err)
		case st.IsDir(): // a prefix that is spelled like a fingerprint
		case isMask(st):
			has = has && !p.local
		default:
			has = true
		}
	}
	return has, nil
}

// All gives every file of the keystore, masks and what they mask included, root
// keys first, then by prefix.
func (k Keystore) All() ([]Key, error) {
	var list []Key
	for _, base := range []struct {
		dir   string
		local bool
	}{{k.system, false}, {k.local, true}} {
		if base.dir == "" {
			continue
		}
		keys, err := place{filepath.Join(base.dir, "root.d"), "", base.local}.read()
		if err != nil {
			return nil, err
		}
		list = append(list, keys...)
		if keys, err = walk(filepath.Join(base.dir, "prefix.d"), "", base.local, 0); err != nil {
			return nil, err
		}
		if list = append(list, keys...); len(list) > maxKeys {
			return nil, fmt.Errorf("cannot read keystore: more than %d keys", maxKeys)
		}
	}
	for i := range list {
		list[i].Masked = slices.ContainsFunc(list[i+1:], func(o Key) bool {
			return o.Prefix == list[i].Prefix && o.Fingerprint == list[i].Fingerprint
		})
	}
	slices.SortStableFunc(list, func(a, b Key) int { return strings.Compare(a.Prefix, b.Prefix) })
	return list, nil
}

// walk reads the keys of prefix and of those below it.
func walk(dir, prefix string, local bool, depth int) ([]Key, error) {
	entries, err := os.ReadDir(dir)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read keystore: %w", err)
	}
	var list []Key
	if prefix != "" {
		if list, err = (place{dir, prefix, local}).read(); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		st, err := os.Stat(path)
		if err != nil && !missing(err) {
			return nil, fmt.Errorf("cannot read keystore: %w", err)
		}
		if err != nil || !st.IsDir() || hidden(e.Name()) {
			continue
		}
		if depth >= maxDepth { // a link may lead in a circle
			return nil, fmt.Errorf("cannot read keystore: %q is more than %d directories deep", path, maxDepth)
		}
		below := strings.TrimPrefix(prefix+"/"+e.Name(), "/")
		if err := CheckPrefix(below); err != nil {
			return nil, fmt.Errorf("cannot read keystore: %q: %w", path, err)
		}
		keys, err := walk(path, below, local, depth+1)
		if err != nil {
			return nil, err
		}
		if list = append(list, keys...); len(list) > maxKeys {
			return nil, fmt.Errorf("cannot read keystore: more than %d keys", maxKeys)
		}
	}
	return list, nil
}

// read reads the keys of one directory, by fingerprint. Directories in it are
// longer prefixes.
func (p place) read() ([]Key, error) {
	entries, err := os.ReadDir(p.dir)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read keystore: %w", err)
	}
	var list []Key
	for _, e := range entries {
		path := filepath.Join(p.dir, e.Name())
		if hidden(e.Name()) {
			continue
		}
		key := Key{Prefix: p.prefix, Fingerprint: e.Name(), Path: path, Local: p.local}
		if key.Data, err = readKey(path); errors.Is(err, errDirectory) {
			continue
		}
		if missing(err) {
			continue // removed just now
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read keystore: %w", err)
		}
		if !IsFingerprint(e.Name()) {
			return nil, hint.Wrap(fmt.Errorf("cannot read keystore: %q is not called by a fingerprint (40 hexadecimal digits)", path),
				"put keys there with `rkt trust`, and other files elsewhere")
		}
		if key.Masks = len(key.Data) == 0; key.Masks && !p.local {
			return nil, fmt.Errorf("cannot read keystore: %q is empty, and only local files mask keys", path)
		}
		list = append(list, key)
	}
	return list, nil
}

// hidden are temporary files and what editors leave.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// missing: a component of the path may also be a key's file.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// isMask: a link to /dev/null masks as an empty file does.
func isMask(st fs.FileInfo) bool {
	return st.Mode().IsRegular() && st.Size() == 0 || st.Mode()&fs.ModeCharDevice != 0
}

var errDirectory = errors.New("it is a directory")

// readKey reads a key's file; of a mask, nothing.
func readKey(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a fifo must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case st.IsDir():
		return nil, errDirectory
	case isMask(st):
		return nil, nil
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%q is no regular file", path)
	case st.Size() > MaxKey:
		return nil, fmt.Errorf("%q is larger than %d bytes", path, MaxKey)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxKey+1))
	if err == nil && (len(data) > MaxKey || len(data) == 0) {
		err = fmt.Errorf("%q changes while it is read", path)
	}
	return data, err
}

// dir is where local keys of prefix lie; "" is for root keys.
func (k Keystore) dir(prefix string) string {
	if prefix == "" {
		return filepath.Join(k.local, "root.d")
	}
	return filepath.Join(k.local, "prefix.d", prefix)
}

// Add trusts the key data, which the caller has found to have that fingerprint,
// for prefix; "" is for every image. It returns the file's path. A mask of the
// same name gives way.
func (k Keystore) Add(prefix, fingerprint string, data []byte) (path string, err error) {
	switch {
	case k.local == "":
		return "", errors.New("cannot add key: there is no local configuration directory")
	case !IsFingerprint(fingerprint) || len(data) == 0 || len(data) > MaxKey:
		return "", fmt.Errorf("cannot add key: %q with %d bytes is none", fingerprint, len(data))
	case prefix != "":
		if err := CheckPrefix(prefix); err != nil {
			return "", fmt.Errorf("cannot add key: %w", err)
		}
	}
	return k.write("add", prefix, fingerprint, data)
}

// Remove ends the trust in a key for prefix ("": as a root key). A local file
// goes; a system's key is masked by an empty local one, of which the path is
// returned. The error is ErrNoKey if there is none that counts.
func (k Keystore) Remove(prefix, fingerprint string) (mask string, err error) {
	if !IsFingerprint(fingerprint) {
		return "", fmt.Errorf("cannot remove key: %q is no fingerprint", fingerprint)
	}
	if prefix != "" {
		if err := CheckPrefix(prefix); err != nil {
			return "", fmt.Errorf("cannot remove key: %w", err)
		}
	}
	system := Keystore{system: k.system, local: k.system}
	st, err := os.Stat(filepath.Join(system.dir(prefix), fingerprint))
	below := k.system != "" && err == nil && st.Size() > 0
	path := filepath.Join(k.dir(prefix), fingerprint)
	st, err = os.Lstat(path)
	here := k.local != "" && err == nil
	switch {
	case err != nil && !missing(err):
		return "", fmt.Errorf("cannot remove key: %w", allowed(err))
	case !below && !here, here && isMask(st):
		return "", ErrNoKey
	case below:
		return k.write("mask", prefix, fingerprint, nil)
	}
	if err := os.Remove(path); err != nil {
		return "", fmt.Errorf("cannot remove key: %w", allowed(err))
	}
	return "", atomicfile.SyncDir(filepath.Dir(path))
}

// ErrNoKey is that of Remove.
var ErrNoKey = errors.New("no such key is trusted")

func (k Keystore) write(verb, prefix, fingerprint string, data []byte) (string, error) {
	dir := k.dir(prefix)
	if err := MakeDirs(dir); err != nil {
		return "", fmt.Errorf("cannot %s key: %w", verb, err)
	}
	path := filepath.Join(dir, fingerprint)
	if err := atomicfile.Write(path, data, 0o644); err != nil {
		return "", allowed(err)
	}
	return path, nil
}

// MakeDirs makes a configuration directory and those above it. Below one that
// its group owns (setgid and writable), as the set-up script leaves them to
// rkt-admin, new ones are the group's likewise, whatever the umask.
func MakeDirs(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err := MakeDirs(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o755)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // what is no directory shows soon enough
	}
	if err != nil {
		return allowed(err)
	}
	above, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o755)
	if above.Mode()&fs.ModeSetgid != 0 && above.Mode()&0o020 != 0 {
		mode = 0o775 | fs.ModeSetgid
	}
	if err := os.Chmod(dir, mode); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// allowed adds who may, to an error of permissions.
func allowed(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return hint.Wrap(err, "root may change whom this machine trusts, and members of group rkt-admin where its configuration is that group's")
	}
	return err
}
