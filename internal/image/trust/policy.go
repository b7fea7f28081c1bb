// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
)

// Rule is what the policy says about the images of one repository.
type Rule struct {
	Prefix string // whose rule it is; "" if there is none
	Type   string // config's; "" if there is no rule
	// SignedAs is the repository that signatures must name: the one asked for,
	// or the one it is a copy of.
	SignedAs string
	Keys     []PublicKey // of type config.SignedBy
}

// PublicKey is a key for cosign signatures.
type PublicKey struct {
	PEM []byte
	ID  string // as in image.Signer
}

// RuleFor gives the rule for repository, which is spelled as ref.Ref has it:
// host[:port]/path. The longest prefix counts, by components. What cannot be
// read of the policy is an error, whatever it was about.
func RuleFor(d config.Dirs, repository string) (Rule, error) {
	rules, err := config.LoadTrust(d)
	if err != nil || len(rules) == 0 {
		return Rule{}, err
	}
	host, path, _ := strings.Cut(repository, "/")
	repository = config.RegistryName(host) + "/" + path
	prefix, ok := longest(rules, repository)
	if !ok {
		return Rule{}, nil
	}
	from := rules[prefix]
	r := Rule{Prefix: prefix, Type: from.Type, SignedAs: repository}
	if from.SignedPrefix != "" {
		r.SignedAs = from.SignedPrefix + strings.TrimPrefix(repository, prefix)
	}
	r.Keys, err = RuleKeys(prefix, from)
	return r, err
}

// RuleKeys reads the keys of a rule for prefix.
func RuleKeys(prefix string, rule config.TrustRule) (list []PublicKey, err error) {
	for _, text := range rule.Keys {
		keys, err := ParsePublicKeys([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("cannot use the policy for %q: keys: %w", prefix, err)
		}
		list = append(list, keys...)
	}
	for _, path := range rule.KeyFiles {
		text, err := readKey(path)
		if err != nil {
			return nil, fmt.Errorf("cannot use the policy for %q: %w", prefix, err)
		}
		keys, err := ParsePublicKeys(text)
		if err != nil {
			return nil, fmt.Errorf("cannot use the policy for %q: %q: %w", prefix, path, err)
		}
		list = append(list, keys...)
	}
	if len(list) > maxKeys {
		return nil, fmt.Errorf("cannot use the policy for %q: it has more than %d keys", prefix, maxKeys)
	}
	return list, nil
}

func longest(rules map[string]config.TrustRule, repository string) (string, bool) {
	for _, p := range slices.Backward(Prefixes(repository)) {
		if _, ok := rules[p]; ok {
			return p, true
		}
	}
	_, ok := rules[config.Everywhere]
	return config.Everywhere, ok
}

// Key finds one of the rule's keys.
func (r Rule) Key(id string) bool {
	return slices.ContainsFunc(r.Keys, func(k PublicKey) bool { return k.ID == id })
}

// ParsePublicKeys reads public keys in PEM, one at least. What kind of key each
// is, and whether it is strong enough, is found out by whoever uses it.
func ParsePublicKeys(text []byte) ([]PublicKey, error) {
	var keys []PublicKey
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("no public key in PEM (-----BEGIN PUBLIC KEY-----)")
		}
		switch {
		case strings.Contains(block.Type, "PRIVATE"):
			return nil, fmt.Errorf("it has a %s, which belongs to whoever signs", strings.ToLower(block.Type))
		case block.Type != "PUBLIC KEY":
			return nil, fmt.Errorf("it has a %q, not a PUBLIC KEY", block.Type)
		}
		sum := sha256.Sum256(block.Bytes)
		keys = append(keys, PublicKey{
			PEM: pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}),
			ID:  "sha256:" + hex.EncodeToString(sum[:]),
		})
		text = rest
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key in PEM (-----BEGIN PUBLIC KEY-----)")
	}
	return keys, nil
}

// ruleFile is a rule as AddRule writes it.
type ruleFile struct {
	Kind     string   `json:"rktKind"`
	Version  string   `json:"rktVersion"`
	Prefixes []string `json:"prefixes"`
	config.TrustRule
}

// rulePath is the file that is rkt's own for prefix.
func rulePath(local, prefix string) string {
	name := strings.NewReplacer("/", ",", config.Everywhere, "everywhere").Replace(prefix)
	return filepath.Join(local, "trust.d", name+".json")
}

// AddRule trusts keys, in PEM, to sign images below prefix (config.TrustPrefix),
// by a file in d.Local; keys that are trusted there by that file stay so. It
// returns the file's path. A rule for prefix that another local file has is an
// error that names it.
func AddRule(d config.Dirs, prefix string, keys []PublicKey) (path string, err error) {
	if d.Local == "" {
		return "", errors.New("cannot add key: there is no local configuration directory")
	}
	path = rulePath(d.Local, prefix)
	if err := MakeDirs(filepath.Dir(path)); err != nil {
		return "", fmt.Errorf("cannot add key: %w", err)
	}
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("cannot add key: %w", err)
	}
	defer unlock()
	rule := config.TrustRule{Type: config.SignedBy}
	old, err := config.LoadTrust(config.Dirs{Local: d.Local})
	if err != nil {
		return "", err
	}
	own, err := readRule(path)
	if err != nil {
		return "", fmt.Errorf("cannot add key: %w", err)
	}
	r, ok := old[prefix]
	switch {
	case ok && (own == nil || r.Type != config.SignedBy):
		return "", hint.Wrap(fmt.Errorf("cannot add key: a file in %q has a rule for %q, of type %q", filepath.Dir(path), prefix, r.Type),
			"add the key to it by hand, or remove it")
	case own != nil && !slices.Equal(own.Prefixes, []string{prefix}):
		return "", fmt.Errorf("cannot add key: %q is about other prefixes", path)
	case ok:
		rule = r
	}
	for _, k := range keys {
		if text := string(k.PEM); !slices.Contains(rule.Keys, text) {
			rule.Keys = append(rule.Keys, text)
		}
	}
	return path, writeRule(path, prefix, rule)
}

// RemoveRule takes the key of that ID away from rkt's own rule for prefix, and
// the rule with its last key. Error: ErrNoKey.
func RemoveRule(d config.Dirs, prefix, id string) (last bool, err error) {
	path := rulePath(d.Local, prefix)
	unlock, err := lock(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, ErrNoKey
	}
	if err != nil {
		return false, fmt.Errorf("cannot remove key: %w", err)
	}
	defer unlock()
	own, err := readRule(path)
	if err != nil {
		return false, fmt.Errorf("cannot remove key: %w", err)
	}
	if own == nil || !slices.Equal(own.Prefixes, []string{prefix}) {
		return false, ErrNoKey
	}
	var left []string
	for _, text := range own.Keys {
		keys, err := ParsePublicKeys([]byte(text))
		if err != nil {
			return false, fmt.Errorf("cannot remove key: %q: %w", path, err)
		}
		if !slices.ContainsFunc(keys, func(k PublicKey) bool { return k.ID == id }) {
			left = append(left, text)
		}
	}
	if len(left) == len(own.Keys) {
		return false, ErrNoKey
	}
	if len(left) == 0 && len(own.KeyFiles) == 0 {
		if err := os.Remove(path); err != nil {
			return false, fmt.Errorf("cannot remove key: %w", allowed(err))
		}
		return true, atomicfile.SyncDir(filepath.Dir(path))
	}
	own.Keys = left
	return false, writeRule(path, prefix, own.TrustRule)
}

// lock keeps other rkts from changing the rules in dir meanwhile: each reads a
// rule before it writes it.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := flock.Lock(f, flock.Exclusive); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// readRule reads rkt's own file; nil is that there is none.
func readRule(path string) (*ruleFile, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f ruleFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return &f, nil
}

func writeRule(path, prefix string, rule config.TrustRule) error {
	text, err := json.MarshalIndent(ruleFile{"trust", "v1", []string{prefix}, rule}, "", "\t")
	if err != nil {
		return err
	}
	return allowed(atomicfile.Write(path, append(text, '\n'), 0o644))
}
