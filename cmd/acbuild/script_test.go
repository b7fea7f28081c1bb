// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rkt/rkt/test/registry"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/test/web"
)

// The scripts in testdata/script specify acbuild's and actool's command lines.
// They run the programs as they are installed.

var prefix string

func TestMain(m *testing.M) { os.Exit(rkt.Apart(func() int { return run(m) })) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "acbuild-script-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		_, err = rkt.Build(dir, "")
	}
	if err == nil {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "hello"), "github.com/rkt/rkt/examples/hello")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out []byte
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	prefix = dir
	return m.Run()
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Values[sites{}] = new(*web.Sites)
			e.Setenv("PATH", filepath.Join(prefix, "bin")+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("HELLO", filepath.Join(prefix, "hello"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_RUNTIME_DIR", e.WorkDir)
			e.Setenv("RKT", fmt.Sprintf("--dir=%[1]s/data --system-config=%[1]s/sys --local-config=%[1]s/local", e.WorkDir))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"acbuild":  program("acbuild", "RKT"),
			"actool":   program("actool", ""),
			"rkt":      program("rkt", "RKT"),
			"user":     user,
			"validate": validateLayout,
			"same":     same,
			"registry": startRegistry,
			"dsse":     dsse,
			"web":      serveWeb,
			"asked":    asked,
		},
	})
}

// program makes `NAME STATUS [ARG…]`: it is run and must end with that status.
// When acbuild fails by itself nothing may be on standard output, and the first
// line on standard error must be an error in its voice.
func program(name, flags string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) == 0 {
			ts.Fatalf("usage: %s STATUS [ARG…]", name)
		}
		status(ts, args[0], filepath.Join(prefix, "bin", name), append(strings.Fields(ts.Getenv(flags)), args[1:]...))
		if args[0] != "1" && args[0] != "2" || name == "rkt" {
			return
		}
		line, _, _ := strings.Cut(ts.ReadFile("stderr"), "\n")
		if _, message, ok := strings.Cut(line, ": "); !ok || !strings.Contains(message, "cannot ") && !strings.Contains(message, "invalid") {
			ts.Fatalf("%q is not of the form `VERB: cannot …: …`", line)
		}
	}
}

// user is acbuild as nobody.
func user(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: user STATUS [ARG…]")
	}
	status(ts, args[0], "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
		filepath.Join(prefix, "bin", "acbuild")}, args[1:]...))
}

func status(ts *testscript.TestScript, want, program string, args []string) {
	err := ts.Exec(program, args...)
	var exit *exec.ExitError
	got := "0"
	switch {
	case errors.As(err, &exit):
		got = fmt.Sprint(exit.ExitCode())
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("%q ended with status %s, want %s", args, got, want)
	}
}

// validateLayout: `validate DIR` has crane's library look at each image of a
// layout: digests, sizes, diff IDs, what the documents say of each other.
func validateLayout(ts *testscript.TestScript, _ bool, args []string) {
	ix, err := layout.ImageIndexFromPath(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(validate.Index(ix))
}

// same: `same FILE FILE` compares two files by content.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if (ts.ReadFile(args[0]) == ts.ReadFile(args[1])) == neg {
		ts.Fatalf("%v: want the same: %v", args, !neg)
	}
}

// dsse: `dsse FILE PUB` wants the envelope in FILE to be signed by the key in PUB
// (ECDSA), and its payload to be an in-toto statement.
func dsse(ts *testscript.TestScript, neg bool, args []string) {
	var e struct {
		PayloadType string
		Payload     []byte
		Signatures  []struct{ Sig []byte }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &e))
	block, _ := pem.Decode([]byte(ts.ReadFile(args[1])))
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	ts.Check(err)
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || len(e.Signatures) != 1 || !strings.Contains(string(e.Payload), `"_type":"https://in-toto.io/Statement/v1"`) {
		ts.Fatalf("%T, %+v", parsed, e)
	}
	sum := sha256.Sum256([]byte("DSSEv1 " + strconv.Itoa(len(e.PayloadType)) + " " + e.PayloadType + " " + strconv.Itoa(len(e.Payload)) + " " + string(e.Payload)))
	if ecdsa.VerifyASN1(key, sum[:], e.Signatures[0].Sig) == neg {
		ts.Fatalf("signed by %s: %v", args[1], neg)
	}
}

// startRegistry: `registry` sets REGISTRY to the address of an empty one.
func startRegistry(ts *testscript.TestScript, _ bool, _ []string) {
	addr, stop, err := registry.StartDistribution(ts.MkAbs("registry"))
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("REGISTRY", addr)
}

// sites is the key of a script's web.
type sites struct{}

// serveWeb: `web FILE` has the script's programs see a web of the test's own, with
// the pages that the lines of FILE are: a URL and its text.
func serveWeb(ts *testscript.TestScript, _ bool, args []string) {
	s, err := web.New()
	ts.Check(err)
	ts.Defer(s.Close)
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		url, text, _ := strings.Cut(line, " ")
		s.Text(url, text)
	}
	for name, value := range s.Env() {
		ts.Setenv(name, value)
	}
	*ts.Value(sites{}).(**web.Sites) = s
}

// asked: `asked URL…` wants the web to have been asked for these since it was last
// looked, in this order.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	got := (*ts.Value(sites{}).(**web.Sites)).Asked()
	if slices.Equal(got, args) == neg {
		ts.Fatalf("asked for %q", got)
	}
}
