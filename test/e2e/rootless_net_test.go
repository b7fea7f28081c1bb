// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rkt/rkt/test/rkt"
)

// listen serves the word "secret" on the host's loopback.
func listen(t *testing.T) (port string, done func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "secret\n")
			_ = c.Close()
		}
	}()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), func() { _ = l.Close() }
}

// dial reads what addr says, as soon as somebody is there and says something.
func dial(t *testing.T, addr string) string {
	t.Helper()
	for until := time.Now().Add(rkt.Patience); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			continue
		}
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if len(b) > 0 {
			return string(b)
		}
	}
	return ""
}

// running are the ordinary user's processes that were started as program.
func running(t *testing.T, program string) (pids []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		b, err := os.ReadFile(dir + "/cmdline")
		if err == nil && state(pid) != "Z" && filepath.Base(firstWord(b)) == program {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		t.Errorf("%s does not run", program)
	}
	return pids
}

func firstWord(cmdline []byte) string {
	for i, c := range cmdline {
		if c == 0 {
			return string(cmdline[:i])
		}
	}
	return string(cmdline)
}

// gone waits for the end of a process that is not the test's child.
func gone(t *testing.T, pid int) {
	t.Helper()
	for until := time.Now().Add(rkt.Patience); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if s := state(pid); s == "" || s == "Z" {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}
