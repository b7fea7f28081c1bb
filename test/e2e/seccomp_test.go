// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
)

// podmanProfile is the one of golang-github-containers-common.
const podmanProfile = "/usr/share/containers/seccomp.json"

// seccompProfile writes a file for --seccomp=profile= and returns that flag.
func seccompProfile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return "--seccomp=profile=" + file
}

// TestSeccompProfile: what a profile in the OCI's form says of a call happens.
func TestSeccompProfile(t *testing.T) {
	h := host(t)
	rules := func(rules string) string {
		return seccompProfile(t, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[`+rules+`]}`)
	}
	for name, c := range map[string]struct {
		flags        []string
		script, want string
	}{
		"a chosen error":       {[]string{rules(`{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}`)}, "mkdir /tmp/x 2>&1 | grep -o 'No space left.*'", "No space left on device\n"},
		"death":                {[]string{rules(`{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_KILL_PROCESS"}`)}, "(exec mkdir /tmp/x) >/dev/null 2>&1; echo $?", "159\n"},
		"by argument, not met": {[]string{rules(`{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":448,"op":"SCMP_CMP_EQ"}]}`)}, "mkdir -m 777 /tmp/y && echo made", "made\n"},
		"by argument, met":     {[]string{rules(`{"names":["kill"],"action":"SCMP_ACT_ERRNO","errnoRet":5,"args":[{"index":1,"value":0,"op":"SCMP_CMP_EQ"}]}`)}, "kill -0 $$ 2>/dev/null || echo refused; kill -CONT $$ && echo sent", "refused\nsent\n"},
		"capabilities":         {[]string{rules(`{"names":["chroot"],"action":"SCMP_ACT_ERRNO","errnoRet":5,"excludes":{"caps":["CAP_SYS_CHROOT"]}}`)}, "chroot / /bin/echo in", "in\n"},
		"without capabilities": {[]string{"--caps-remove=CAP_SYS_CHROOT", rules(`{"names":["chroot"],"action":"SCMP_ACT_ERRNO","errnoRet":5,"excludes":{"caps":["CAP_SYS_CHROOT"]}}`)}, "chroot / /bin/echo in 2>&1 | grep -o 'Input.*'", "Input/output error\n"},
		"another user":         {[]string{"--user=1000", "--no-new-privs", rules(`{"names":["getcwd"],"action":"SCMP_ACT_ERRNO","errnoRet":12}`)}, "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -s '\\t\\n' ' '", "NoNewPrivs: 1 Seccomp: 2 "},
		"flags":                {[]string{seccompProfile(t, `{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_TSYNC"]}`)}, "grep Seccomp: /proc/self/status | tr -s '\\t\\n' ' '", "Seccomp: 2 "},
	} {
		t.Run(name, func(t *testing.T) {
			if r := tiny(t, h, nil, c.flags, c.script); r.Stdout != c.want {
				t.Errorf("%q, want %q\n%s", r.Stdout, c.want, r.Stderr)
			}
		})
	}
}

// TestSeccompProfileOfPodman: the profile that podman's containers get runs what
// it runs there, and denies what it denies there.
func TestSeccompProfileOfPodman(t *testing.T) {
	if _, err := os.Stat(podmanProfile); err != nil {
		t.Skip("needs golang-github-containers-common")
	}
	h := host(t)
	flags := []string{"--seccomp=profile=" + podmanProfile}
	r := tiny(t, h, nil, flags, "mkdir /tmp/x; ls -d /tmp/x; echo a | sed s/a/b/; unshare -m true 2>/dev/null || echo no namespace; grep Seccomp: /proc/self/status | tr -s '\\t\\n' ' '")
	if want := "/tmp/x\nb\nno namespace\nSeccomp: 2 "; r.Stdout != want {
		t.Errorf("%q, want %q\n%s", r.Stdout, want, r.Stderr)
	}
	// What enters the app is under it, too; a prepared pod keeps it.
	p, uuid := startTiny(t, h, nil, append(flags, "--caps-retain=CAP_SYS_ADMIN"), "echo ready; exec sleep 1000")
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "grep Seccomp: /proc/self/status | tr -s '\\t\\n' ' '"); r.Stdout != "Seccomp: 2 " {
		t.Errorf("what enters has %q\n%s", r.Stdout, r.Stderr)
	}
	if m := h.Must("cat-manifest", uuid).Stdout; !strings.Contains(m, `"os/linux/seccomp-profile"`) || !strings.Contains(m, `"SCMP_ACT_ERRNO"`) {
		t.Errorf("manifest: %s", m)
	}
	h.Must("stop", uuid)
	p.Wait()
	prepared := h.Must(append(append([]string{"prepare", tinyID(t, h)}, flags...), sh("grep Seccomp: /proc/self/status | tr -s '\\t\\n' ' '")...)...).Out()
	if r := h.Rkt("run-prepared", "--net=host", prepared); r.Stdout != "Seccomp: 2 " {
		t.Errorf("a prepared pod has %q\n%s", r.Stdout, r.Stderr)
	}
}

// TestSeccompProfileOfNginx: a server whose workers change their user.
func TestSeccompProfileOfNginx(t *testing.T) {
	if _, err := os.Stat(podmanProfile); err != nil {
		t.Skip("needs golang-github-containers-common")
	}
	h := host(t)
	file := filepath.Join(t.TempDir(), "uuid")
	nginx := h.Start("run", "--net=none", "--uuid-file-save="+file, image(t, images.Nginx), "--seccomp=profile="+podmanProfile)
	nginx.Expect("start worker process")
	uuid := readUUID(t, file)
	get := `exec 3<>/dev/tcp/127.0.0.1/8000; printf 'GET /index.html HTTP/1.0\r\n\r\n' >&3; cat <&3`
	if r := h.Rkt("enter", uuid, "/bin/bash", "-c", get); !strings.HasSuffix(r.Stdout, "served from a pod\n") {
		t.Errorf("the page: %q\n%s", r.Stdout, r.Stderr)
	}
	h.Must("stop", uuid)
	if got := nginx.Wait(); got != 0 {
		t.Errorf("nginx ended with %d after its stop signal", got)
	}
}

// TestSeccompProfileRefused: what cannot be had is refused before a pod is there.
func TestSeccompProfileRefused(t *testing.T) {
	h := host(t)
	id := tinyID(t, h)
	for text, want := range map[string]string{
		`{"defaultAction":"SCMP_ACT_ERRNO"}`: "does not allow execve",
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir9"],"action":"SCMP_ACT_ERRNO"}]}`: `unknown system call "mkdir9"`,
	} {
		r := h.Rkt("run", id, seccompProfile(t, text))
		if r.Status != 254 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: status %d, %s", text, r.Status, r.Stderr)
		}
	}
	if r := h.Must("list", "--no-legend"); strings.TrimSpace(r.Stdout) != "" {
		t.Errorf("pods: %s", r.Stdout)
	}
}
