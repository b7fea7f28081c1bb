// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func shells() []string { return []string{"bash", "zsh", "fish"} }

func newCompletion(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "print a script that completes rkt's command line",
		Long: `Prints a completion script for a shell. It completes commands and flags, and asks
rkt for pods and images.`,
		Example: `  source <(rkt completion bash)
  rkt completion zsh > "${fpath[1]}/_rkt"
  rkt completion fish > ~/.config/fish/completions/rkt.fish`,
		Args:      oneArg("the shell (bash, zsh or fish)"),
		ValidArgs: shells(),
		RunE: func(_ *cobra.Command, args []string) error {
			root := c.tree()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(c.Out, true)
			case "zsh":
				return root.GenZshCompletion(c.Out)
			case "fish":
				return root.GenFishCompletion(c.Out, true)
			}
			return fmt.Errorf("cannot complete for shell %q: want one of %s", args[0], strings.Join(shells(), ", "))
		},
	}
}

// complete answers a completion script: cobra's protocol over the whole tree.
func (c *cli) complete(args []string) error {
	root := c.tree()
	root.SetArgs(args)
	return root.Execute()
}

// tree is the whole command line as cobra wants it. Its verbs are never run
// through it, see execute.
func (c *cli) tree() *cobra.Command {
	root := &cobra.Command{Use: "rkt", SilenceErrors: true, SilenceUsage: true}
	root.SetIn(c.In)
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	root.CompletionOptions.DisableDefaultCmd = true
	c.global.register(root.PersistentFlags())
	root.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
	for _, v := range verbs() {
		cmd := v.make(c)
		for _, sub := range v.group {
			s := sub.make(c)
			completeValues(s)
			cmd.AddCommand(s)
		}
		completeValues(cmd)
		root.AddCommand(cmd)
	}
	return root
}

// completeValues registers what flags of fixed values complete to. Other flags
// complete to files, unless their value is no file.
func completeValues(cmd *cobra.Command) {
	fixed := map[string][]string{
		"format": {"json", "json-pretty"}, "net": {"host", "none"}, "ipc": {"auto", "private", "parent"},
		"pull-policy": {"new", "update", "never"}, "order": {"asc", "desc"},
		"stdin": {"null", "inherit"}, "stdout": {"inherit", "log", "null"}, "stderr": {"inherit", "log", "null"},
	}
	files := map[string]bool{"pod-manifest": true, "set-env-file": true, "uuid-file": true, "uuid-file-save": true}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		values := fixed[f.Name]
		if values == nil && files[f.Name] {
			return
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	})
}

// completePods completes UUIDs. What goes wrong completes to nothing: there is
// nobody to tell.
func (c *cli) completePods(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	var words []string
	dir, err := c.global.dataDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	pods, err := lifecycle.List(dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
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
		words = append(words, string(p.ID())+"\t"+about)
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeImages completes IDs and names of stored images.
func (c *cli) completeImages(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	var words []string
	dir, err := c.global.dataDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	st, err := store.Open(dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	defer st.Close()
	images, err := st.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	for _, i := range images {
		about := i.ID.Short()
		for _, n := range i.Names {
			if strings.HasPrefix(n, begun) {
				words = append(words, n+"\t"+about)
			}
		}
		if len(i.Names) > 0 {
			about = i.Names[0]
		}
		if begun != "" && strings.HasPrefix(string(i.ID), begun) {
			words = append(words, string(i.ID)+"\t"+about)
		}
	}
	// Images are also files and directories.
	return words, cobra.ShellCompDirectiveDefault
}
