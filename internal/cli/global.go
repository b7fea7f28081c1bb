// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/rootless"
	"github.com/spf13/pflag"
)

// globals are the flags that every verb has, before it or after it.
type globals struct {
	person
	dir      string // "" if not given
	config   config.Dirs
	insecure insecureOptions
	debug    bool
	// trustHTTPS: keys that discovery finds over https need no review.
	trustHTTPS bool
}

func newGlobals() globals {
	return globals{config: config.Dirs{System: config.SystemDir, Local: config.LocalDir}}
}

func (g *globals) register(fs *pflag.FlagSet) {
	fs.BoolVar(&g.debug, "debug", g.debug, "print the chain of causes of an error")
	dir := each(fs, "dir", "DIR", "rkt's data directory", func(s string) error {
		if s == "" {
			return errors.New("the data directory is empty")
		}
		g.dir = s
		return nil
	})
	dir.DefValue = rootless.RootDir
	fs.StringVar(&g.config.System, "system-config", g.config.System, "`DIR` of the system's configuration")
	fs.StringVar(&g.config.Local, "local-config", g.config.Local, "`DIR` of the local configuration, over the system's")
	fs.StringVar(&g.config.User, "user-config", g.config.User, "`DIR` of the user's configuration, over the local one")
	each(fs, "insecure-options", "LIST", "protections to switch off, separated by commas: "+strings.Join(insecureNames(), ", "), g.insecure.set)
	fs.BoolVar(&g.trustHTTPS, "trust-keys-from-https", g.trustHTTPS, "trust keys that are found over https without asking")
	refuse(fs, "cpuprofile", "", "this version of rkt does not profile itself")
	refuse(fs, "memprofile", "", "this version of rkt does not profile itself")
}

// words are the flags that another rkt needs to do as this one was told, with
// paths that do not depend on the working directory.
func (g *globals) words() ([]string, error) {
	var words []string
	if g.debug {
		words = append(words, "--debug")
	}
	none := newGlobals().config
	for _, d := range []struct{ flag, dir, none string }{
		{"dir", g.dir, ""},
		{"system-config", g.config.System, none.System},
		{"local-config", g.config.Local, none.Local},
		{"user-config", g.config.User, none.User},
	} {
		if d.dir == d.none {
			continue
		}
		if d.dir != "" {
			abs, err := filepath.Abs(d.dir)
			if err != nil {
				return nil, fmt.Errorf("cannot use directory %q: %w", d.dir, err)
			}
			d.dir = abs
		}
		words = append(words, "--"+d.flag+"="+d.dir)
	}
	if list := g.insecure.names(); len(list) > 0 {
		words = append(words, "--insecure-options="+strings.Join(list, ","))
	}
	if g.trustHTTPS {
		words = append(words, "--trust-keys-from-https")
	}
	return words, nil
}

// dataDir is rkt's data directory.
func (g *globals) dataDir() (string, error) { return rootless.Directory(g.dir, g.config, g.user) }

// insecureOptions are the protections that --insecure-options switches off.
type insecureOptions struct {
	image        bool // images that nothing vouches for
	tls          bool // certificates of TLS servers
	http         bool // plain http where https is expected
	pubkey       bool // keys that come by plain http, or from a server with any certificate
	capabilities bool // the bounding set
	paths        bool // masked and read-only paths of /proc and /sys
	seccomp      bool // the system call filter
}

// insecureRows maps the names of rkt's to what they switch off. ondisk has been
// without effect since rkt 1.26: nothing is hashed at start.
var insecureRows = []struct {
	name string
	set  func(*insecureOptions)
}{
	{"none", func(o *insecureOptions) { *o = insecureOptions{} }},
	{"image", func(o *insecureOptions) { o.image = true }},
	{"tls", func(o *insecureOptions) { o.tls = true }},
	{"ondisk", func(*insecureOptions) {}},
	{"http", func(o *insecureOptions) { o.http = true }},
	{"pubkey", func(o *insecureOptions) { o.pubkey = true }},
	{"capabilities", func(o *insecureOptions) { o.capabilities = true }},
	{"paths", func(o *insecureOptions) { o.paths = true }},
	{"seccomp", func(o *insecureOptions) { o.seccomp = true }},
	{"all-fetch", func(o *insecureOptions) { o.image, o.tls, o.http, o.pubkey = true, true, true, true }},
	{"all-run", func(o *insecureOptions) { o.capabilities, o.paths, o.seccomp = true, true, true }},
	{"all", func(o *insecureOptions) { *o = insecureOptions{true, true, true, true, true, true, true} }},
}

func insecureNames() []string {
	names := make([]string, len(insecureRows))
	for i, r := range insecureRows {
		names[i] = r.name
	}
	return names
}

// set adds the options of a list; given again, the flag adds to what is there.
func (o *insecureOptions) set(list string) error {
	names := strings.Split(list, ",")
	for _, name := range names {
		i := slices.IndexFunc(insecureRows, func(r struct {
			name string
			set  func(*insecureOptions)
		}) bool {
			return r.name == name
		})
		if i < 0 {
			return fmt.Errorf("there is no option %q; there are %s", name, strings.Join(insecureNames(), ", "))
		}
		if name == "none" && len(names) > 1 {
			return errors.New("none does not go with others")
		}
		insecureRows[i].set(o)
	}
	return nil
}

// names are options that together make o of none.
func (o insecureOptions) names() (names []string) {
	var have insecureOptions
	for _, r := range insecureRows {
		with, more := have, o
		r.set(&with)
		r.set(&more)
		if more == o && with != have {
			names, have = append(names, r.name), with
		}
	}
	return names
}

// whoMay adds to an error of permission who has it.
func whoMay(err error) error {
	if err == nil || os.Geteuid() == 0 || hint.Of(err) != "" || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return hint.Wrap(err, "pods are for root alone, images for root and the members of group rkt; or use a --dir of your own")
}
