// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the plugins: links to this program, by whose name it knows
// that it is one. What a plugin does stands in its configuration.
func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); {
	case len(os.Args) == 2 && os.Args[1] == "sleep":
		time.Sleep(time.Hour)
	case strings.HasPrefix(name, "stub"):
		os.Exit(pluginMain(name))
	default:
		os.Exit(m.Run())
	}
}

// seen is what a plugin was given, one line of its trace each.
type seen struct {
	Plugin string
	Env    map[string]string
	Stdin  map[string]any
	Child  int `json:",omitempty"`
}

// orders are a stub's configuration.
type orders struct {
	Do       map[string]string `json:"do"`    // by command
	Trace    string            `json:"trace"` // file
	Speaks   []string          `json:"speaks"`
	Version  string            `json:"cniVersion"`
	Address  string            `json:"address"`
	Previous map[string]any    `json:"prevResult"`
}

// pluginMain is a plugin's main.
func pluginMain(name string) int {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 90
	}
	var o orders
	s := seen{Plugin: name, Env: map[string]string{}}
	command := os.Getenv("CNI_COMMAND")
	if err := json.Unmarshal(text, &o); err != nil || json.Unmarshal(text, &s.Stdin) != nil {
		return 91
	}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		s.Env[k] = v
	}
	if command == "VERSION" {
		// It is told nothing but its name: that says what it speaks.
		switch name {
		case "stub-old":
			fmt.Print(`{"cniVersion":"","code":4,"msg":"unknown CNI_COMMAND: VERSION"}`)
			return 1
		case "stub-1.0":
			fmt.Print(`{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}`)
		case "stub-dumb":
			fmt.Print(`{}`)
		default:
			fmt.Print(`{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0","9.0.0"]}`)
		}
		return 0
	}
	do := o.Do[command]
	if do == "hang" || do == "daemon" {
		child := exec.Command("/proc/self/exe", "sleep")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if child.Start() != nil {
			return 92
		}
		s.Child = child.Process.Pid
	}
	if o.Trace != "" {
		line, _ := json.Marshal(s)
		f, err := os.OpenFile(o.Trace, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return 93
		}
		fmt.Fprintf(f, "%s\n", line)
	}
	switch do {
	case "", "daemon":
		if command == "ADD" {
			fmt.Print(stubResult(o, name))
		}
	case "fail":
		fmt.Print(`{"cniVersion":"` + o.Version + `","code":11,"msg":"no \u001b[31maddress\nis free","details":"try 10.0.0.0/8"}`)
		return 1
	case "exit":
		fmt.Fprint(os.Stderr, strings.Repeat("chatter ", 100_000), "the end of it")
		return 3
	case "panic":
		fmt.Print("panic: runtime error")
		return 2
	case "hang":
		fmt.Fprint(os.Stderr, "waiting for nobody")
		time.Sleep(time.Hour)
	case "flood":
		for {
			if _, err := fmt.Print(strings.Repeat(`{"cniVersion":`, 1000)); err != nil {
				return 0
			}
		}
	case "nonsense":
		fmt.Print("hello, world")
	case "silent":
	case "future":
		fmt.Print(`{"cniVersion":"9.9.9"}`)
	case "unversioned":
		fmt.Print(`{"ips":[{"version":"4","address":"10.0.0.2/24"}],"own":"kept"}`)
	case "ancient":
		fmt.Print(`{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","gateway":"10.0.0.1","routes":[{"dst":"0.0.0.0/0"}]}}`)
	case "signal":
		fmt.Fprint(os.Stderr, "a last word")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour)
	default:
		return 94
	}
	return 0
}

// stubResult is what came from the plugin before, or an interface with the
// configured address.
func stubResult(o orders, name string) string {
	r := o.Previous
	if r == nil && !atLeast(o.Version, "0.3.0") {
		r = map[string]any{"ip4": map[string]any{"ip": o.Address, "routes": []any{map[string]any{"dst": "0.0.0.0/0"}}}}
	} else if r == nil {
		r = map[string]any{
			"interfaces": []any{map[string]any{"name": os.Getenv("CNI_IFNAME"), "mac": "02:00:00:00:00:01", "sandbox": os.Getenv("CNI_NETNS")}},
			"dns":        map[string]any{"nameservers": []any{"10.0.0.53"}},
		}
		if o.Address != "" {
			ip := map[string]any{"address": o.Address, "interface": 0}
			if !atLeast(o.Version, "1.0.0") {
				ip["version"] = "4"
			}
			r["ips"] = []any{ip}
		}
	}
	r["cniVersion"] = o.Version
	r["last"] = name // of no version of the specification
	text, _ := json.Marshal(r)
	return string(text)
}

// plugins is a directory with the named stubs.
func plugins(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// trace reads what the stubs were given.
func trace(t testing.TB, file string) []seen {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var list []seen
	for line := range strings.Lines(string(text)) {
		var s seen
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// calls is the trace as words: "stub-a ADD".
func calls(list []seen) string {
	var words []string
	for _, s := range list {
		words = append(words, s.Plugin+" "+s.Env["CNI_COMMAND"])
	}
	return strings.Join(words, ", ")
}
