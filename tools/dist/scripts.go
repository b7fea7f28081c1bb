// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strings"
)

// units are the tree's systemd units that are enabled when the package is
// installed: those that say by whom they are wanted, unless they are templates.
func units(t tree) (names []string) {
	for _, e := range t {
		name := path.Base(e.path)
		if strings.Contains(e.path, "/systemd/system/") && !strings.Contains(name, "@") && bytes.Contains(e.body, []byte("\n[Install]\n")) {
			names = append(names, name)
		}
	}
	return names
}

// debScripts are the maintainer scripts, by name. Units are enabled, started and
// taken back as Debian's own tools do it: what an administrator disabled or masked
// stays so.
func debScripts(t tree) (map[string]string, error) {
	var enable, stop, forget strings.Builder
	for _, u := range units(t) {
		fmt.Fprintf(&enable, `	deb-systemd-helper unmask %[1]s >/dev/null || true
	if deb-systemd-helper --quiet was-enabled %[1]s; then
		deb-systemd-helper enable %[1]s >/dev/null || true
	else
		deb-systemd-helper update-state %[1]s >/dev/null || true
	fi
`, u)
		fmt.Fprintf(&stop, "	deb-systemd-invoke stop %s >/dev/null || true\n", u)
		fmt.Fprintf(&forget, "	deb-systemd-helper purge %[1]s >/dev/null || true\n	deb-systemd-helper unmask %[1]s >/dev/null || true\n", u)
	}
	start := ""
	if names := units(t); names != nil {
		start = `	if [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
		deb-systemd-invoke "$([ -n "$2" ] && echo restart || echo start)" ` + strings.Join(names, " ") + ` >/dev/null || true
	fi
`
	}
	out := map[string]string{}
	for name, parts := range map[string]map[string]string{
		"postinst": {"@UNITS@": enable.String() + start},
		"prerm":    {"@UNITS@": stop.String()},
		"postrm":   {"@UNITS@": forget.String()},
	} {
		text, err := script("deb-"+name, parts)
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}

// rpmScripts are what runs after installation, and before and after removal.
// Whether units are enabled is the distribution's word: its presets.
func rpmScripts(t tree) (post, preun, postun string, err error) {
	names := strings.Join(units(t), " ")
	parts := map[string]map[string]string{"rpm-post": {"@UNITS@": ""}, "rpm-preun": {"@UNITS@": ""}, "rpm-postun": {"@UNITS@": ""}}
	if names != "" {
		parts["rpm-post"]["@UNITS@"] = "systemctl --no-reload preset " + names + " >/dev/null 2>&1 || :"
		parts["rpm-preun"]["@UNITS@"] = "systemctl --no-reload disable --now " + names + " >/dev/null 2>&1 || :"
		parts["rpm-postun"]["@UNITS@"] = "systemctl try-restart " + names + " >/dev/null 2>&1 || :"
	}
	if post, err = script("rpm-post", parts["rpm-post"]); err != nil {
		return "", "", "", err
	}
	if preun, err = script("rpm-preun", parts["rpm-preun"]); err != nil {
		return "", "", "", err
	}
	postun, err = script("rpm-postun", parts["rpm-postun"])
	return post, preun, postun, err
}

// script is one of dist/package with lines in place of its words; a line whose word
// stands for nothing goes.
func script(name string, parts map[string]string) (string, error) {
	text, err := os.ReadFile("dist/package/" + name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		word := strings.TrimSpace(line)
		part, ok := parts[word]
		if !ok {
			b.WriteString(line)
			continue
		}
		b.WriteString(part)
		if part != "" && !strings.HasSuffix(part, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String(), nil
}
