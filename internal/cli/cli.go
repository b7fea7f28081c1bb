// SPDX-License-Identifier: Apache-2.0

// Package cli is the first door of the house: rkt's command line. One file per
// verb; each turns arguments into calls of the rooms and prints what they
// return. run.go shows the spine.
//
// Only the verb that is asked for is built, flags and all: the command line is
// on the path of every start.
package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/ui"
	"github.com/spf13/pflag"
)

// Set by the linker (Makefile).
var (
	// Version is rkt's.
	Version = "unknown"
	// Prefix is where rkt is installed.
	Prefix = "/usr/local"
)

// cli is one invocation of rkt.
type cli struct {
	ui.Streams
	global globals
	verb   string // "run", "image list": what messages start with
	parse  parser // how the verb's arguments are read; a verb may set its own
	clock  clock
	ended  int // status of a pod that ended while rkt still attended to it
}

// command is a verb: what there is to say about it, its flags and what it does.
type command struct {
	usage   string // the arguments
	short   string // in lists of commands
	long    string // paragraphs
	example string // indented lines
	args    argsCheck
	run     func(args []string) error
	words   func(begun string) (words []word, files bool) // what an argument completes to
	fs      *pflag.FlagSet
}

// flags are the command's own.
func (cmd *command) flags() *pflag.FlagSet {
	if cmd.fs == nil {
		cmd.fs = pflag.NewFlagSet("", pflag.ContinueOnError)
	}
	return cmd.fs
}

// verb is a row of the table of verbs.
type verb struct {
	name string
	// make builds the command and its flags, bound to c.
	make func(c *cli) *command
	// group: the verb is a noun and these are its verbs.
	group []verb
	// verbal: it is a verb as well, unless the first argument is one of group.
	verbal bool
}

// alone tells whether v itself is meant, with args after it.
func (v verb) alone(args []string) bool {
	return v.group == nil || v.verbal && (len(args) == 0 ||
		!slices.ContainsFunc(v.group, func(sub verb) bool { return sub.name == args[0] }))
}

// verbs is the command line, in the order of help.
func verbs() []verb {
	return []verb{
		{name: "run", make: newRun},
		{name: "prepare", make: newPrepare},
		{name: "run-prepared", make: newRunPrepared},
		{name: "enter", make: newEnter},
		{name: "stop", make: newStop},
		{name: "pause", make: newPause},
		{name: "resume", make: newResume},
		{name: "rm", make: newRm},
		{name: "gc", make: newGC},
		{name: "list", make: newList},
		{name: "stats", make: newStats},
		{name: "status", make: newStatus},
		{name: "logs", make: newLogs},
		{name: "cat-manifest", make: newCatManifest},
		{name: "export", make: newExport},
		{name: "generate", make: newGenerate, group: []verb{
			{name: "systemd", make: newGenerateSystemd},
		}},
		{name: "fetch", make: newFetch},
		{name: "image", make: newImage, group: []verb{
			{name: "list", make: newImageList},
			{name: "cat-manifest", make: newImageCatManifest},
			{name: "history", make: newImageHistory},
			{name: "diff", make: newImageDiff},
			{name: "export", make: newImageExport},
			{name: "extract", make: newImageExtract},
			{name: "render", make: newImageRender},
			{name: "verify", make: newImageVerify},
			{name: "rm", make: newImageRm},
			{name: "gc", make: newImageGC},
		}},
		{name: "net", make: newNet, group: []verb{
			{name: "list", make: newNetList},
			{name: "inspect", make: newNetInspect},
			{name: "gc", make: newNetGC},
		}},
		{name: "trust", make: newTrust, verbal: true, group: []verb{
			{name: "list", make: newTrustList},
			{name: "rm", make: newTrustRm},
		}},
		{name: "config", make: newConfig},
		{name: "doctor", make: newDoctor},
		{name: "version", make: newVersion},
		{name: "completion", make: newCompletion},
		{name: "help", make: newHelp},
	}
}

// Run does what args ask for and returns the exit status. run, run-prepared and
// enter replace the process and come back only if they fail, or if the pod is
// over at once.
func Run(args []string, s ui.Streams) int {
	launch.Prefix = filepath.Join(Prefix, "libexec", "rkt")
	c := newCLI(s)
	c.global.person = whose()
	c.clock.say = c.say
	c.clock.mark("start")
	err := c.dispatch(args)
	switch {
	case err == nil:
		return c.ended
	case errors.Is(err, errReported):
		return exitFailure
	}
	if c.verb == "" {
		c.verb = "rkt"
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) && pe.Path == os.Stdout.Name() {
		err = fmt.Errorf("cannot write output: %w", pe.Err)
	}
	c.report(err)
	return exitFailure
}

func (c *cli) dispatch(args []string) error {
	root := pflag.NewFlagSet("rkt", pflag.ContinueOnError)
	c.global.register(root)
	args, err := flagsFirst(root, args)
	if errors.Is(err, errHelp) {
		return c.printRootHelp()
	}
	if err != nil {
		return err
	}
	if len(args) == 0 {
		c.printRootHelp()
		return errReported
	}
	if args[0] == completeVerb {
		return c.complete(args[1:])
	}
	v, err := findVerb(verbs(), args[0])
	if err != nil {
		return err
	}
	name, args := v.name, args[1:]
	if !v.alone(args) {
		// Global flags may stand between a noun and its verb, too.
		args, err = flagsFirst(root, args)
		if errors.Is(err, errHelp) || err == nil && len(args) == 0 {
			c.verb = name
			c.printHelp()
			if err == nil {
				return errReported
			}
			return nil
		}
		if err != nil {
			c.verb = name
			return err
		}
		if v, err = findVerb(v.group, args[0]); err != nil {
			c.verb = name
			return err
		}
		name, args = name+" "+v.name, args[1:]
	}
	c.verb = name
	return c.execute(v.make(c), args)
}

// execute reads the verb's arguments and runs it.
func (c *cli) execute(cmd *command, args []string) error {
	fs := cmd.flags()
	c.global.register(fs)
	args, err := c.parse(fs, args)
	if errors.Is(err, errHelp) {
		return c.printHelp()
	}
	if err != nil {
		return err
	}
	if cmd.args != nil {
		if err := cmd.args(args); err != nil {
			return hint.Wrap(fmt.Errorf("cannot parse arguments: %w", err), "usage: "+usageLine(c.verb, cmd))
		}
	}
	return whoMay(cmd.run(args))
}

// findVerb finds a verb by its name or by the beginning of exactly one.
func findVerb(all []verb, name string) (verb, error) {
	var found []verb
	for _, v := range all {
		if v.name == name {
			return v, nil
		}
		if name != "" && strings.HasPrefix(v.name, name) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return verb{}, hint.Wrap(fmt.Errorf("cannot find command %q: there is no such command", name), nearestVerb(all, name))
	}
	var names []string
	for _, v := range found {
		names = append(names, v.name)
	}
	return verb{}, fmt.Errorf("cannot find command %q: it begins %s", name, strings.Join(names, ", "))
}

func nearestVerb(all []verb, name string) string {
	best, bestDistance := "", 3
	for _, v := range all {
		if d := distance(v.name, name); d < bestDistance {
			best, bestDistance = v.name, d
		}
	}
	if best != "" {
		return "there is " + best
	}
	return "rkt help lists the commands"
}

// argsCheck looks at the number of a verb's arguments. Its error says what
// is wrong with them.
type argsCheck func(args []string) error

func noArgs(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	return nil
}

func oneArg(what string) argsCheck {
	return func(args []string) error {
		switch len(args) {
		case 0:
			return fmt.Errorf("%s is missing", what)
		case 1:
			return nil
		}
		return fmt.Errorf("unexpected argument %q", args[1])
	}
}

func someArgs(what string) argsCheck {
	return func(args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s is missing", what)
		}
		return nil
	}
}
