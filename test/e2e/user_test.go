// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"github.com/rkt/rkt/test/images"
)

func TestUsers(t *testing.T) {
	h := host(t)
	for name, c := range map[string]struct {
		flags []string
		want  string // "uid gid groups"
	}{
		"default":              {nil, "0 0 0"},
		"number":               {[]string{"--user=12"}, "12 0 0"},
		"number and group":     {[]string{"--user=12", "--group=34"}, "12 34 34"},
		"name":                 {[]string{"--user=alice"}, "1000 1001 1001 50"},
		"name, group by name":  {[]string{"--user=alice", "--group=www-data"}, "1000 33 33"},
		"number of a name":     {[]string{"--user=33"}, "33 33 33"},
		"owner of a file":      {[]string{"--user=/srv/owned"}, "4242 4343 4343"},
		"group of a file":      {[]string{"--user=/srv/owned", "--group=/srv/owned"}, "4242 4343 4343"},
		"supplementary groups": {[]string{"--user=12", "--group=34", "--supplementary-gids=50,60"}, "12 34 34 50 60"},
		"name and number":      {[]string{"--user=alice", "--group=7"}, "1000 7 7"},
	} {
		t.Run(name, func(t *testing.T) {
			r := tiny(t, h, nil, c.flags, "echo $(id -u) $(id -g) $(id -G)")
			// rkt's rule for the group of a plain number differs from Docker's
			// only where the image's passwd knows the number.
			if r.Status != 0 || r.Out() != c.want {
				t.Errorf("uid gid groups = %q, want %q (status %d)\n%s", r.Out(), c.want, r.Status, r.Stderr)
			}
		})
	}
	if r := tiny(t, h, nil, []string{"--user=nobody-we-know"}, "id"); r.Status != 254 {
		t.Errorf("an unknown user: exit status %d, want 254", r.Status)
	}
}

// TestCapabilities: an app has rkt's fourteen capabilities and no more in its
// bounding set; an ordinary user has none.
func TestCapabilities(t *testing.T) {
	h := host(t)
	// AUDIT_WRITE CHOWN DAC_OVERRIDE FSETID FOWNER KILL MKNOD NET_RAW
	// NET_BIND_SERVICE SETUID SETGID SETPCAP SETFCAP SYS_CHROOT
	const fourteen = "00000000a80425fb"
	script := "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status | tr -s '\\t\\n' ' '"
	want := "CapInh: 0000000000000000 CapPrm: " + fourteen + " CapEff: " + fourteen + " CapBnd: " + fourteen + " CapAmb: 0000000000000000 NoNewPrivs: 0 Seccomp: 2"
	if got := tiny(t, h, nil, nil, script).Out(); got != want {
		t.Errorf("root:\n got %s\nwant %s", got, want)
	}
	none := "0000000000000000"
	want = "CapInh: " + none + " CapPrm: " + none + " CapEff: " + none + " CapBnd: " + fourteen + " CapAmb: " + none + " NoNewPrivs: 0 Seccomp: 2"
	if got := tiny(t, h, nil, []string{"--user=12"}, script).Out(); got != want {
		t.Errorf("user 12:\n got %s\nwant %s", got, want)
	}
	want = "CapBnd: 0000000000000400"
	if got := tiny(t, h, nil, []string{"--caps-retain=CAP_NET_BIND_SERVICE"}, "grep CapBnd /proc/self/status | tr -s '\\t\\n' ' '").Out(); got != want {
		t.Errorf("--caps-retain: got %q, want %q", got, want)
	}
	want = "CapBnd: 00000000a80425fa"
	if got := tiny(t, h, nil, []string{"--caps-remove=CAP_CHOWN"}, "grep CapBnd /proc/self/status | tr -s '\\t\\n' ' '").Out(); got != want {
		t.Errorf("--caps-remove: got %q, want %q", got, want)
	}
}

// TestSeccomp: the filter of the command line holds.
func TestSeccomp(t *testing.T) {
	h := host(t)
	r := tiny(t, h, nil, []string{"--seccomp=mode=remove,errno=ENOSYS,mkdir,mkdirat"}, "mkdir /x; echo $?")
	if r.Out() != "1" {
		t.Errorf("mkdir under a filter that removes it: stdout %q, stderr %q", r.Out(), r.Stderr)
	}
	r = tiny(t, h, nil, nil, "unshare -m true && echo made a namespace")
	if r.Out() != "" {
		t.Errorf("the default filter allows unshare: %q", r.Out())
	}
	// Today's libc and tools work under the default filter.
	if r := h.Rkt("run", "--net=host", image(t, images.Shell), "--exec=/bin/bash", "--", "-c", "ls -l / > /dev/null && date > /dev/null && find /usr/bin -newer /etc/passwd > /dev/null && echo fine"); r.Out() != "fine" {
		t.Errorf("glibc's tools under the default filter: %q, %s", r.Out(), r.Stderr)
	}
}
