// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/ui"
	"github.com/rkt/rkt/internal/ui/page"
	"github.com/spf13/pflag"
)

// completeVerb is how completion scripts ask, see page.CompletionScript.
const completeVerb = "__complete"

func newCompletion(c *cli) *command {
	return &command{
		usage: "bash|zsh|fish",
		short: "print a script that completes rkt's command line",
		long: `Prints a completion script for a shell. It completes commands and flags, and asks
rkt for pods and images.`,
		example: `  source <(rkt completion bash)
  rkt completion zsh > "${fpath[1]}/_rkt"
  rkt completion fish > ~/.config/fish/completions/rkt.fish`,
		args: oneArg("the shell (bash, zsh or fish)"),
		words: func(string) ([]word, bool) {
			return []word{{text: "bash"}, {text: "zsh"}, {text: "fish"}}, false
		},
		run: func(args []string) (err error) {
			script, ok := page.CompletionScript(args[0], "rkt")
			if !ok {
				return fmt.Errorf("cannot complete for shell %q: want bash, zsh or fish", args[0])
			}
			_, err = io.WriteString(c.Out, script)
			return err
		},
	}
}

// word is a candidate and what it is.
type word struct{ text, about string }

// complete answers a completion script. What goes wrong completes to nothing:
// there is nobody to tell.
func (c *cli) complete(args []string) error {
	begun := ""
	if len(args) > 0 {
		args, begun = args[:len(args)-1], args[len(args)-1]
	}
	words, files := c.candidates(args, begun)
	var b strings.Builder
	for _, w := range words {
		// A name that needs escaping would not mean the same as it is shown.
		if strings.HasPrefix(w.text, begun) && ui.Escape(w.text) == w.text {
			b.WriteString(w.text + "\t" + ui.Escape(w.about) + "\n")
		}
	}
	if files {
		b.WriteString(":files\n")
	} else {
		b.WriteString(":end\n")
	}
	_, err := io.WriteString(c.Out, b.String())
	return err
}

// candidates are the words that could follow args, begun as they are.
func (c *cli) candidates(args []string, begun string) (words []word, files bool) {
	root := pflag.NewFlagSet("rkt", pflag.ContinueOnError)
	c.global.register(root)
	all := verbs()
	cmd, fs := (*command)(nil), root
	for {
		rest, err := flagsFirst(root, args)
		if err != nil {
			// The last flag lacks its value, which is what is being typed.
			return c.flagWords(root, args, begun, nil)
		}
		if len(rest) == 0 {
			break
		}
		v, err := findVerb(all, rest[0])
		if err != nil {
			return nil, false
		}
		args, all = rest[1:], v.group
		if v.alone(args) {
			cmd = v.make(c)
			fs = cmd.flags()
			c.global.register(fs)
			break
		}
	}
	if cmd == nil {
		if isFlag(begun) {
			return c.flagWords(root, nil, begun, nil)
		}
		for _, v := range all {
			words = append(words, word{v.name, v.make(c).short})
		}
		return words, false
	}
	return c.flagWords(fs, args, begun, cmd)
}

// flagWords completes a verb's flag, a flag's value, or an argument.
func (c *cli) flagWords(fs *pflag.FlagSet, args []string, begun string, cmd *command) (words []word, files bool) {
	block := false // arguments of an app: none of ours
	pending := ""  // the flag whose value is being typed
	for i := 0; i < len(args); i++ {
		pending = ""
		switch a := args[i]; {
		case block:
			block = a != "---"
		case a == "--":
			block = true
		case strings.HasPrefix(a, "--") && !strings.Contains(a, "="):
			f := fs.Lookup(a[2:])
			if f == nil || f.NoOptDefVal != "" {
				continue
			}
			if i+1 == len(args) {
				pending = f.Name
			}
			i++
		}
	}
	name, _, isValue := strings.Cut(begun, "=")
	switch {
	case block:
		return nil, true
	case pending != "":
		return flagValues(fs, pending, "")
	case isFlag(begun) && isValue:
		return flagValues(fs, strings.TrimPrefix(name, "--"), name+"=")
	case isFlag(begun):
		fs.VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			text := "--" + f.Name
			if f.NoOptDefVal == "" || f.NoOptDefVal == "default" {
				text += "="
			}
			_, usage := pflag.UnquoteUsage(f)
			words = append(words, word{text, usage})
		})
		return append(words, word{"--help", "show help"}), false
	case cmd != nil && cmd.words != nil:
		return cmd.words(begun)
	}
	return nil, false
}

// flagValues are the values of a flag, each after prefix, and whether it may be
// a file.
func flagValues(fs *pflag.FlagSet, name, prefix string) (words []word, files bool) {
	if f := fs.Lookup(name); f != nil {
		if own, ok := f.Value.(setFunc); ok && own.Values != nil {
			for _, v := range own.Values {
				words = append(words, word{prefix + v, ""})
			}
			return words, false
		}
	}
	values := map[string][]string{
		"format": {"json", "json-pretty"}, "net": {"default", "default-restricted", "none", "host"}, "ipc": {"auto", "private", "parent"},
		"pull-policy": {"new", "update", "never"}, "order": {"asc", "desc"},
		"stdin": {"null", "inherit"}, "stdout": {"inherit", "log", "null"}, "stderr": {"inherit", "log", "null"},
		"insecure-options": insecureNames(), "stage1": {defaultFlavor, "fly", "host", "coreos", "kvm"},
		"dns": {"host", "none"}, "hosts-entry": {"host"},
	}
	for _, v := range values[name] {
		words = append(words, word{prefix + v, ""})
	}
	return words, slices.Contains([]string{"pod-manifest", "set-env-file", "uuid-file", "uuid-file-save", "signature", "stage1-path",
		"dir", "system-config", "local-config", "user-config", "output"}, name)
}

// podWords completes UUIDs.
func (c *cli) podWords(begun string) (words []word, files bool) {
	dir, err := c.global.dataDir()
	if err != nil {
		return nil, false
	}
	pods, err := lifecycle.List(dir)
	if err != nil {
		return nil, false
	}
	for _, p := range pods {
		if !strings.HasPrefix(string(p.ID()), begun) {
			continue
		}
		v, err := look(p)
		if err != nil {
			continue
		}
		about := string(v.state)
		if v.manifest != nil {
			for _, a := range v.manifest.Apps {
				about += " " + a.Name
			}
		}
		words = append(words, word{string(p.ID()), about})
	}
	return words, false
}

// imageWords completes names and, once they are begun, IDs of stored images;
// images are also files.
func (c *cli) imageWords(begun string) (words []word, files bool) {
	_, st, err := c.openStore()
	if err != nil || st == nil {
		return nil, true
	}
	defer st.Close()
	images, err := st.List()
	if err != nil {
		return nil, true
	}
	for _, i := range images {
		about := i.ID.Short()
		for _, n := range i.Names {
			words = append(words, word{n, about})
		}
		if len(i.Names) > 0 {
			about = i.Names[0]
		}
		if begun != "" {
			words = append(words, word{string(i.ID), about})
		}
	}
	return words, true
}
