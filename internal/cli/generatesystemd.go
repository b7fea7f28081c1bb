// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/unit"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/ui/flags"
	"github.com/spf13/pflag"
)

// The times of a unit, where nothing else is asked for.
const (
	// startTime is for an image that has to be fetched first.
	startTime = 15 * time.Minute
	// stopMargin is what a pod has beside its apps' own time: a virtual machine
	// that powers off, what is given back.
	stopMargin = 20 * time.Second
)

func newGenerateSystemd(c *cli) *command {
	w := &wish{}
	g := &unitWish{wish: w, cli: c}
	cmd := &command{
		usage: "[OPTION…] [POD-OPTION…] IMAGE [APP-OPTION…] [-- ARG… [---]] [IMAGE …]",
		short: "write a systemd unit that runs a pod",
		long: `Writes a unit of systemd's that runs the pod for which rkt run is given the same
arguments, and refuses those that rkt run would. The unit is up when the pod is
ready; to stop it is to stop the apps, each in its own way. Paths become absolute.

As root it is a unit of the system's, for /etc/systemd/system; as an ordinary user
one of that user's, for ~/.config/systemd/user.

Everybody may read what a unit says: secrets belong into a file for --set-env-file.`,
		example: `  rkt generate systemd docker://my/web > /etc/systemd/system/web.service
  rkt generate systemd --output=/etc/systemd/system/web.service \
      --after=db.service --requires=db.service --restart-policy=always \
      --net=host --memory=512M docker://my/web --user=12
  rkt generate systemd --pod-manifest=pod.yaml > ~/.config/systemd/user/pod.service`,
		words: c.imageWords,
		run:   func([]string) error { return g.write() },
	}
	w.took = g.take
	c.parse = w.parse
	g.register(cmd.flags())
	w.registerRun(cmd.flags())
	return cmd
}

// unitWish is what the command line asks for: a pod, and a unit for it.
type unitWish struct {
	*wish
	cli *cli

	output, description string
	overwrite           bool

	unit  unit.Service
	own   []string // flags that are not run's
	lines [][]string
}

func (g *unitWish) register(fs *pflag.FlagSet) {
	units := func(name, usage string, to *[]string) {
		each(fs, name, "UNIT,…", usage+"; may be repeated", func(s string) error {
			for _, u := range strings.Split(s, ",") {
				if err := unit.CheckName(u); err != nil {
					return err
				}
				*to = append(*to, u)
			}
			return nil
		})
	}
	span := func(name, usage, def string, least time.Duration, to *time.Duration) {
		each(fs, name, "DURATION", usage, func(s string) error {
			d, err := time.ParseDuration(s)
			if s == "infinity" {
				d, err = unit.Infinity, nil
			} else if err == nil && d < least {
				err = errors.New("it is too short")
			}
			if err != nil {
				return errors.New("want a duration such as 30s, of " + least.String() + " at least, or infinity")
			}
			*to = d
			return nil
		}).DefValue = def
	}
	each(fs, "output", "FILE", "write the unit to FILE, whose name ends in .service, instead of standard output", func(s string) error {
		if !strings.HasSuffix(s, ".service") || unit.CheckName(filepath.Base(s)) != nil {
			return errors.New("the name of a service's unit ends in .service")
		}
		g.output = s
		return nil
	})
	fs.BoolVar(&g.overwrite, "overwrite", false, "replace the file of --output if it exists")
	fs.StringVar(&g.description, "description", "", "what systemd shows of the unit; the images if not given")
	units("after", "start after those units", &g.unit.After)
	units("requires", "start those units too, and stop with them", &g.unit.Requires)
	units("wants", "start those units too", &g.unit.Wants)
	units("wanted-by", "the units that start this one once it is enabled; multi-user.target if not given, of a user's default.target", &g.unit.WantedBy)
	g.unit.Restart = "on-failure"
	policy := fs.VarPF(flags.Func{Word: "POLICY", Values: unit.Restarts(), Call: func(s string) error {
		if !slices.Contains(unit.Restarts(), s) {
			return errors.New("want one of " + strings.Join(unit.Restarts(), ", "))
		}
		g.unit.Restart = s
		return nil
	}}, "restart-policy", "", "when systemd starts the pod anew: "+strings.Join(unit.Restarts(), ", "))
	policy.DefValue = g.unit.Restart
	span("restart-sec", "how long systemd waits before it does", "", time.Millisecond, &g.unit.RestartAfter)
	g.unit.Start = startTime
	span("start-timeout", "how long the pod may take until it is ready, with the fetch of its images", "15m", time.Second, &g.unit.Start)
	each(fs, "slice", "UNIT", "the slice that the pod is in; machine.slice if not given, of a user's app.slice", func(s string) error {
		if !strings.HasSuffix(s, ".slice") {
			return errors.New("the name of a slice ends in .slice")
		}
		g.unit.Slice = s
		return unit.CheckName(s)
	})
	none, others := newGlobals(), pflag.NewFlagSet("", pflag.ContinueOnError)
	none.register(others) // which are said before the verb
	for _, set := range []*pflag.FlagSet{fs, others} {
		set.VisitAll(func(f *pflag.Flag) { g.own = append(g.own, f.Name) })
	}
}

// take takes over what is run's.
func (g *unitWish) take(words []string) error {
	switch first := words[0]; {
	case first == "--":
		g.lines = append(g.lines, words)
		return nil
	case !isFlag(first):
		word, err := absoluteImage(first)
		g.lines = append(g.lines, []string{word})
		return err
	}
	name, value, has := strings.Cut(words[0][len("--"):], "=")
	if len(words) > 1 {
		value, has = words[1], true
	}
	if slices.Contains(g.own, name) {
		return nil
	}
	var err error
	switch name {
	case "pod-manifest", "uuid-file-save", "set-env-file", "signature":
		value, err = filepath.Abs(value)
	case "stage1-path":
		value, err = absoluteStage1(value)
	case "seccomp":
		if file, ok := strings.CutPrefix(value, pod.SeccompProfilePrefix); ok {
			file, err = filepath.Abs(file)
			value = pod.SeccompProfilePrefix + file
		}
	}
	word := "--" + name
	if has {
		word += "=" + value
	}
	g.lines = append(g.lines, []string{word})
	return err
}

// absoluteImage is an image's name with its path, if it has one, made absolute.
func absoluteImage(word string) (string, error) {
	refs, err := parseRefs([]string{word})
	if err != nil || refs[0].Path == "" {
		return word, err
	}
	return refs[0].String(), nil
}

// absoluteStage1 is the same for a path of --stage1-path.
func absoluteStage1(word string) (string, error) {
	switch scheme, _, _ := strings.Cut(word, ":"); ref.Kind(scheme) {
	case ref.OCILayout, ref.OCIArchive, ref.DockerArchive:
		return absoluteImage(word)
	}
	return filepath.Abs(word)
}

// write checks what is asked for and writes the unit.
func (g *unitWish) write() error {
	w, c := g.wish, g.cli
	if w.Options.Interactive {
		return errors.New("cannot use --interactive: a unit has no terminal")
	}
	if f := w.flavor; f.flag != "" && (f.flag != "stage1" || strings.ContainsAny(f.value, "/.:")) {
		// What is in an image is only known when that is stored.
		if err := c.needRoot(); err != nil {
			return err
		}
	}
	flavor, err := c.findFlavor(&w.flavor)
	if err != nil {
		return err
	}
	defer flavor.release()
	g.unit.Notify = slices.Contains(flavor.Manifest.Features, contract.Notify)
	if err := c.readManifest(w); err != nil {
		return err
	}
	refs, err := parseRefs(w.images)
	if err != nil {
		return err
	}
	if err := w.sign(refs); err != nil {
		return err
	}
	for i, word := range w.images {
		if r, err := ref.Parse(word); w.Manifest != nil && err == nil && refs[i].Path != "" && !filepath.IsAbs(r.Path) {
			return fmt.Errorf("cannot write a unit: the manifest names image %q by a path from the working directory, and a unit has another", word)
		}
	}
	if g.description == "" {
		g.description = "rkt pod of " + imagesInWords(refs)
	}
	if err := g.fill(); err != nil {
		return err
	}
	text, err := g.unit.File()
	if err != nil {
		return err
	}
	if g.output == "" {
		_, err = io.WriteString(c.Out, text)
		return err
	}
	return export.File(context.Background(), g.output, g.overwrite, func(out io.Writer) error {
		_, err := io.WriteString(out, text)
		return err
	})
}

// imagesInWords are images for people.
func imagesInWords(refs []imageRef) string {
	names := make([]string, len(refs))
	for i, r := range refs {
		if names[i] = r.canonical; r.Kind == ref.ID {
			names[i] = image.ID(r.ID).Short()
		}
	}
	return strings.Join(names, ", ")
}

// fill makes the unit of what the command line says.
func (g *unitWish) fill() error {
	w, c, u := g.wish, g.cli, &g.unit
	dir, err := c.global.dataDir()
	if err != nil {
		return err
	}
	if c.global.user {
		// A user's own manager need not have the variables that say where.
		c.global.dir = dir
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find rkt's own program: %w", err)
	}
	words, err := c.global.words()
	if err != nil {
		return err
	}
	u.Exec = append([][]string{append(append([]string{program}, words...), "run")}, g.lines...)
	u.Written = "Written by rkt generate systemd, of rkt " + Version + "."
	u.Man = []string{"rkt-run(1)"}
	u.Description = g.description
	u.Mounted = append([]string{dir}, sources(w)...)
	stop, err := w.Options.StopTime(w.Manifest)
	if err != nil {
		return err
	}
	u.Stop = stop + stopMargin
	target := "multi-user.target"
	if c.global.user {
		target = "default.target"
	} else {
		// A user's manager has no such target.
		u.Wants = append([]string{"network-online.target"}, u.Wants...)
		u.After = append([]string{"network-online.target"}, u.After...)
		if u.Slice == "" {
			u.Slice = "machine.slice"
		}
	}
	if len(u.WantedBy) == 0 {
		u.WantedBy = []string{target}
	}
	return nil
}

// sources are the places of the host's that the pod's volumes are.
func sources(w *wish) (paths []string) {
	volumes := w.Volumes
	if w.Manifest != nil {
		volumes = w.Manifest.Volumes
	}
	for _, v := range volumes {
		if v.Kind == pod.HostVolume {
			paths = append(paths, v.Source)
		}
	}
	return paths
}
