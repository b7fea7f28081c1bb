// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/trust"
	"github.com/rkt/rkt/internal/ui"
)

// trustJSON is one key for one prefix, or a rule without keys. Times are
// nanoseconds since the epoch, 0 is none.
type trustJSON struct {
	Kind        string   `json:"kind"` // "openpgp", "cosign", or "policy" for a rule without keys
	Root        bool     `json:"root,omitempty"`
	Prefix      string   `json:"prefix"`
	Fingerprint string   `json:"fingerprint"`
	Algorithm   string   `json:"algorithm,omitempty"`
	Identities  []string `json:"identities"`
	Created     int64    `json:"created"`
	Expires     int64    `json:"expires"`
	From        string   `json:"from"` // "system", "local" or "user"
	Path        string   `json:"path,omitempty"`
	State       string   `json:"state"`
	Reason      string   `json:"reason,omitempty"`
}

func newTrustList(c *cli) *command {
	var (
		format   outputFormat
		noLegend bool
		full     bool
	)
	cmd := &command{
		usage: "[OPTION…]",
		short: "list trusted keys",
		long: `Lists the keys that may sign images, and the rules for images of registries. STATE
is valid if signatures by the key count; expired, revoked, weak, invalid and damaged
ones do not. A masked key is overridden by a later file, and a mask is an empty file
that takes away what an earlier one gave. A rule's state is its type, if it has no
keys.`,
		example: "  rkt trust list\n  rkt trust list --json",
		args:    noArgs,
		run: func([]string) error {
			rows, err := c.trusted()
			if err != nil {
				return err
			}
			if format.json() {
				return ui.JSON(c.Out, rows, format.pretty())
			}
			return c.printTrust(rows, !noLegend, full)
		},
	}
	fs := cmd.flags()
	format.register(fs)
	fs.BoolVar(&noLegend, "no-legend", false, "leave the header out")
	fs.BoolVar(&full, "full", false, "print exact times and all identities")
	return cmd
}

func (c *cli) printTrust(rows []trustJSON, legend, full bool) error {
	var header []string
	if legend {
		header = []string{"PREFIX", "FINGERPRINT", "IDENTITY", "CREATED", "EXPIRES", "FROM", "STATE"}
	}
	t, now := ui.NewTable(c.Out, header), time.Now()
	for _, r := range rows {
		prefix, identity := r.Prefix, "-"
		if r.Root {
			prefix = "(root)"
		}
		switch {
		case len(r.Identities) > 0 && full:
			identity = strings.Join(r.Identities, ", ")
		case len(r.Identities) > 0:
			identity = r.Identities[0]
		case r.Kind == image.Cosign:
			identity = r.Kind
		}
		state := r.State
		if r.Reason != "" {
			state += " (" + r.Reason + ")"
		}
		t.Row(prefix, cmp.Or(r.Fingerprint, "-"), identity, when(fromNano(r.Created), full, now), when(fromNano(r.Expires), full, now), r.From, state)
	}
	return t.Flush()
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// trusted gives the keystore, then the policy.
func (c *cli) trusted() ([]trustJSON, error) {
	rows, err := c.trustedKeys()
	if err != nil {
		return nil, err
	}
	rules, err := c.trustRules()
	return append(rows, rules...), err
}

func (c *cli) trustedKeys() ([]trustJSON, error) {
	keys, err := trust.Keys(c.global.config).All()
	if err != nil {
		return nil, err
	}
	var files [][]byte
	for _, k := range keys {
		if !k.Masks {
			files = append(files, k.Data)
		}
	}
	var infos []fetch.OpenPGPInfo
	if len(files) > 0 {
		o, err := c.fetchOptions()
		if err != nil {
			return nil, err
		}
		ctx, stop := interruptible()
		defer stop()
		if infos, err = fetch.DescribeKeys(ctx, o, files); err != nil {
			return nil, err
		}
	}
	rows := []trustJSON{}
	for _, k := range keys {
		row := trustJSON{Kind: image.OpenPGP, Root: k.Prefix == "", Prefix: k.Prefix, Fingerprint: k.Fingerprint,
			Identities: []string{}, From: "system", Path: k.Path, State: "mask"}
		if k.Local {
			row.From = "local"
		}
		if !k.Masks {
			i := infos[0]
			infos = infos[1:]
			row.State, row.Reason, row.Algorithm = i.State, i.Reason, i.Algorithm
			row.Created, row.Expires = i.Created*int64(time.Second), i.Expires*int64(time.Second)
			row.Identities = append(row.Identities, i.Identities...)
			if i.Fingerprint != "" && i.Fingerprint != k.Fingerprint {
				row.State, row.Reason = "damaged", "its fingerprint is "+i.Fingerprint
			}
		}
		if k.Masked {
			row.State, row.Reason = "masked", ""
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// trustRules lists the policy, each prefix by the directory whose rule counts.
func (c *cli) trustRules() ([]trustJSON, error) {
	var rows []trustJSON
	dirs := c.global.config
	all, err := config.LoadTrust(dirs)
	if err != nil {
		return nil, err
	}
	from := map[string]string{}
	for _, d := range []struct {
		name string
		dirs config.Dirs
	}{{"system", config.Dirs{System: dirs.System}}, {"local", config.Dirs{Local: dirs.Local}}, {"user", config.Dirs{User: dirs.User}}} {
		rules, err := config.LoadTrust(d.dirs)
		if err != nil {
			return nil, err
		}
		for p := range rules {
			from[p] = d.name
		}
	}
	for _, p := range config.Sorted(all) {
		row := trustJSON{Kind: "policy", Prefix: registryScheme + p, Identities: []string{}, From: from[p], State: all[p].Type}
		if all[p].Type != config.SignedBy {
			rows = append(rows, row)
			continue
		}
		row.Kind, row.State = image.Cosign, "valid"
		keys, err := trust.RuleKeys(p, all[p])
		if err != nil {
			row.State, row.Reason = "damaged", err.Error()
			rows = append(rows, row)
			continue
		}
		for _, k := range keys {
			row.Fingerprint = k.ID
			rows = append(rows, row)
		}
	}
	return slices.Clip(rows), nil
}
