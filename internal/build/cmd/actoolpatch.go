// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/archive"
	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod/launch"
)

// patching are the flags of actool patch-manifest.
type patching struct {
	manifest, name, exec, user, group, groups string
	capability, revoke, mounts, ports         string
	isolators, seccompMode, seccompSet        string
	replace, overwrite, plain                 bool
}

func (a *acbuild) toolPatch() tool {
	var p patching
	return tool{
		usage: "[OPTION…] IN [OUT]", args: func(args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("IN is missing")
			case len(args) > 2:
				return fmt.Errorf("unexpected argument %q", args[2])
			case len(args) == 2 == p.replace:
				return errors.New("either OUT or --replace says where to write")
			}
			return nil
		},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&p.manifest, "manifest", "", "the new manifest is in `FILE`; the other options change that")
			fs.StringVar(&p.name, "name", "", "the image's `NAME`")
			fs.StringVar(&p.exec, "exec", "", "what it runs: `WORDS` separated by spaces")
			fs.StringVar(&p.user, "user", "", "its `USER`")
			fs.StringVar(&p.group, "group", "", "its `GROUP`")
			fs.StringVar(&p.groups, "supplementary-groups", "", "its supplementary groups: `NUMBERS` separated by commas")
			fs.StringVar(&p.capability, "capability", "", "the capabilities that it keeps: `NAMES` separated by commas")
			fs.StringVar(&p.revoke, "revoke-capability", "", "the capabilities that it does without: `NAMES` separated by commas")
			fs.StringVar(&p.mounts, "mounts", "", "its mount `POINTS`: NAME,path=PATH[,readOnly=true], separated by colons")
			fs.StringVar(&p.ports, "ports", "", "its `PORTS`: NAME,protocol=tcp,port=80[,count=N][,socketActivated=true], separated by colons")
			fs.StringVar(&p.isolators, "isolators", "", "its `ISOLATORS` separated by colons: resource/cpu,limit=1 and resource/memory,limit=1G")
			fs.StringVar(&p.seccompMode, "seccomp-mode", "", "`MODE` of --seccomp-set: retain or remove, [,errno=NAME] after it")
			fs.StringVar(&p.seccompSet, "seccomp-set", "", "the system calls of --seccomp-mode: `NAMES` separated by commas")
			fs.BoolVar(&p.replace, "replace", false, "write to IN")
			fs.BoolVar(&p.overwrite, "overwrite", false, "replace OUT if it is there")
			fs.BoolVar(&p.plain, "no-compression", false, "do not compress it")
		},
		run: func(ctx context.Context, args []string) error {
			helper, err := launch.HelperPath("fetch")
			if err != nil {
				return err
			}
			in, out := args[0], args[len(args)-1]
			var given []byte
			if p.manifest != "" {
				if given, err = os.ReadFile(p.manifest); err != nil {
					return fmt.Errorf("cannot read %q: %w", p.manifest, cause(err))
				}
			}
			return output.ACIFile(ctx, out, output.Options{Overwrite: p.overwrite || p.replace, Plain: p.plain}, func(w io.Writer) error {
				_, err := archive.Rewrite(ctx, helper, in, w, func(old []byte) ([]byte, error) {
					if given != nil {
						old = given
					}
					return p.apply(old)
				})
				return err
			})
		},
	}
}

// apply makes the changes of the flags.
func (p *patching) apply(text []byte) ([]byte, error) {
	doc, err := manifest.ParseAppC(text)
	if err != nil {
		return nil, err
	}
	var errs []error
	set := func(value string, f func(string) error) {
		if value != "" {
			errs = append(errs, f(value))
		}
	}
	set(p.name, doc.SetName)
	set(p.exec, func(s string) error { return doc.SetExec(strings.Fields(s)) })
	set(p.user, doc.SetUser)
	set(p.group, doc.SetGroup)
	set(p.groups, func(s string) error {
		var gids []int
		for word := range strings.SplitSeq(s, ",") {
			n, err := strconv.ParseUint(word, 10, 31)
			if err != nil {
				return fmt.Errorf("cannot set supplementary groups: %q is no number", word)
			}
			gids = append(gids, int(n))
		}
		return doc.SetSupplementaryGroups(gids)
	})
	set(p.mounts, func(s string) error {
		return eachPart(s, func(name string, f map[string]string) error {
			return doc.AddMount(manifest.Mount{Name: name, Path: f["path"], ReadOnly: f["readOnly"] == "true"})
		}, "path", "readOnly")
	})
	set(p.ports, func(s string) error {
		return eachPart(s, func(name string, f map[string]string) error {
			port, err := manifest.ParsePort(name, f["protocol"], f["port"])
			if err != nil {
				return err
			}
			if f["count"] != "" {
				n, err := strconv.ParseUint(f["count"], 10, 16)
				if err != nil {
					return fmt.Errorf("cannot add port %q: %q is no number of ports", name, f["count"])
				}
				port.Count = uint(n)
			}
			port.SocketActivated = f["socketActivated"] == "true"
			return doc.AddPort(port)
		}, "protocol", "port", "count", "socketActivated")
	})
	errs = append(errs, p.isolate(doc))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return doc.Encode(false)
}

// isolate adds isolators.
func (p *patching) isolate(doc *manifest.AppC) error {
	add := func(name string, value any) error {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		return doc.AddIsolator(name, text)
	}
	type set struct {
		Set   []string `json:"set"`
		Errno string   `json:"errno,omitempty"`
	}
	var errs []error
	if p.capability != "" {
		errs = append(errs, add("os/linux/capabilities-retain-set", set{Set: strings.Split(p.capability, ",")}))
	}
	if p.revoke != "" {
		errs = append(errs, add("os/linux/capabilities-remove-set", set{Set: strings.Split(p.revoke, ",")}))
	}
	if (p.seccompMode == "") != (p.seccompSet == "") {
		errs = append(errs, errors.New("cannot set seccomp: --seccomp-mode and --seccomp-set go together"))
	} else if p.seccompMode != "" {
		mode, errno, _ := strings.Cut(p.seccompMode, ",errno=")
		if mode != "retain" && mode != "remove" {
			errs = append(errs, fmt.Errorf("cannot set seccomp mode %q: want retain or remove", mode))
		} else {
			errs = append(errs, add("os/linux/seccomp-"+mode+"-set", set{strings.Split(p.seccompSet, ","), errno}))
		}
	}
	if p.isolators != "" {
		errs = append(errs, eachPart(p.isolators, func(name string, f map[string]string) error {
			value := map[string]any{}
			for k, v := range f {
				value[k] = v
			}
			return add(name, value)
		}, "limit", "request"))
	}
	return errors.Join(errs...)
}

// eachPart reads NAME,KEY=VALUE,… separated by colons; other keys are errors.
func eachPart(text string, f func(name string, fields map[string]string) error, keys ...string) error {
	for part := range strings.SplitSeq(text, ":") {
		words := strings.Split(part, ",")
		fields := map[string]string{}
		for _, w := range words[1:] {
			k, v, ok := strings.Cut(w, "=")
			known := false
			for _, key := range keys {
				known = known || key == k
			}
			if !ok || !known {
				return hint.Wrap(fmt.Errorf("cannot understand %q in %q", w, part), "it may have "+strings.Join(keys, "=…, ")+"=…")
			}
			fields[k] = v
		}
		if err := f(words[0], fields); err != nil {
			return err
		}
	}
	return nil
}
