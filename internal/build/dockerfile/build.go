// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/agent"
	"github.com/rkt/rkt/internal/build/cache"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

// Options are all that decides what a build makes.
type Options struct {
	// File is the path of the Dockerfile; "-" is standard input.
	File string
	// FileInContext: File was found in the context, not named by the user, and
	// links in the context do not lead out of it.
	FileInContext bool
	// Text, if not nil, is the file's content, of standard input.
	Text []byte
	// Context is the directory that COPY and ADD take files from, absolute.
	Context string
	// ContextMade: Context is somewhere else each time, so what is known of its files
	// by their paths is not kept.
	ContextMade bool
	Target      string            // a stage's name or number; "" is the last
	Args        map[string]string // --build-arg
	Labels      map[string]string // --label, over those of the file
	Secrets     map[string]Secret // by id
	// Agents are what RUN --mount=type=ssh may ask, by id.
	Agents map[string]agent.Ask
	// Contexts are images, as Bases takes them, by the names that the file has for
	// them.
	Contexts map[string]string
	// Directories are further contexts, by the names that COPY --from and RUN
	// --mount=from have for them.
	Directories map[string]Directory
	// Hosts are lines for the commands' /etc/hosts.
	Hosts    []string
	Platform ociconfig.Platform // zero is this machine's
	// NoCache makes everything anew.
	NoCache bool
	// Network is that of RUN without --network: engine.NetworkDefault and so on.
	Network string
	Engine  string
	// DataDir is rkt's; CacheDir the build cache's.
	DataDir, CacheDir string
	// NetworkConfig, NetworkShared and NetworkPlugins are as in contract.Pod.
	NetworkConfig, NetworkShared, NetworkPlugins []string
	// UserNetwork is as in engine.Step.
	UserNetwork engine.UserNetwork
	// Epoch, unless zero, is the image's time (SOURCE_DATE_EPOCH).
	Epoch time.Time
	Bases Bases
	// Fetch is for ADD: the helper that downloads and unpacks.
	Fetch fetch.Options
	// Progress is told what happens; Output gets what RUN prints. Warn is told
	// what the user should know.
	Progress Progress
	Output   io.Writer
	Warn     func(string)
}

// Directory is a context.
type Directory struct {
	Path string // absolute
	Made bool   // as Options.ContextMade
}

// Secret is where a secret comes from.
type Secret struct {
	File string
	Env  string
}

// Bases finds images.
type Bases interface {
	// Find gives the image that a FROM line names.
	Find(ctx context.Context, name string, platform ociconfig.Platform) (Base, error)
}

// Base is an image to build on.
type Base struct {
	ID     image.ID
	Config []byte
	Layers []output.Layer
	// Trees are absolute paths, lowest first.
	Trees []string
}

// Progress is told of steps. Its methods may be called at the same time.
type Progress interface {
	// Begin says that a step begins, or that it was found in the cache.
	Begin(step Step, cached bool)
	End(step Step, took time.Duration, err error)
}

// Step is an instruction for people.
type Step struct {
	Stage     string // name or number
	Number    int    // from 1
	Of        int
	Text      string
	Line      int
	Unprinted bool // it changes nothing on disk
}

func (o *Options) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn(fmt.Sprintf(format, args...))
	}
}

// StatusError is a RUN that failed: acbuild ends with its status.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("the command ended with status %d", e.Status)
}

// Builder is a build. Close it when what it made has been written.
type Builder struct {
	o       Options
	plan    *plan
	cache   *cache.Cache
	context *files
	named   map[string]*files // Options.Directories

	mu    sync.Mutex
	bases map[source]*foundBase
	out   sync.Mutex
}

type foundBase struct {
	once sync.Once
	base Base
	err  error
}

// New reads the Dockerfile and opens context and cache.
func New(o Options) (*Builder, error) {
	if o.Platform == (ociconfig.Platform{}) {
		o.Platform = ociconfig.Host()
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("cannot build: only root may mount images' trees")
	}
	// Modes are what the Dockerfile says, whatever the caller's mask.
	unix.Umask(0o022)
	text, err := o.Text, error(nil)
	if text == nil {
		text, err = readFile(o.File, o.Context, o.FileInContext)
	}
	if err != nil {
		return nil, err
	}
	f, err := parse(o.File, text)
	if err != nil {
		return nil, err
	}
	b := &Builder{o: o, bases: map[source]*foundBase{}}
	if b.plan, err = makePlan(f, &b.o); err != nil {
		return nil, err
	}
	if b.cache, err = cache.Open(o.CacheDir); err != nil {
		return nil, err
	}
	if b.context, err = openContext(o.Context, o.File, o.FileInContext, b.cache); err != nil {
		_ = b.Close()
		return nil, err
	}
	if o.ContextMade {
		b.context.dir = ""
	}
	b.named = map[string]*files{}
	for name, d := range o.Directories {
		f, err := openContext(d.Path, "-", false, b.cache)
		if err != nil {
			_ = b.Close()
			return nil, err
		}
		f.name = fmt.Sprintf("context %q", name)
		if d.Made {
			f.dir = ""
		}
		b.named[name] = f
	}
	return b, nil
}

// Close gives back what the build holds.
func (b *Builder) Close() error {
	b.context.close()
	for _, f := range b.named {
		f.close()
	}
	return b.cache.Close()
}

// Build makes the target. The image's layers are in the cache and the store until
// Close.
func (b *Builder) Build(ctx context.Context) (output.Image, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, s := range b.plan.stages {
		if !s.needed {
			continue
		}
		all.Go(func() {
			defer close(s.done)
			if s.err = s.build(ctx, b); s.err != nil {
				cancel(s.err) // the others end, too
			}
		})
	}
	all.Wait()
	var first error
	for _, s := range b.plan.stages {
		// One that was only cancelled has nothing to say.
		if s.needed && s.err != nil && (first == nil || errors.Is(first, errOther)) {
			first = s.err
		}
	}
	if first != nil {
		if errors.Is(first, errOther) {
			first = context.Cause(ctx)
		}
		return output.Image{}, first
	}
	im, err := b.image(ctx, b.plan.target)
	if err != nil {
		return im, err
	}
	if err := b.cache.Sync(); err != nil {
		return im, fmt.Errorf("cannot keep the build cache: %w", err)
	}
	return im, nil
}

// errOther: another stage has failed.
var errOther = errors.New("another stage has failed")

// base finds an image once.
func (b *Builder) base(ctx context.Context, src source) (Base, error) {
	b.mu.Lock()
	f := b.bases[src]
	if f == nil {
		f = &foundBase{}
		b.bases[src] = f
	}
	b.mu.Unlock()
	f.once.Do(func() { f.base, f.err = b.o.Bases.Find(ctx, src.image, src.platform) })
	return f.base, f.err
}

// tree gives the stack of a source.
func (b *Builder) tree(ctx context.Context, src source) (stack, error) {
	if src.stage != nil {
		select {
		case <-src.stage.done:
		case <-ctx.Done():
			return stack{}, errOther
		}
		if src.stage.err != nil {
			return stack{}, errOther
		}
		return src.stage.fs, nil
	}
	if src.context != "" {
		return stack{}, fmt.Errorf("context %q is a directory: COPY --from and RUN --mount=type=bind take it, and nothing else does", src.context)
	}
	if src.image == "scratch" {
		return stack{key: hashKey("scratch")}, nil
	}
	base, err := b.base(ctx, src)
	if err != nil {
		return stack{}, err
	}
	return baseStack(base), nil
}

// view opens a stack to copy from.
func (b *Builder) view(s stack) (*files, error) {
	dir, err := b.cache.Work()
	if err != nil {
		return nil, err
	}
	fd, err := engine.View(s.trees, dir)
	if err != nil {
		return nil, err
	}
	return &files{root: fd, owned: true, cache: b.cache}, nil
}

// makeLayer puts a layer of work over s.
func (b *Builder) makeLayer(s stack, key string, st Step, fill func(upper, work string) error) (stack, error) {
	begun := time.Now()
	said := false
	l, hit, err := b.cache.Make(key, st.Text, b.o.NoCache, func(upper, work string) error {
		said = true
		b.o.Progress.Begin(st, false)
		return fill(upper, work)
	})
	if !said {
		b.o.Progress.Begin(st, hit)
	}
	b.o.Progress.End(st, time.Since(begun), err)
	if err != nil {
		return s, err
	}
	return s.over(l), nil
}

// image packs the layers and writes the configuration.
func (b *Builder) image(ctx context.Context, s *stage) (output.Image, error) {
	im := output.Image{}
	for i := range s.fs.layers {
		l := &s.fs.layers[i]
		if l.base != nil {
			im.Layers = append(im.Layers, *l.base)
			continue
		}
		p, open, err := b.cache.Pack(ctx, l.made, l.lower, b.packing())
		if err != nil {
			return im, err
		}
		im.Layers = append(im.Layers, output.Layer{MediaType: layerType, Digest: p.Digest, Size: p.Size, Open: open})
		s.cfg.RootFS.DiffIDs = append(s.cfg.RootFS.DiffIDs, p.DiffID)
	}
	im.Trees = s.fs.trees
	var err error
	im.Config, err = s.finish(b.o.Labels, b.o.Epoch)
	return im, err
}

// absolute is path, made absolute by the context directory.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Scratch is a directory of this build's own, which Close removes.
func (b *Builder) Scratch() (string, error) { return b.cache.Work() }
