// SPDX-License-Identifier: Apache-2.0

package activation

import (
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
)

func inet(fd int, name, protocol, at string) Socket {
	return Socket{FD: fd, Name: name, Kinds: []string{protocol}, At: netip.MustParseAddrPort(at)}
}

func path(fd int, name string) Socket {
	return Socket{FD: fd, Name: name, Kinds: []string{"tcp", "sctp"}}
}

func pod(apps ...[]contract.Socket) *contract.Pod {
	p := &contract.Pod{}
	for i, s := range apps {
		p.Apps = append(p.Apps, contract.App{Name: string(rune('a' + i)), Sockets: s})
	}
	return p
}

func port(name, protocol string, n int) contract.Socket {
	return contract.Socket{Name: name, Protocol: protocol, Port: n}
}

func TestFor(t *testing.T) {
	web, dns := port("web", "tcp", 80), port("dns", "udp", 53)
	row := contract.Socket{Name: "row", Protocol: "tcp", Port: 90, Count: 2}
	local := contract.Socket{Name: "web", Protocol: "tcp", IP: "127.0.0.1", Port: 80}
	for name, c := range map[string]struct {
		given []Socket
		doc   *contract.Pod
		want  string // "app:fd=name …", or "!" and words of the error
	}{
		"nothing, for nobody":  {nil, pod(nil), ""},
		"not wanted by anyone": {[]Socket{inet(3, "x", "tcp", "0.0.0.0:80")}, pod(nil), ""},
		"by number":            {[]Socket{inet(3, "x.socket", "tcp", "[::]:80")}, pod([]contract.Socket{web}), "a:3=web"},
		"by name":              {[]Socket{inet(3, "web", "tcp", "[::]:8080")}, pod([]contract.Socket{web}), "a:3=web"},
		"a path by name":       {[]Socket{path(3, "web")}, pod([]contract.Socket{web}), "a:3=web"},
		"both versions of IP":  {[]Socket{inet(3, "", "tcp", "127.0.0.1:80"), inet(4, "", "tcp", "[::1]:80")}, pod([]contract.Socket{web}), "a:3=web a:4=web"},
		"in the ports' order":  {[]Socket{inet(3, "", "udp", "0.0.0.0:53"), inet(4, "", "tcp", "0.0.0.0:80")}, pod([]contract.Socket{web, dns}), "a:4=web a:3=dns"},
		"two apps":             {[]Socket{inet(3, "", "udp", "0.0.0.0:53"), inet(4, "", "tcp", "0.0.0.0:80")}, pod([]contract.Socket{web}, nil, []contract.Socket{dns}), "a:4=web c:3=dns"},
		"a row":                {[]Socket{inet(3, "", "tcp", "0.0.0.0:91"), inet(4, "", "tcp", "0.0.0.0:90")}, pod([]contract.Socket{row}), "a:3=row a:4=row"},
		"an address":           {[]Socket{inet(3, "", "tcp", "127.0.0.1:80")}, pod([]contract.Socket{local}), "a:3=web"},
		"a name before others' numbers": {[]Socket{inet(3, "dns", "udp", "0.0.0.0:54"), inet(4, "", "udp", "0.0.0.0:53")},
			pod([]contract.Socket{dns}, []contract.Socket{port("alt", "udp", 54)}), `!port "alt" of app "b" (udp 54) has no socket`},

		"none":               {nil, pod([]contract.Socket{web}), `!port "web" of app "a" (tcp 80) has no socket: the caller opened none`},
		"another number":     {[]Socket{inet(3, "x", "tcp", "0.0.0.0:81")}, pod([]contract.Socket{web}), `!no socket-activated port is descriptor 3 ("x", tcp 0.0.0.0:81)`},
		"another protocol":   {[]Socket{inet(3, "x", "udp", "0.0.0.0:80")}, pod([]contract.Socket{web}), "!no socket-activated port is descriptor 3"},
		"another address":    {[]Socket{inet(3, "", "tcp", "0.0.0.0:80")}, pod([]contract.Socket{local}), "!no socket-activated port is descriptor 3"},
		"a name's protocol":  {[]Socket{inet(3, "web", "udp", "0.0.0.0:80")}, pod([]contract.Socket{web}), "!cannot be port \"web\" of app \"a\", which is tcp"},
		"a path without":     {[]Socket{path(3, "x")}, pod([]contract.Socket{web}), "!no socket-activated port"},
		"a part of a row":    {[]Socket{inet(3, "", "tcp", "0.0.0.0:90")}, pod([]contract.Socket{row}), `!(tcp 91) has no socket: none of the caller's 1 is it`},
		"one too many":       {[]Socket{inet(3, "", "tcp", "0.0.0.0:80"), inet(4, "", "tcp", "0.0.0.0:22")}, pod([]contract.Socket{web}), "!no socket-activated port is descriptor 4"},
		"two apps, one name": {[]Socket{inet(3, "web", "tcp", "0.0.0.0:80")}, pod([]contract.Socket{web}, []contract.Socket{web}), "!is wanted by two ports"},
		"two apps, one port": {[]Socket{inet(3, "", "tcp", "0.0.0.0:80")}, pod([]contract.Socket{web}, []contract.Socket{port("other", "tcp", 80)}), `!is wanted by two ports, "web" of app "a" and "other" of app "b"`},
	} {
		got, err := Given{Sockets: c.given}.For(c.doc)
		var words []string
		for i, list := range got {
			for _, s := range list {
				words = append(words, string(rune('a'+i))+":"+strconv.Itoa(s.FD)+"="+s.Name)
			}
		}
		if want, bad := strings.CutPrefix(c.want, "!"); bad && (err == nil || !strings.Contains(err.Error(), want)) || !bad && (err != nil || strings.Join(words, " ") != want) {
			t.Errorf("%s: %q, %v; want %q", name, words, err, c.want)
		}
	}
	_, err := Given{other: 7}.For(pod([]contract.Socket{web}))
	if err == nil || !strings.Contains(err.Error(), "meant for process 7 (LISTEN_PID)") {
		t.Errorf("%v", err)
	}
}

// The test's binary takes what a shell gives it.
func TestMain(m *testing.M) {
	if os.Getenv("ACTIVATION_TAKE") == "" {
		os.Exit(m.Run())
	}
	g, err := Take()
	if err != nil {
		os.Stdout.WriteString("error " + err.Error())
		os.Exit(0)
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LISTEN_") {
			os.Stdout.WriteString("left " + v + " ")
		}
	}
	for i := range g.Sockets {
		os.Stdout.WriteString(g.Sockets[i].String() + " ")
	}
	os.Exit(0)
}

const opener = `
import os, socket, sys
s = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)]
s[1].bind(("::1", 0))
ports = [s[0].getsockname()[1], s[1].getsockname()[1]]
fds = [os.dup(x.fileno()) for x in s] + [os.dup(0)]
fds = [os.dup(f) for f in fds]
for i, f in enumerate(fds): os.dup2(f, 40 + i)
for i in range(len(fds)): os.dup2(40 + i, 3 + i); os.set_inheritable(3 + i, True)
os.closerange(3 + len(fds), 100)
e = dict(os.environ, **dict(a.split("=", 1) for a in sys.argv[2:]))
if e.get("LISTEN_PID") == "own": e["LISTEN_PID"] = str(os.getpid())
print("%d %d" % tuple(ports), flush=True)
os.execve(sys.argv[1], sys.argv[1:2], e)
`

func TestTake(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env  string
		want string // TCP and UDP stand for the numbers
	}{
		{"LISTEN_PID=own LISTEN_FDS=3 LISTEN_FDNAMES=a:b:c", `descriptor 3 ("a", tcp 127.0.0.1:TCP) descriptor 4 ("b", udp [::1]:UDP) descriptor 5 ("c", without a port number)`},
		{"LISTEN_PID=own LISTEN_FDS=2", `descriptor 3 (tcp 127.0.0.1:TCP) descriptor 4 (udp [::1]:UDP)`},
		{"LISTEN_PID=1 LISTEN_FDS=2 LISTEN_FDNAMES=a:b LISTEN_PIDFDID=5", ""},
		{"LISTEN_PID=own LISTEN_FDS=4", "error cannot take the caller's sockets: descriptor 6: it is not a socket; rkt gives nothing else to apps"},
		{"LISTEN_PID=own LISTEN_FDS=2 LISTEN_FDNAMES=a", "error cannot take the caller's sockets: there are 2, and LISTEN_FDNAMES has 1 names"},
		{"LISTEN_PID=own LISTEN_FDS=-1", `error cannot take the caller's sockets: LISTEN_FDS="-1" is not a number up to 512`},
		{"LISTEN_PID=own LISTEN_FDS=99999", `error cannot take the caller's sockets: LISTEN_FDS="99999" is not a number up to 512`},
		{"LISTEN_PID=x LISTEN_FDS=1", `error cannot take the caller's sockets: LISTEN_PID="x" is no process`},
	} {
		cmd := exec.Command("python3", append([]string{"-c", opener, exe, "ACTIVATION_TAKE=1"}, strings.Fields(c.env)...)...)
		out, err := cmd.Output()
		first, got, _ := strings.Cut(string(out), "\n")
		numbers := strings.Fields(first)
		if err != nil || len(numbers) != 2 {
			t.Fatalf("%s: %v, %q", c.env, err, out)
		}
		want := strings.NewReplacer("TCP", numbers[0], "UDP", numbers[1]).Replace(c.want)
		if strings.TrimSpace(got) != want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.env, got, want)
		}
	}
}
