// SPDX-License-Identifier: Apache-2.0

package usermode

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// Whatever a pod's ports are, nothing is forwarded that was not asked for: pasta
// forwards everything, both ways, where a flag is missing.
func TestPastaArgs(t *testing.T) {
	ports := []contract.Port{
		{Protocol: "tcp", HostPort: 8080, PodPort: 80},
		{Protocol: "tcp", HostIP: "127.0.0.1", HostPort: 9000, PodPort: 90, Count: 3},
		{Protocol: "udp", HostPort: 5353, PodPort: 53},
	}
	for name, c := range map[string]struct {
		ports []contract.Port
		want  []string
	}{
		"none": {nil, []string{"--tcp-ports none", "--udp-ports none"}},
		"tcp":  {ports[:1], []string{"--tcp-ports 8080:80", "--udp-ports none"}},
		"all":  {ports, []string{"--tcp-ports 8080:80", "--tcp-ports 127.0.0.1/9000-9002:90-92", "--udp-ports 5353:53"}},
	} {
		args := pastaArgs("eth0", c.ports)
		var got []string
		for i, a := range args {
			if a == "--tcp-ports" || a == "--udp-ports" {
				got = append(got, a+" "+args[i+1])
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		all := strings.Join(args, " ")
		for _, must := range []string{"--no-map-gw", "--tcp-ns none", "--udp-ns none", "--foreground"} {
			if !strings.Contains(all, must) {
				t.Errorf("%s: no %s in %s", name, must, all)
			}
		}
	}
}

func TestFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := contract.Port{Name: "web", Protocol: "tcp", HostIP: "127.0.0.1", HostPort: l.Addr().(*net.TCPAddr).Port}
	if err := free([]contract.Port{port}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port that is taken: %v", err)
	}
	port.Protocol = "sctp"
	if err := free([]contract.Port{port}); err == nil {
		t.Error("SCTP is taken for free")
	}
}
