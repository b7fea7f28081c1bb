// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
)

// A Dir is a directory of network configurations.
type Dir struct {
	Path string
	// Foreign: not rkt's alone, as /etc/cni/net.d. A broken file there is
	// somebody else's, and no reason to refuse what other files say.
	Foreign bool
}

// Networks are the configurations of several directories.
type Networks struct {
	// List has each name once, in the order of file names.
	List []*Network
	// Hidden are configurations whose name a directory before theirs gives too.
	Hidden []*Network
	// Broken are the errors of files in Foreign directories.
	Broken []error
}

// Load reads all configurations of dirs. For a name that several directories
// give, the first one counts; twice in one directory is an error, unless that is
// Foreign, where the first file counts, as it does for others who read it. A
// directory that does not exist is an empty one.
func Load(dirs []Dir) (*Networks, error) {
	all := new(Networks)
	for _, d := range dirs {
		here, err := loadDir(d, all)
		if err != nil {
			return nil, err
		}
		for _, n := range here {
			if _, ok := all.find(n.Name); ok {
				all.Hidden = append(all.Hidden, n)
				continue
			}
			all.List = append(all.List, n)
		}
	}
	slices.SortStableFunc(all.List, func(a, b *Network) int {
		return cmp.Compare(filepath.Base(a.File), filepath.Base(b.File))
	})
	return all, nil
}

func (all *Networks) find(name string) (*Network, bool) {
	i := slices.IndexFunc(all.List, func(n *Network) bool { return n.Name == name })
	if i < 0 {
		return nil, false
	}
	return all.List[i], true
}

// Find returns the network of that name. Where there is none, but a file that
// could not be read, the error says so: the name may be in it.
func (all *Networks) Find(name string) (*Network, error) {
	if n, ok := all.find(name); ok {
		return n, nil
	}
	err := fmt.Errorf("cannot find network %q: no configuration has that name", name)
	if len(all.Broken) > 0 {
		return nil, hint.Wrap(err, fmt.Sprintf("a file was passed over: %v", all.Broken[0]))
	}
	return nil, err
}

// loadDir reads one directory, in the order of names.
func loadDir(d Dir, all *Networks) ([]*Network, error) {
	names, err := configFiles(d.Path, ".conflist", ".conf", ".json")
	if err != nil {
		return nil, fmt.Errorf("cannot read network configurations: %w", err)
	}
	var list []*Network
	for _, name := range names {
		path := filepath.Join(d.Path, name)
		n, err := loadFile(path)
		if err == nil && n != nil {
			if i := slices.IndexFunc(list, func(o *Network) bool { return o.Name == n.Name }); i >= 0 {
				err = fmt.Errorf("name %q is already given by %q in the same directory", n.Name, filepath.Base(list[i].File))
			}
		}
		switch {
		case err != nil && d.Foreign:
			all.Broken = append(all.Broken, fmt.Errorf("cannot read network configuration %q: %w", path, err))
		case err != nil:
			return nil, fmt.Errorf("cannot read network configuration %q: %w", path, err)
		case n != nil:
			n.File, n.Foreign = path, d.Foreign
			list = append(list, n)
		}
	}
	return list, nil
}

// loadFile reads one file, and for a list the plugins in the directory of its
// name beside it; nil for what is not a regular file.
func loadFile(path string) (*Network, error) {
	text, err := config.ReadRegular(path)
	if err != nil || text == nil {
		return nil, cause(err)
	}
	parse := ParseSingle
	if strings.HasSuffix(path, ".conflist") {
		parse = ParseList
	}
	n, err := parse(text)
	if err != nil {
		return nil, err
	}
	if n.more {
		if err := n.addPlugins(filepath.Join(filepath.Dir(path), n.Name)); err != nil {
			return nil, err
		}
	}
	if len(n.Plugins) == 0 {
		return nil, errors.New("there is no plugin in it")
	}
	return n, nil
}

// addPlugins appends the plugins in dir, one a file.
func (n *Network) addPlugins(dir string) error {
	names, err := configFiles(dir, ".conf")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := config.ReadRegular(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if text == nil {
			continue
		}
		keys, err := object(text)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(n.Name, name), err)
		}
		p, err := plugin(keys)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(n.Name, name), err)
		}
		if n.Plugins = append(n.Plugins, p); len(n.Plugins) > maxPlugins {
			return fmt.Errorf("it has more than %d plugins", maxPlugins)
		}
	}
	return nil
}

// configFiles are the names in dir that end in one of the suffixes, sorted.
func configFiles(dir string, suffixes ...string) ([]string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) && name != s })
	})
	slices.Sort(names)
	return names, nil
}

// cause drops the file's name from an error that will be told with it.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
