// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

// plan is what is to be built: the stages that the target needs.
type plan struct {
	*file
	args   vars // the global scope
	stages []*stage
	target *stage
	// triggers may need any stage; so may named contexts hide some.
	contexts    map[string]string
	directories map[string]Directory
}

// source is where a tree comes from: a stage of this file, or an image.
type source struct {
	stage    *stage
	image    string // "" with the others
	context  string // the name of a directory
	platform ociconfig.Platform
}

// makePlan resolves the FROM lines, with what the user has set, and finds the
// stages that target needs; "" is the last one.
func makePlan(f *file, o *Options) (*plan, error) {
	p := &plan{file: f, contexts: o.Contexts, directories: o.Directories}
	if err := p.globals(o); err != nil {
		return nil, err
	}
	for i := range f.stages {
		s, err := p.stage(i, o)
		if err != nil {
			return nil, f.at(f.stages[i].Location, err)
		}
		p.stages = append(p.stages, s)
	}
	p.target = p.stages[len(p.stages)-1]
	if o.Target != "" {
		if p.target = p.named(o.Target, len(p.stages)); p.target == nil {
			return nil, fmt.Errorf("cannot build stage %q: %s has %s", o.Target, f.name, p.names())
		}
	}
	if err := p.target.need(); err != nil {
		return nil, err
	}
	if p.check != "" {
		o.warn("`# check=%s` has no effect: acbuild does not look for bad style", p.check)
	}
	return p, p.unused(o)
}

// globals are the ARGs before the first FROM.
func (p *plan) globals(o *Options) error {
	name := o.Target
	if name == "" {
		name = "default"
	}
	p.args = platformArgs(o.Platform, name)
	for _, a := range proxies() {
		if v, ok := o.Args[a]; ok {
			p.args = p.args.set(a, v)
		}
	}
	x := newExpander(p.escape)
	for i := range p.file.args {
		c := p.file.args[i]
		c.Args = slices.Clone(c.Args)
		if err := c.Expand(func(w string) (string, error) { return x.word(w, p.args) }); err != nil {
			return p.at(c.Location(), err)
		}
		for _, a := range c.Args {
			if v, ok := o.Args[a.Key]; ok {
				p.args = p.args.set(a.Key, v)
			} else if a.Value != nil {
				p.args = p.args.set(a.Key, *a.Value)
			}
		}
	}
	return nil
}

func (p *plan) stage(i int, o *Options) (*stage, error) {
	s := &stage{plan: p, index: i, code: p.file.stages[i], done: make(chan struct{})}
	x := newExpander(p.escape)
	base, err := x.word(s.code.BaseName, p.args)
	if err != nil {
		return nil, err
	}
	if base == "" {
		return nil, hint.Wrap(fmt.Errorf("the base %q is empty", s.code.BaseName), "give the ARG a default before the first FROM, or set it with --build-arg")
	}
	s.platform = o.Platform
	if s.code.Platform != "" {
		text, err := x.word(s.code.Platform, p.args)
		if err != nil {
			return nil, err
		}
		if s.platform, err = ParsePlatform(text); err != nil {
			return nil, err
		}
	}
	s.base = p.source(base, i, s.platform)
	if s.sources, err = s.froms(); err != nil {
		return nil, err
	}
	return s, nil
}

// named is the stage of that name or number among the first before.
func (p *plan) named(name string, before int) *stage {
	for i := before - 1; i >= 0; i-- {
		if i < len(p.stages) && strings.EqualFold(p.stages[i].code.Name, name) && name != "" {
			return p.stages[i]
		}
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < before && n < len(p.stages) {
		return p.stages[n]
	}
	return nil
}

func (p *plan) names() string {
	var names []string
	for i, s := range p.stages {
		if s.code.Name != "" {
			names = append(names, strconv.Quote(s.code.Name))
		} else {
			names = append(names, strconv.Itoa(i))
		}
	}
	return strings.Join(names, ", ")
}

// source finds what a name means in FROM, COPY --from and RUN --mount, in stage i.
func (p *plan) source(name string, i int, platform ociconfig.Platform) source {
	if _, ok := p.directories[name]; ok {
		return source{context: name}
	}
	if s := p.named(name, i); s != nil && p.contexts[name] == "" {
		return source{stage: s}
	}
	if c := p.contexts[name]; c != "" {
		return source{image: c, platform: platform}
	}
	return source{image: name, platform: platform}
}

// froms are the sources of a stage's instructions, by the names they use.
func (s *stage) froms() (map[string]source, error) {
	list := map[string]source{}
	for _, cmd := range s.code.Commands {
		if err := s.addFrom(list, cmd); err != nil {
			return nil, s.plan.at(cmd.Location(), err)
		}
	}
	return list, nil
}

func (s *stage) addFrom(list map[string]source, cmd instructions.Command) error {
	var names []string
	switch c := cmd.(type) {
	case *instructions.CopyCommand:
		names = append(names, c.From)
	case *instructions.RunCommand:
		mounts, err := mountsOf(c)
		if err != nil {
			return err
		}
		for _, m := range mounts {
			names = append(names, m.From)
		}
	}
	for _, n := range names {
		if n == "" {
			continue
		}
		if n == "scratch" {
			continue
		}
		if s.code.Name != "" && strings.EqualFold(n, s.code.Name) {
			return fmt.Errorf("stage %q cannot copy from itself", n)
		}
		list[n] = s.plan.source(n, s.index, s.platform)
	}
	return nil
}

// mountsOf parses a RUN's mounts, before any variable is expanded.
func mountsOf(c *instructions.RunCommand) ([]*instructions.Mount, error) {
	c2 := *c
	if err := c2.Expand(func(w string) (string, error) { return w, nil }); err != nil {
		// A value that only means something once it is expanded; from= is none.
		if strings.Contains(err.Error(), "$") {
			return instructions.GetMounts(c), nil
		}
		return nil, err
	}
	return instructions.GetMounts(&c2), nil
}

// need marks the stages that s is made from.
func (s *stage) need() error {
	if s.needed {
		return nil
	}
	s.needed = true
	from := []source{s.base}
	for _, src := range s.sources {
		from = append(from, src)
	}
	for _, src := range from {
		if src.stage != nil {
			if err := src.stage.need(); err != nil {
				return err
			}
		}
	}
	return nil
}

// unused refuses build arguments that no ARG takes: they are misspelt.
func (p *plan) unused(o *Options) error {
	known := map[string]bool{}
	for _, a := range proxies() {
		known[a] = true
	}
	for _, a := range platformArgs(o.Platform, "") {
		n, _, _ := strings.Cut(a, "=")
		known[n] = true
	}
	for _, c := range p.file.args {
		for _, a := range c.Args {
			known[a.Key] = true
		}
	}
	for _, s := range p.file.stages {
		for _, cmd := range s.Commands {
			switch c := cmd.(type) {
			case *instructions.ArgCommand:
				for _, a := range c.Args {
					known[a.Key] = true
				}
			case *instructions.OnbuildCommand:
			}
		}
	}
	var names []string
	for n := range o.Args {
		if !known[n] {
			names = append(names, strconv.Quote(n))
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	o.warn("no ARG takes the build argument %s", strings.Join(names, ", "))
	return nil
}

// ParsePlatform reads os/architecture[/variant].
func ParsePlatform(text string) (ociconfig.Platform, error) {
	p, err := ociconfig.ParsePlatform(text)
	if err == nil && p.OS != "linux" {
		err = errors.New("acbuild builds images for linux only, not for " + p.OS)
	}
	return p, err
}
