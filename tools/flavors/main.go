// SPDX-License-Identifier: Apache-2.0

// Command flavors writes the table of docs/flavors.md: what each flavor says in its
// manifest that it can do. The flavors are those of tools/programs, the features
// those of internal/stage1/contract.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/tools/programs"
)

const (
	page  = "docs/flavors.md"
	begin = "<!-- what follows is written by: go run ./tools/flavors -->\n"
	end   = "<!-- and ends here -->\n"
)

func main() {
	err := update()
	if err != nil {
		fmt.Fprintln(os.Stderr, "flavors:", err)
		os.Exit(1)
	}
}

func update() error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	list, err := manifests(".")
	if err != nil {
		return err
	}
	text, err := replaced(string(old), table(list))
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// manifests asks the programs of the module in root.
func manifests(root string) (list []contract.Manifest, err error) {
	for _, p := range programs.List() {
		for _, f := range slices.Concat(p.Flavors, p.Trees) {
			cmd := exec.Command("go", "run", "./cmd/"+p.Name, "manifest", f)
			cmd.Dir, cmd.Env, cmd.Stderr = root, append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
			text, err := cmd.Output()
			if err != nil {
				return nil, fmt.Errorf("cannot ask %s for the manifest of %s: %w", p.Name, f, err)
			}
			m, err := contract.DecodeManifest(text)
			if err == nil && m.Name != f {
				err = fmt.Errorf("it is that of %q", m.Name)
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read the manifest of %s: %w", f, err)
			}
			list = append(list, m)
		}
	}
	return list, nil
}

// replaced is a page with another table.
func replaced(page, table string) (string, error) {
	before, rest, ok1 := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return "", errors.New("the page has no place for the table")
	}
	return before + begin + table + end + after, nil
}

// optional are the entry points that a flavor may do without.
var optional = []struct{ name, means string }{
	{"pause", "the pod's processes stand still, and go on (rkt pause, rkt resume)"},
}

// table is the table in Markdown.
func table(list []contract.Manifest) string {
	var b strings.Builder
	b.WriteString("\n| feature | what it is |")
	for _, m := range list {
		b.WriteString(" " + m.Name + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat(":-:|", len(list)) + "\n")
	row := func(name, means string, has func(m contract.Manifest) bool) {
		b.WriteString("| `" + name + "` | " + means + " |")
		for _, m := range list {
			if has(m) {
				b.WriteString(" yes |")
			} else {
				b.WriteString(" – |")
			}
		}
		b.WriteString("\n")
	}
	for _, f := range contract.Features() {
		row(string(f.Feature), f.Means, func(m contract.Manifest) bool { return slices.Contains(m.Features, f.Feature) })
	}
	for _, o := range optional {
		row(o.name, o.means, func(m contract.Manifest) bool { return len(m.Entrypoints[o.name]) > 0 })
	}
	b.WriteString("\n")
	return b.String()
}
