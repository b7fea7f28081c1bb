// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/dockerfile"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/layer"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/ui"
	"github.com/rkt/rkt/internal/ui/flags"
)

// building are the flags of build.
type building struct {
	file, target, platform, network, engine, cacheDir string
	args, labels, contexts                            map[string]string
	secrets                                           map[string]dockerfile.Secret
	agents                                            []sshAgent
	hosts                                             []string
	tags, outputs                                     []string
	noCache, pull, insecure, overwrite, quiet         bool
	idFile                                            string
}

// newBuild has `acbuild build`, for Dockerfiles, and what looks after its cache.
func newBuild(a *acbuild) []*command {
	w := &building{args: map[string]string{}, labels: map[string]string{}, contexts: map[string]string{}, secrets: map[string]dockerfile.Secret{},
		network: engine.NetworkDefault, engine: engine.Native}
	build := &command{
		name: "build", usage: "[OPTION…] [CONTEXT]", short: "build an image from a Dockerfile",
		long: `Builds the image that a Dockerfile describes, and prints its ID. CONTEXT is the
directory that COPY and ADD take files from, "." if left out; nothing leads out of it,
and .dockerignore hides some of it. It may be a tar, compressed or not, - for one on
standard input, or a git repository: https://HOST/NAME.git[#REF[:DIR]]. The Dockerfile
is then one of its files. docs/dockerfile.md says what is understood.

The image goes into rkt's store, under the names of --tag, unless --output says
otherwise; both may be given several times. --output takes what acbuild write does.

Independent stages are built at the same time. What an instruction makes is kept, by
all that went into it, for the next build: acbuild cache lists it, and prunes it.

A base image that is not stored is fetched. One that nothing vouches for is refused
unless --insecure accepts the risk. A command sees rkt's default network, unless
--network or the RUN itself says host or none.

An ordinary user builds in a user namespace, with the users that the user has ids
for (docs/rootless.md).

For another platform than this machine's, bases are asked for at their registries, and
a RUN takes an interpreter that the kernel knows (binfmt_misc).

If a RUN fails, its status is acbuild's.`,
		example: `  acbuild build --tag=example.com/web:1.2 .
  acbuild build -f web.Dockerfile --target=test --build-arg VERSION=1.2 --output=oci:./images:web ./src
  acbuild build --secret id=token,src=$HOME/.token --output=docker://registry.example.com/web:1.2`,
		args: atMost("CONTEXT"), alone: true, need: always,
		flags: func(fs *pflag.FlagSet) {
			fs.StringVarP(&w.file, "file", "f", "", "the Dockerfile is `FILE`, - for standard input; Dockerfile or Containerfile in CONTEXT if left out")
			fs.StringVar(&w.target, "target", "", "build `STAGE`, not the last")
			fs.StringVar(&w.platform, "platform", "", "build for `OS/ARCH`, and not for this machine; several, with commas between, make an index")
			fs.StringVar(&w.network, "network", w.network, "the `NETWORK` of commands: default, host or none")
			fs.StringVar(&w.engine, "engine", w.engine, "how commands are run: `ENGINE` is native or chroot, which is no isolation")
			fs.StringVar(&w.cacheDir, "cache-dir", "", "the cache is in `DIR`, and not in rkt's data directory")
			pairs(fs, "build-arg", "NAME[=VALUE]", "give the ARG a value, the environment's if it is left out", w.args, true)
			pairs(fs, "label", "NAME=VALUE", "label the image", w.labels, false)
			pairs(fs, "build-context", "NAME=IMAGE|CONTEXT", "where the file says NAME, it means IMAGE, or after COPY --from and RUN --mount=from the files of CONTEXT", w.contexts, false)
			flags.Each(fs, "add-host", "NAME:IP", "commands know the address of NAME; their /etc/hosts is not the image's then", w.addHost)
			flags.Each(fs, "secret", "id=ID,src=FILE", "let RUN --mount=type=secret,id=ID see FILE; env=NAME takes it from the environment", w.secret)
			flags.Each(fs, "ssh", "ID[=SOCKET|KEY…]", "let RUN --mount=type=ssh,id=ID ask the SSH agent at SOCKET, SSH_AUTH_SOCK's if left out, or one that has the files KEY,KEY…; the id that RUN has without one is default", w.ssh)
			fs.VarP(flags.Func{Call: add(&w.tags), Word: "NAME"}, "tag", "t", "call the image NAME in rkt's store")
			fs.VarP(flags.Func{Call: add(&w.outputs), Word: "OUT"}, "output", "o", "write the image to OUT, see acbuild write")
			fs.BoolVar(&w.noCache, "no-cache", false, "make everything anew")
			fs.BoolVar(&w.pull, "pull", false, "ask registries whether base images have changed")
			fs.BoolVar(&w.insecure, "insecure", false, "use base images that nothing vouches for, and do without TLS")
			fs.BoolVar(&w.overwrite, "overwrite", false, "replace what --output names, or add to a layout")
			fs.BoolVarP(&w.quiet, "quiet", "q", false, "print the ID, and nothing else unless it fails")
			fs.StringVar(&w.idFile, "iidfile", "", "write the image's ID to `FILE`, too")
		},
		run: func(ctx context.Context, args []string) error { return a.build(ctx, w, args) },
	}
	return append([]*command{build}, newCache(a)...)
}

// pairs is a flag of NAME=VALUE.
func pairs(fs *pflag.FlagSet, name, word, usage string, into map[string]string, environment bool) {
	flags.Each(fs, name, word, usage, func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok && environment {
			if v, ok = os.LookupEnv(k); !ok { // as if it were not there
				return nil
			}
		}
		if k == "" || !ok {
			return fmt.Errorf("%q is not like %s", s, word)
		}
		into[k] = v
		return nil
	})
}

// addHost reads NAME:IP, or NAME=IP, of /etc/hosts.
func (w *building) addHost(text string) error {
	name, word, ok := strings.Cut(text, "=")
	if !ok {
		name, word, ok = strings.Cut(text, ":")
	}
	if word == "host-gateway" {
		return errors.New("host-gateway is no address: acbuild has no bridge that leads to the host; name the address")
	}
	ip, err := netip.ParseAddr(strings.Trim(word, "[]"))
	if !ok || err != nil || ip.Zone() != "" || pod.ValidateHostname(name) != nil {
		return fmt.Errorf("%q is not like example.com:192.0.2.1", text)
	}
	w.hosts = append(w.hosts, ip.String()+"\t"+name)
	return nil
}

func add(list *[]string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("it is empty")
		}
		*list = append(*list, s)
		return nil
	}
}

// secret reads id=ID[,src=FILE][,env=NAME][,type=file|env].
func (w *building) secret(text string) error {
	var id string
	var s dockerfile.Secret
	for field := range strings.SplitSeq(text, ",") {
		k, v, ok := strings.Cut(field, "=")
		switch {
		case !ok || v == "":
			return fmt.Errorf("%q is not like id=ID,src=FILE", text)
		case k == "id":
			id = v
		case k == "src" || k == "source":
			s.File = v
		case k == "env":
			s.Env = v
		case k == "type" && (v == "file" || v == "env"):
		default:
			return fmt.Errorf("nothing is known of %q in a secret", field)
		}
	}
	switch {
	case id == "":
		return fmt.Errorf("%q has no id", text)
	case s.File != "" && s.Env != "":
		return fmt.Errorf("secret %q is either in a file or in the environment", id)
	case s == dockerfile.Secret{}:
		if _, ok := os.LookupEnv(id); ok { // as docker build has it
			s.Env = id
		} else {
			s.File = id
		}
	}
	w.secrets[id] = s
	return nil
}

// build is `acbuild build`.
func (a *acbuild) build(ctx context.Context, w *building, args []string) (err error) {
	targets, err := w.targets()
	if err != nil {
		return err
	}
	platforms, err := w.platforms()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := t.TakesSeveral(); err != nil && len(platforms) > 1 {
			return err
		}
	}
	st, err := a.openStore()
	if err != nil {
		return err
	}
	defer st.Close()
	env, err := a.env(w.insecure)
	if err != nil {
		return err
	}
	if w.quiet {
		env.Fetch.Progress = wire.ProgressNone
	}
	word := "."
	if len(args) == 1 {
		word = args[0]
	}
	cacheDir, err := a.cacheDir(w.cacheDir)
	if err != nil {
		return err
	}
	src, err := a.context(ctx, word, cacheDir, env.Fetch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.remove()) }()
	o, err := a.buildOptions(w, src, env.Fetch, st)
	if err != nil {
		return err
	}
	o.CacheDir = cacheDir
	more, err := a.namedContexts(ctx, w.contexts, cacheDir, &o)
	defer func() { err = errors.Join(err, more()) }()
	if err != nil {
		return err
	}
	var end func() error
	if o.Agents, end, err = a.sshAgents(ctx, w.agents, env.Fetch); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	var images []output.Image
	scratch, progress := "", o.Progress
	for _, p := range platforms {
		o.Platform = p
		if len(platforms) > 1 {
			o.Progress = named{progress, p.String()}
		}
		b, err := dockerfile.New(o)
		if err != nil {
			return cannotBuild(err)
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		im, err := b.Build(ctx)
		if err != nil {
			if s := (*dockerfile.StatusError)(nil); errors.As(err, &s) {
				return &exitError{s.Status, cannotBuild(err)}
			}
			if ctx.Err() != nil {
				return errors.New("cannot build: interrupted")
			}
			return cannotBuild(err)
		}
		images = append(images, im)
		if scratch, err = b.Scratch(); err != nil {
			return err
		}
	}
	var id string
	for _, t := range targets {
		opt := output.Options{Overwrite: w.overwrite, Fetch: o.Fetch, OpenStore: a.openStore, Scratch: scratch, Packing: export.Packing{Latest: o.Epoch}}
		var written output.Written
		if len(images) == 1 {
			written, err = output.Write(ctx, images[0], t, opt)
		} else {
			written, err = output.WriteSeveral(ctx, images, t, opt)
		}
		if err != nil {
			return err
		}
		id = string(written.ID)
	}
	if w.idFile != "" {
		if err := os.WriteFile(w.idFile, []byte(id), 0o644); err != nil {
			return fmt.Errorf("cannot write the image's ID: %w", err)
		}
	}
	_, err = fmt.Fprintln(a.Out, id)
	return err
}

// platforms are those of --platform, or this machine's.
func (w *building) platforms() (list []ociconfig.Platform, err error) {
	if w.platform == "" {
		return []ociconfig.Platform{ociconfig.Host()}, nil
	}
	for word := range strings.SplitSeq(w.platform, ",") {
		p, err := dockerfile.ParsePlatform(word)
		if err != nil {
			return nil, fmt.Errorf("cannot build for %q: %w", word, err)
		}
		if slices.Contains(list, p) {
			return nil, fmt.Errorf("cannot build for %q: it is there twice", word)
		}
		list = append(list, p)
	}
	return list, nil
}

// cannotBuild says of an error with a place in a Dockerfile what it is about.
func cannotBuild(err error) error {
	if strings.HasPrefix(err.Error(), "cannot ") {
		return err
	}
	return fmt.Errorf("cannot build %w", err)
}

// targets are where the image goes.
func (w *building) targets() ([]output.Target, error) {
	words := slices.Clone(w.outputs)
	for _, t := range w.tags {
		words = append(words, "store:"+t)
	}
	if len(words) == 0 {
		words = []string{"store"}
	}
	var list []output.Target
	for _, word := range words {
		t, err := output.Parse(word)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

func (a *acbuild) buildOptions(w *building, src *source, get fetch.Options, st *store.Store) (o dockerfile.Options, err error) {
	if o.Epoch, err = layer.Epoch(); err != nil {
		return o, err
	}
	bases := get
	if w.pull {
		bases.Policy = fetch.Update
	}
	o.File, o.FileInContext, o.Context, o.Target = w.dockerfile(src), w.file == "" || src.made && w.file != "-", src.dir, w.target
	o.Text, o.ContextMade = src.text, src.made
	o.Args, o.Labels, o.Secrets, o.Hosts = w.args, w.labels, w.secrets, w.hosts
	o.NoCache, o.Network, o.Engine, o.UserNetwork = w.noCache, w.network, w.engine, a.userNetwork()
	if o.DataDir, err = a.global.dataDir(); err != nil {
		return o, err
	}
	o.Bases, o.Fetch = dockerfile.Stored{Store: st, Fetch: bases}, get
	if !slices.Contains([]string{engine.NetworkDefault, engine.NetworkHost, engine.NetworkNone}, w.network) {
		return o, fmt.Errorf("cannot build with network %q: want default, host or none", w.network)
	}
	if o.Engine != engine.Native && o.Engine != engine.Chroot {
		return o, fmt.Errorf("cannot build by engine %q: want native or chroot", o.Engine)
	}
	if o.Engine == engine.Chroot && a.global.user {
		return o, hint.Wrap(errors.New("cannot build by engine chroot as an unprivileged user: it shows the host's /proc and /dev, which takes root"), "--engine=native, the default, does without")
	}
	if o.Engine == engine.Chroot { // it has no other
		o.Network = engine.NetworkHost
	}
	if o.Network == engine.NetworkDefault {
		if err := a.networkPlaces(&o); err != nil {
			return o, err
		}
	}
	p := newProgress(a.Err, w.quiet)
	o.Progress, o.Output, o.Warn = p, p, func(s string) { a.say("%s", s) }
	return o, nil
}

// dockerfile is the path of the Dockerfile.
func (w *building) dockerfile(src *source) string {
	if src.text != nil {
		return "-"
	}
	if w.file != "" {
		return src.inContext(w.file)
	}
	name := filepath.Join(src.dir, "Dockerfile")
	if _, err := os.Lstat(name); err != nil {
		if other := filepath.Join(src.dir, "Containerfile"); exists(other) {
			name = other
		}
	}
	if src.made {
		return name
	}
	// As the user would type it.
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, name); err == nil && !strings.HasPrefix(rel, "../") {
			return rel
		}
	}
	return name
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// networkPlaces is where networks are configured, as for rkt run.
func (a *acbuild) networkPlaces(o *dockerfile.Options) error {
	d := a.global.config
	for _, dir := range []string{d.User, d.Local, d.System} {
		if dir == "" {
			continue
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("cannot use configuration directory %q: %w", dir, err)
		}
		o.NetworkConfig = append(o.NetworkConfig, filepath.Join(abs, "net.d"))
	}
	paths, err := config.LoadPaths(d)
	o.NetworkShared, o.NetworkPlugins = paths.CNINetworks, paths.CNIPlugins
	return err
}

// cacheDir is the directory of the build cache.
func (a *acbuild) cacheDir(flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	dir, err := a.global.dataDir()
	return filepath.Join(dir, "build"), err
}

// progress prints a line for each instruction and what commands print; with quiet
// only once something has failed. It is a dockerfile.Progress and its Output.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	kept     *strings.Builder // with quiet
}

func newProgress(out io.Writer, quiet bool) *progress {
	p := &progress{out: out}
	if f, ok := out.(*os.File); ok {
		p.terminal = ui.IsTerminal(f)
	}
	if quiet {
		p.kept = new(strings.Builder)
	}
	return p
}

func (p *progress) Begin(s dockerfile.Step, cached bool) {
	if s.Unprinted && !p.terminal || p.kept != nil {
		return
	}
	note := ""
	if cached {
		note = " (cached)"
	}
	p.print(s, s.Text+note)
}

func (p *progress) End(s dockerfile.Step, took time.Duration, err error) {
	if p.kept != nil && err != nil {
		p.mu.Lock()
		_, _ = io.WriteString(p.out, p.kept.String())
		p.mu.Unlock()
		return
	}
	const long = 500 * time.Millisecond
	if p.kept == nil && p.terminal && err == nil && took > long {
		p.print(s, fmt.Sprintf("done in %.1f s", took.Seconds()))
	}
}

// named says of which platform a step is.
type named struct {
	dockerfile.Progress
	platform string
}

func (n named) Begin(s dockerfile.Step, cached bool) {
	s.Stage = n.platform + " " + s.Stage
	n.Progress.Begin(s, cached)
}

func (n named) End(s dockerfile.Step, took time.Duration, err error) {
	s.Stage = n.platform + " " + s.Stage
	n.Progress.End(s, took, err)
}

func (p *progress) print(s dockerfile.Step, text string) {
	head := fmt.Sprintf("[%s %d/%d] ", s.Stage, s.Number, s.Of)
	if p.terminal {
		head = "\x1b[1m" + head + "\x1b[0m"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, head+ui.Escape(text)+"\n")
}

func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const most = 1 << 20
	if p.kept != nil {
		if p.kept.Len() < most {
			p.kept.Write(b)
		}
		return len(b), nil
	}
	return p.out.Write(b)
}
