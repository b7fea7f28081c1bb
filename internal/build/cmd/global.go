// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"os"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/compose"
	"github.com/rkt/rkt/internal/build/layer"
	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/rootless"
	"github.com/rkt/rkt/internal/ui"
)

// globals are the flags that every command has.
type globals struct {
	debug      bool
	workPath   string
	modifyAppC string
	modifyOCI  string
	noHistory  bool
	dir        string
	config     config.Dirs
	user       bool // acbuild is an ordinary user's,
	inside     bool // and root of a user namespace of theirs by now
}

func newGlobals() globals {
	_, inside, user := rootless.User()
	return globals{workPath: ".", config: config.Dirs{System: config.SystemDir, Local: config.LocalDir}, user: user, inside: inside}
}

func (g *globals) register(fs *pflag.FlagSet) {
	fs.BoolVar(&g.debug, "debug", g.debug, "print the chain of causes of an error")
	fs.StringVar(&g.workPath, "work-path", g.workPath, "the build is in `DIR`")
	fs.StringVar(&g.modifyAppC, "modify-appc", g.modifyAppC, "change the ACI `FILE` instead of a build")
	fs.StringVar(&g.modifyOCI, "modify-oci", g.modifyOCI, "change the OCI image in `FILE` or layout instead of a build")
	fs.BoolVar(&g.noHistory, "no-history", g.noHistory, "do not note the command in the image")
	fs.StringVar(&g.dir, "dir", g.dir, "rkt's data directory is `DIR`")
	fs.StringVar(&g.config.System, "system-config", g.config.System, "`DIR` of the system's configuration of rkt")
	fs.StringVar(&g.config.Local, "local-config", g.config.Local, "`DIR` of the local configuration, over the system's")
	fs.StringVar(&g.config.User, "user-config", g.config.User, "`DIR` of the user's configuration, over the local one")
}

func (g *globals) modifying() bool { return g.modifyAppC != "" || g.modifyOCI != "" }

// dataDir is rkt's data directory.
func (g *globals) dataDir() (string, error) { return rootless.Directory(g.dir, g.config, g.user) }

// env is what building takes of its surroundings; insecure does without
// signatures, certificates and TLS, as --insecure always meant.
func (a *acbuild) env(insecure bool) (compose.Env, error) {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return compose.Env{}, err
	}
	o := fetch.Options{
		Helper: helper, Policy: fetch.New, InsecureImage: insecure, InsecureTLS: insecure, InsecureHTTP: insecure,
		Dirs:      a.global.config,
		Config:    func() (*config.Config, error) { return config.Load(a.global.config) },
		Progress:  wire.ProgressLines,
		UserAgent: "acbuild/" + Version,
		Name:      "acbuild",
	}
	if f, ok := a.Err.(*os.File); ok {
		o.Stderr = f
		if ui.IsTerminal(f) {
			o.Progress = wire.ProgressBars
		}
	}
	return compose.Env{Fetch: o, DataDir: a.ownDir}, nil
}

// options say how images are made.
func (a *acbuild) options() (compose.Options, error) {
	epoch, err := layer.Epoch()
	return compose.Options{Epoch: epoch, Notes: func(what, path string) { a.say("left out: %s %q", what, path) }}, err
}

// openStore opens rkt's store.
func (a *acbuild) openStore() (*store.Store, error) {
	if err := a.needOwnDir("write to rkt's store"); err != nil {
		return nil, err
	}
	dir, err := a.global.dataDir()
	if err != nil {
		return nil, err
	}
	return store.Open(dir)
}
