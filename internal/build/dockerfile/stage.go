// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/rkt/rkt/internal/build/cache"
	"github.com/rkt/rkt/internal/build/layer"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

const layerType = layer.MediaType

func (b *Builder) packing() layer.Options {
	return layer.Options{Epoch: b.o.Epoch, Notes: func(what, path string) { b.o.warn("%s: %s", path, what) }}
}

// stack is trees one over the other, and the layers that they are.
type stack struct {
	key    string   // of all that went into it
	trees  []string // absolute, lowest first
	layers []oneLayer
}

type oneLayer struct {
	base  *output.Layer // of a base image; else:
	made  cache.Layer
	lower []string
}

// over is s with one more layer. What stands on it depends on the very tree: the
// same instruction, made anew, may make another one.
func (s stack) over(l cache.Layer) stack {
	n := stack{key: hashKey("empty", l.Key), trees: s.trees, layers: s.layers}
	if l.Empty {
		return n
	}
	n.key = hashKey("made", l.Key, filepath.Base(filepath.Dir(l.Tree))) // the tree's name is nobody else's
	n.trees = append(s.trees[:len(s.trees):len(s.trees)], l.Tree)
	n.layers = append(s.layers[:len(s.layers):len(s.layers)], oneLayer{made: l, lower: s.trees})
	return n
}

func baseStack(b Base) stack {
	s := stack{key: hashKey("base", string(b.ID)), trees: b.Trees}
	for i := range b.Layers {
		s.layers = append(s.layers, oneLayer{base: &b.Layers[i]})
	}
	return s
}

// keyVersion changes when what an instruction makes does.
const keyVersion = "1"

// hashKey is a key of the cache.
func hashKey(parts ...string) string {
	b, _ := json.Marshal(append([]string{keyVersion}, parts...)) // strings: no error
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// stage is one FROM and what follows it.
type stage struct {
	plan     *plan
	index    int
	code     instructions.Stage
	platform ociconfig.Platform
	base     source
	sources  map[string]source // of its instructions
	needed   bool

	done chan struct{} // closed when what follows is decided
	err  error
	fs   stack
	cfg  imageConfig
	last *time.Time // when the newest layer was made

	b      *Builder
	x      expander
	args   vars // in effect
	cmdSet bool // CMD is this stage's own
	step   Step
}

func (s *stage) name() string {
	if s.code.Name != "" {
		return s.code.Name
	}
	return strconv.Itoa(s.index)
}

func (s *stage) build(ctx context.Context, b *Builder) error {
	s.b, s.x = b, newExpander(s.plan.escape)
	if err := s.begin(ctx); err != nil {
		return s.plan.at(s.code.Location, err)
	}
	cmds := s.code.Commands
	triggers := s.cfg.Config.OnBuild
	s.cfg.Config.OnBuild = nil
	s.step = Step{Stage: s.name(), Of: len(cmds) + len(triggers)}
	for _, text := range triggers {
		cmd, err := s.plan.parseTrigger(text)
		if err == nil {
			err = s.addFrom(s.sources, cmd)
		}
		if err == nil {
			for _, src := range s.sources {
				if src.stage != nil && !src.stage.needed {
					err = fmt.Errorf("it needs stage %q, which nothing else does", src.stage.name())
				}
			}
		}
		if err == nil {
			err = s.run(ctx, cmd)
		}
		if err != nil {
			return s.plan.at(s.code.Location, fmt.Errorf("ONBUILD %s of the base: %w", text, err))
		}
	}
	for _, cmd := range cmds {
		if ctx.Err() != nil {
			return errOther
		}
		if err := s.run(ctx, cmd); err != nil {
			return s.plan.at(cmd.Location(), err)
		}
	}
	return nil
}

// begin takes over what the stage stands on.
func (s *stage) begin(ctx context.Context) error {
	switch {
	case s.base.stage != nil || s.base.context != "":
		fs, err := s.b.tree(ctx, s.base)
		if err != nil {
			return err
		}
		s.fs, s.cfg, s.last = fs, cloneConfig(s.base.stage.cfg), s.base.stage.last
	case s.base.image == "scratch":
		s.fs, s.cfg = stack{key: hashKey("scratch")}, scratch(s.platform)
	default:
		base, err := s.b.base(ctx, s.base)
		if err != nil {
			return err
		}
		if s.cfg, err = decodeConfig(base.Config); err != nil {
			return err
		}
		if s.cfg.Architecture != "" && (s.cfg.OS != s.platform.OS || s.cfg.Architecture != s.platform.Architecture) {
			return fmt.Errorf("image %s is for %s, not for %s", s.base.image, s.cfg.Platform, s.platform)
		}
		if len(s.cfg.RootFS.DiffIDs) != len(base.Layers) {
			return fmt.Errorf("image %s has %d layers, its configuration %d", s.base.image, len(base.Layers), len(s.cfg.RootFS.DiffIDs))
		}
		s.fs, s.last = baseStack(base), s.cfg.Created
	}
	return nil
}

func cloneConfig(c imageConfig) imageConfig {
	p := &c.Config
	p.ExposedPorts, p.Volumes, p.Labels = maps.Clone(p.ExposedPorts), maps.Clone(p.Volumes), maps.Clone(p.Labels)
	p.Env, p.OnBuild = slices.Clone(p.Env), slices.Clone(p.OnBuild)
	c.History, c.RootFS.DiffIDs = slices.Clone(c.History), slices.Clone(c.RootFS.DiffIDs)
	return c
}

// env is what variables in instructions mean: the image's environment goes before
// build arguments.
func (s *stage) env() vars {
	v := slices.Clone(s.args)
	for _, e := range s.cfg.Config.Env {
		n, value, _ := strings.Cut(e, "=")
		v = v.set(n, value)
	}
	return v
}

// expand expands the words of an instruction.
func (s *stage) expand(cmd instructions.Command) error {
	env := s.env()
	if c, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
		if err := c.Expand(func(w string) (string, error) { return s.x.word(w, env) }); err != nil {
			return err
		}
	}
	if c, ok := cmd.(instructions.SupportsSingleWordExpansionRaw); ok {
		return c.ExpandRaw(func(w string) (string, error) { return s.x.plain(w, env) })
	}
	return nil
}

// run does one instruction.
func (s *stage) run(ctx context.Context, cmd instructions.Command) error {
	s.step.Number++
	s.step.Text, s.step.Line = oneLine(fmt.Sprint(cmd)), line(cmd.Location())
	if _, arg := cmd.(*instructions.ArgCommand); !arg { // its defaults see those before
		if err := s.expand(cmd); err != nil {
			return err
		}
	}
	switch c := cmd.(type) {
	case *instructions.RunCommand:
		return s.runCommand(ctx, c)
	case *instructions.CopyCommand:
		return s.copyFiles(ctx, c)
	case *instructions.AddCommand:
		return s.addFiles(ctx, c)
	case *instructions.WorkdirCommand:
		return s.workdir(c.Path)
	}
	quiet := s.step
	quiet.Unprinted = true
	s.b.o.Progress.Begin(quiet, false)
	if err := s.setConfig(cmd); err != nil {
		return err
	}
	s.note(s.step.Text, true)
	return nil
}

// oneLine is an instruction for people and the history.
func oneLine(text string) string {
	if first, _, more := strings.Cut(text, "\n"); more {
		return strings.TrimRight(first, " \\\t") + " …"
	}
	return text
}

// note adds to the history.
func (s *stage) note(by string, empty bool) { s.cfg.note(s.last, by, empty) }

// layered takes over a stack with one more layer.
func (s *stage) layered(by string, next stack) {
	empty := len(next.layers) == len(s.fs.layers)
	if !empty {
		at := next.layers[len(next.layers)-1].made.Made
		if s.last == nil || at.After(*s.last) {
			s.last = &at
		}
	}
	s.fs = next
	s.note(by, empty)
}

// workdir makes the directory, if it is not there.
func (s *stage) workdir(dir string) error {
	if !path.IsAbs(dir) {
		dir = path.Join("/", s.cfg.Config.WorkingDir, dir)
	}
	dir = path.Clean(dir)
	s.cfg.Config.WorkingDir = dir
	user := s.cfg.Config.User
	next, err := s.b.makeLayer(s.fs, hashKey("workdir", s.fs.key, dir, user), s.step, func(upper, work string) error {
		p, done, err := s.placer(s.fs, upper, work)
		if err != nil {
			return err
		}
		defer done()
		if user != "" {
			if p.owner, err = s.owner(p.root, user); err != nil {
				return err
			}
		}
		fd, err := p.directory(dir)
		if err != nil {
			return notDirectory(dir, err)
		}
		return closeFD(fd)
	})
	if err != nil {
		return err
	}
	s.layered(s.step.Text, next)
	return nil
}

// finish makes the configuration that is written.
func (s *stage) finish(labels map[string]string, epoch time.Time) ([]byte, error) {
	c := &s.cfg
	for _, k := range sortedKeys(labels) {
		if c.Config.Labels == nil {
			c.Config.Labels = map[string]string{}
		}
		c.Config.Labels[k] = labels[k]
	}
	clamp := func(t *time.Time) *time.Time {
		if t == nil || !epoch.IsZero() && t.After(epoch) {
			if epoch.IsZero() {
				return nil
			}
			e := epoch.UTC()
			return &e
		}
		return t
	}
	c.Created = clamp(s.last)
	for i := range c.History {
		c.History[i].Created = clamp(c.History[i].Created)
	}
	if c.RootFS.Type == "" {
		c.RootFS.Type = "layers"
	}
	if c.RootFS.DiffIDs == nil {
		c.RootFS.DiffIDs = []image.Digest{}
	}
	return json.Marshal(c)
}
