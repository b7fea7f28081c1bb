// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// setConfig does an instruction that changes nothing but the configuration.
func (s *stage) setConfig(cmd instructions.Command) error {
	p := &s.cfg.Config
	switch c := cmd.(type) {
	case *instructions.ArgCommand:
		return s.arg(c)
	case *instructions.EnvCommand:
		for _, e := range c.Env {
			p.Env = vars(p.Env).set(e.Key, e.Value)
		}
	case *instructions.LabelCommand:
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		for _, l := range c.Labels {
			p.Labels[l.Key] = l.Value
		}
	case *instructions.MaintainerCommand:
		s.cfg.Author = c.Maintainer
	case *instructions.UserCommand:
		p.User = c.User
	case *instructions.CmdCommand:
		p.Cmd, p.ArgsEscaped, s.cmdSet = s.shell(c.ShellDependantCmdLine), false, true
	case *instructions.EntrypointCommand:
		p.Entrypoint = s.shell(c.ShellDependantCmdLine)
		if !s.cmdSet { // arguments of another program
			p.Cmd = nil
		}
	case *instructions.ShellCommand:
		p.Shell = c.Shell
	case *instructions.StopSignalCommand:
		p.StopSignal = c.Signal
	case *instructions.OnbuildCommand:
		p.OnBuild = append(p.OnBuild, c.Expression)
	case *instructions.HealthCheckCommand:
		p.Healthcheck = &healthcheck{c.Health.Test, c.Health.Interval, c.Health.Timeout, c.Health.StartPeriod, c.Health.StartInterval, c.Health.Retries}
	case *instructions.VolumeCommand:
		for _, v := range c.Volumes {
			if v == "" {
				return fmt.Errorf("VOLUME has an empty path")
			}
			put(&p.Volumes, v)
		}
	case *instructions.ExposeCommand:
		return s.expose(c.Ports)
	default:
		return fmt.Errorf("cannot do %s: acbuild does not know it", strings.ToUpper(cmd.Name()))
	}
	return nil
}

func put(set *map[string]struct{}, key string) {
	if *set == nil {
		*set = map[string]struct{}{}
	}
	(*set)[key] = struct{}{}
}

// shell puts the shell before what is not in exec form.
func (s *stage) shell(c instructions.ShellDependantCmdLine) []string {
	if !c.PrependShell {
		return c.CmdLine
	}
	shell := s.cfg.Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(shell[:len(shell):len(shell)], strings.Join(c.CmdLine, " "))
}

// arg brings build arguments into effect.
func (s *stage) arg(c *instructions.ArgCommand) error {
	for i := range c.Args {
		a := &c.Args[i]
		env := s.env()
		key, err := s.x.word(a.Key, env)
		if err != nil {
			return err
		}
		if v, ok := s.b.o.Args[key]; ok {
			s.args = s.args.set(key, v)
			continue
		}
		if a.Value != nil {
			v, err := s.x.word(*a.Value, env)
			if err != nil {
				return err
			}
			s.args = s.args.set(key, v)
			continue
		}
		if v, ok := s.plan.args.get(key); ok {
			s.args = s.args.set(key, v)
		}
	}
	return nil
}

// expose adds ports: 80, 53/udp, 8000-8010/tcp.
func (s *stage) expose(ports []string) error {
	var all []string
	for _, p := range ports { // the one instruction whose words the parser does not expand
		words, err := s.x.words(p, s.env())
		if err != nil {
			return fmt.Errorf("cannot expose %q: %w", p, err)
		}
		all = append(all, words...)
	}
	for _, word := range all {
		numbers, proto, ok := strings.Cut(word, "/")
		if proto = strings.ToLower(proto); !ok {
			proto = "tcp"
		}
		if i := strings.LastIndexByte(numbers, ':'); i >= 0 { // HOST:PORT: the image has only the latter
			numbers = numbers[i+1:]
		}
		first, last, isRange := strings.Cut(numbers, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || from > to || proto != "tcp" && proto != "udp" && proto != "sctp" {
			return fmt.Errorf("cannot expose %q: it is not like 80, 53/udp or 8000-8010/tcp", word)
		}
		for n := from; n <= to; n++ {
			put(&s.cfg.Config.ExposedPorts, strconv.FormatUint(n, 10)+"/"+proto)
		}
	}
	return nil
}
