// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfile

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/build/agent"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/sshagent"
)

// key makes a key and gives its path and fingerprint.
func key(t *testing.T, args ...string) (path, fingerprint string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", append([]string{"-q", "-f", path}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("ssh-keygen", "-lf", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return path, strings.Fields(string(out))[1]
}

// realAgent starts OpenSSH's agent with a key.
func realAgent(t *testing.T, key string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent")
	sshagent.Start(t, socket, key)
	return socket
}

// TestSSH: a step asks OpenSSH's agent, and the helper's, for keys and signatures,
// and can do nothing else to them.
func TestSSH(t *testing.T) {
	b := newBench(t)
	for _, p := range []string{"ssh-add", "ssh-keygen"} {
		if err := images.Program(filepath.Join(b.context, "host"), p); err != nil {
			t.Skip(err)
		}
	}
	b.file("host/etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:7:8::/:/bin/sh\n", 0o644)
	first, one := key(t, "-t", "ed25519", "-N", "")
	second, two := key(t, "-t", "rsa", "-b", "2048", "-N", "")
	third, three := key(t, "-t", "ecdsa", "-N", "", "-m", "PEM")
	public, err := os.ReadFile(second + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	b.file("host/rsa.pub", string(public), 0o644)
	socket := realAgent(t, first)
	var keys []fetch.AgentKey
	for _, k := range []string{second, third} {
		text, err := os.ReadFile(k)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, fetch.AgentKey{Name: k, PEM: text})
	}
	ours, err := fetch.OpenAgent(t.Context(), b.o.Fetch, keys)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ours.Close(); err != nil {
			t.Error(err)
		}
	}()
	b.o.Agents = map[string]agent.Ask{"default": agent.Socket(socket), "keys": func(_ context.Context, m []byte) ([]byte, error) { return ours.Ask(m) }}
	const text = `FROM tiny AS base
COPY host /
FROM base
RUN --mount=type=ssh echo $SSH_AUTH_SOCK > /first && ssh-add -l >> /first && stat -c '%a %u:%g' $SSH_AUTH_SOCK >> /first
RUN --mount=type=ssh --mount=type=ssh,id=keys,target=/run/mine,mode=0660,uid=7,gid=8 \
    stat -c '%a %u:%g' /run/mine > /second && SSH_AUTH_SOCK=/run/mine ssh-add -l >> /second
USER 7
RUN --mount=type=ssh,id=keys,required=true,uid=7 cd /tmp && echo text > text && ssh-keygen -q -Y sign -f /rsa.pub -n file text && ssh-keygen -Y check-novalidate -n file -s text.sig < text > signed
USER 0
RUN --mount=type=ssh ! ssh-add -D && ! ssh-add -d -k /rsa.pub && ssh-add -l | wc -l > /kept
RUN --mount=type=ssh,id=none echo "no $SSH_AUTH_SOCK" > /none
RUN ! ssh-add -l 2> /after && test ! -e /run/buildkit
`
	look := func(im output.Image, s *merge.Stack) {
		t.Helper()
		for path, want := range map[string]string{"first": "/run/buildkit/ssh_agent.0\n256 " + one + " ", "second": "660 7:8\n2048 " + two + "  (RSA)\n256 " + three + "  (ECDSA)\n",
			"tmp/signed": two, "kept": "100644 0:0 1\n", "none": "100644 0:0 no \n"} {
			if got := show(t, s, path); !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
		if got := show(t, s, "first"); !strings.HasSuffix(got, "\n600 0:0\n") {
			t.Errorf("first: %q", got)
		}
		check(t, s, map[string]string{"run/mine": "missing", "run/buildkit": "missing"})
	}
	b.must(text, look)
	if len(b.told.made) != 7 {
		t.Errorf("made %q", b.told.made)
	}
	// What the agent knows is in no key of the cache.
	b.o.Agents["default"] = func(context.Context, []byte) ([]byte, error) { t.Error("asked"); return nil, nil }
	b.must(text, look)
	if len(b.told.made) != 0 {
		t.Errorf("made again: %q", b.told.made)
	}
	b.o.Agents["default"] = agent.Socket(socket)
	b.o.Engine, b.o.Network = engine.Chroot, engine.NetworkHost
	b.must("FROM tiny\nCOPY host /\nRUN --mount=type=ssh ssh-add -l > /chroot\n", func(im output.Image, s *merge.Stack) {
		if got := show(t, s, "chroot"); !strings.Contains(got, one) {
			t.Errorf("engine chroot: %q", got)
		}
	})
	b.o.Engine = engine.Native
	for text, want := range map[string]string{
		"RUN --mount=type=ssh,id=none,required=true echo": `SSH agent "none" is required`,
		"RUN --mount=type=ssh,source=/x echo":             "cannot mount ssh: an SSH agent has no source",
		"RUN --mount=type=ssh,target=/proc/x echo":        "would hide",
	} {
		if err := b.build("FROM tiny\n"+text+"\n", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// A name that is no secret, but the caller's own business.
	if out, err := exec.Command("grep", "-rlF", filepath.Dir(third), b.o.DataDir).Output(); err == nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("a key's path is in %s", out)
	}
	locked, _ := key(t, "-t", "ed25519", "-N", "secret")
	for name, want := range map[string]string{locked: "it has a passphrase", first + ".pub": "cannot use key"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fetch.OpenAgent(t.Context(), b.o.Fetch, []fetch.AgentKey{{Name: name, PEM: text}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
