// SPDX-License-Identifier: Apache-2.0

// Package cmd is acbuild's command line: one file per command. Each turns
// arguments into calls of the packages beside it. commands is the table.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/ui"
	"github.com/rkt/rkt/internal/ui/flags"
)

// Set by the linker (Makefile).
var (
	// Version is acbuild's, and rkt's.
	Version = "unknown"
	// Prefix is where rkt is installed.
	Prefix = "/usr/local"
)

// The exit statuses; a command that run started has its own.
const (
	exitFailure = 1
	exitAbsent  = 2 // what was to be removed is not there
)

// acbuild is one invocation.
type acbuild struct {
	ui.Streams
	global globals
	verb   string   // what messages start with
	words  []string // the command as it was typed, for the history
	script int      // how many scripts deep it is
}

// command is a row of the table.
type command struct {
	name    string // "annotation add"
	usage   string // the arguments
	short   string
	long    string
	example string
	parse   flags.Parser // nil: flags anywhere
	flags   func(fs *pflag.FlagSet)
	args    func(args []string) error

	// One of these. edit changes the build, and is noted; files says that it may
	// change files, too. view only looks at it. run has no build open.
	edit  func(ctx context.Context, w *workspace.Workspace, args []string) error
	view  func(ctx context.Context, w *workspace.Workspace, args []string) error
	run   func(ctx context.Context, args []string) error
	files bool
	// alone: it does not go with --modify-appc and --modify-oci.
	alone bool
	// need says whether it takes root; needs, if not nil, that it does with these
	// arguments.
	need  need
	needs func(args []string) bool
}

// commands is the command line, in the order of help. `acbuild build` is added
// here.
func commands(a *acbuild) []*command {
	return slices.Concat(
		[]*command{newBegin(a), newCopy(a), newCopyToDir(a), newRun(a), newLayer(a)},
		newSets(a),
		newAnnotation(a), newLabel(a), newEnvironment(a), newPort(a), newMount(a), newDependency(a), newIsolator(a),
		[]*command{newReplaceManifest(a), newCatManifest(a), newWrite(a), newPush(a), newEnd(a), newAbort(a), newScript(a)},
		newBuild(a),
		[]*command{newActool(a), newVersion(a), newCompletion(a), newGenManPages(a), newHelp(a)},
	)
}

// exitError is a status that says all.
type exitError struct {
	status int
	err    error // where it was, if that is known
}

func (e *exitError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return fmt.Sprintf("the command ended with status %d", e.status)
}

// errReported: the user knows already.
var errReported = errors.New("reported")

// Run does what args ask for, called as name, and returns the exit status.
func Run(name string, args []string, s ui.Streams) int {
	launch.Prefix = filepath.Join(Prefix, "libexec", "rkt")
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	a := &acbuild{Streams: s, global: newGlobals(), verb: "acbuild"}
	var err error
	switch filepath.Base(name) {
	case "actool":
		a.verb = "actool"
		err = a.actool(ctx, args)
	case "acbuild-script":
		err = a.dispatch(ctx, append([]string{"script"}, args...))
	default:
		err = a.dispatch(ctx, args)
	}
	return a.status(err)
}

// status reports an error, and gives the exit status that goes with it.
func (a *acbuild) status(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		a.report(err)
		return exit.status
	case errors.Is(err, errReported):
		return exitFailure
	}
	a.report(err)
	if errors.Is(err, manifest.ErrAbsent) {
		return exitAbsent
	}
	return exitFailure
}

// report prints an error, and what can be done about it.
func (a *acbuild) report(err error) {
	ui.Message(a.Err, a.verb, err.Error())
	if h := hint.Of(err); h != "" {
		// rkt's packages speak of rkt's flag.
		for _, what := range []string{"image", "tls", "http"} {
			h = strings.ReplaceAll(h, "--insecure-options="+what, "--insecure")
		}
		ui.Message(a.Err, a.verb, "hint: "+h)
	}
	if a.global.debug {
		for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
			ui.Message(a.Err, a.verb, "caused by: "+e.Error())
		}
	}
}

func (a *acbuild) say(format string, args ...any) {
	ui.Message(a.Err, a.verb, fmt.Sprintf(format, args...))
}

func (a *acbuild) dispatch(ctx context.Context, args []string) error {
	root := pflag.NewFlagSet("acbuild", pflag.ContinueOnError)
	a.global.register(root)
	args, err := flags.First(root, args)
	if errors.Is(err, flags.ErrHelp) {
		return a.printRootHelp()
	}
	if err != nil {
		return err
	}
	if len(args) == 0 {
		if err := a.printRootHelp(); err != nil {
			return err
		}
		return errReported
	}
	if args[0] == completeVerb {
		return a.complete(args[1:])
	}
	c, rest, err := find(commands(a), args)
	if err != nil {
		return err
	}
	a.verb = c.name
	return a.execute(ctx, c, rest)
}

// find finds a command by its words, each of which may be shortened.
func find(all []*command, args []string) (*command, []string, error) {
	first, err := choose(all, 0, args[0])
	if err != nil {
		return nil, nil, err
	}
	noun := strings.Fields(first[0].name)
	if len(noun) == 1 {
		return first[0], args[1:], nil
	}
	if len(args) < 2 {
		return nil, nil, hint.Wrap(fmt.Errorf("cannot do %s: what to do is missing", noun[0]), noun[0]+" "+strings.Join(wordsOf(first, 1), ", "+noun[0]+" "))
	}
	second, err := choose(first, 1, args[1])
	if err != nil {
		return nil, nil, err
	}
	return second[0], args[2:], nil
}

func wordsOf(all []*command, i int) (list []string) {
	for _, c := range all {
		if w := strings.Fields(c.name); i < len(w) && !slices.Contains(list, w[i]) {
			list = append(list, w[i])
		}
	}
	return list
}

// choose gives the commands whose word i is word, or alone begins so.
func choose(all []*command, i int, word string) ([]*command, error) {
	var exact, begun []*command
	var names []string
	for _, c := range all {
		w := strings.Fields(c.name)
		if i >= len(w) {
			continue
		}
		if w[i] == word {
			exact = append(exact, c)
		}
		if word != "" && strings.HasPrefix(w[i], word) {
			begun = append(begun, c)
			if !slices.Contains(names, w[i]) {
				names = append(names, w[i])
			}
		}
	}
	switch {
	case len(exact) > 0:
		return exact, nil
	case len(names) == 1:
		return begun, nil
	case len(names) > 1:
		return nil, fmt.Errorf("cannot find command %q: it begins %s", word, strings.Join(names, ", "))
	}
	remedy := "acbuild help lists the commands"
	for _, n := range wordsOf(all, i) {
		if flags.Distance(n, word) < 3 {
			remedy = "there is " + n
		}
	}
	return nil, hint.Wrap(fmt.Errorf("cannot find command %q: there is no such command", word), remedy)
}

// execute reads a command's flags and runs it, on the build it works on.
func (a *acbuild) execute(ctx context.Context, c *command, args []string) error {
	fs := c.set()
	a.global.register(fs)
	parse := c.parse
	if parse == nil {
		parse = flags.Anywhere
	}
	rest, err := parse(fs, args)
	if errors.Is(err, flags.ErrHelp) {
		return a.printHelp(c.name)
	}
	if err != nil {
		return err
	}
	if c.args != nil {
		if err := c.args(rest); err != nil {
			return hint.Wrap(fmt.Errorf("cannot parse arguments: %w", err), "usage: "+usageLine(c))
		}
	}
	if err := a.root(c, rest); err != nil {
		return err
	}
	a.words = append(strings.Fields("acbuild "+c.name), args...)
	if a.global.modifying() {
		if c.alone || c.edit == nil && c.view == nil {
			return fmt.Errorf("cannot use --modify-appc or --modify-oci with %s", c.name)
		}
		return a.modify(ctx, c, rest)
	}
	switch {
	case c.run != nil:
		return c.run(ctx, rest)
	case c.view != nil:
		w, err := workspace.Open(a.global.workPath)
		if err != nil {
			return err
		}
		defer w.Close()
		return c.view(ctx, w, rest)
	}
	w, err := workspace.Open(a.global.workPath)
	if err != nil {
		return err
	}
	defer w.Close()
	return a.change(ctx, w, c, rest)
}

// change runs a command that changes a build, and saves it.
func (a *acbuild) change(ctx context.Context, w *workspace.Workspace, c *command, args []string) error {
	if c.files {
		if err := w.Check(); err != nil {
			return err
		}
	}
	if err := a.editDocument(ctx, w, c, args); err != nil {
		return err
	}
	return w.Save()
}

// editDocument runs a command that changes the image, and notes it.
func (a *acbuild) editDocument(ctx context.Context, w *workspace.Workspace, c *command, args []string) error {
	if err := c.edit(ctx, w, args); err != nil {
		return err
	}
	if !a.global.noHistory && c.name != "layer" {
		w.Note(a.words, c.files)
		if d, ok := w.Doc.(*manifest.AppC); ok {
			n := 0
			for _, x := range d.M.Annotations {
				if strings.HasPrefix(string(x.Name), historyAnnotation) {
					n++
				}
			}
			if err := d.AddAnnotation(fmt.Sprintf("%s%d", historyAnnotation, n+1), w.State.History[len(w.State.History)-1].Command); err != nil {
				return err
			}
		}
	}
	return nil
}

// historyAnnotation begins the names of annotations that tell an ACI's history.
const historyAnnotation = "coreos.com/acbuild/command-"

// set are the command's own flags.
func (c *command) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	if c.flags != nil {
		c.flags(fs)
	}
	return fs
}

func usageLine(c *command) string { return strings.TrimSpace("acbuild " + c.name + " " + c.usage) }

// exactly checks the number of arguments by their names.
func exactly(names ...string) func([]string) error {
	return func(args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", names[len(args)])
		case len(args) > len(names):
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// atMost is exactly with the last one left out at will.
func atMost(name string) func([]string) error {
	return func(args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("unexpected argument %q after %s", args[1], name)
		}
		return nil
	}
}

// atLeast wants the named ones and takes more.
func atLeast(names ...string) func([]string) error {
	return func(args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s is missing", names[len(args)])
		}
		return nil
	}
}

// input opens what a word names: a file, or standard input for "-".
func (a *acbuild) input(word string, limit int64) ([]byte, error) {
	var r io.Reader = a.In
	if word != "-" {
		f, err := os.Open(word)
		if err != nil {
			return nil, fmt.Errorf("cannot read %q: %w", word, cause(err))
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", word, cause(err))
	}
	return b, nil
}

func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
