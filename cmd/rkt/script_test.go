// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rkt/rkt/test/layout"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/test/web"
)

// The scripts in testdata/script specify the command line, verb by verb. They
// run the programs as they are installed. Those that need root say so and are
// skipped without it.

// prefix is where rkt is installed for the tests, and busybox the layout of
// their image, "" if this machine has no static busybox.
var prefix, busybox string

func TestMain(m *testing.M) { os.Exit(rkt.Apart(func() int { return run(m) })) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rkt-script-")
	if err == nil {
		defer os.RemoveAll(dir)
		// Tests that drop privileges must get at the programs.
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		_, err = rkt.Build(dir, "")
	}
	if err == nil {
		prefix = dir
		busybox, err = busyboxImage(filepath.Join(dir, "busybox"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// busyboxImage makes the image "oci:DIR:v1": a static busybox that runs its
// shell, with the users of a small system.
func busyboxImage(dir string) (string, error) {
	const host = "/bin/busybox"
	if _, err := os.Stat(host); err != nil {
		return "", nil
	}
	l, err := layout.Create(dir)
	if err != nil {
		return "", err
	}
	layer, err := l.AddLayer(layout.Gzip, func(tw *tar.Writer) error {
		errs := []error{layout.Dir(tw, "bin", 0o755), layout.Dir(tw, "etc", 0o755), layout.Dir(tw, "tmp", 0o1777), layout.Copy(tw, host, "bin/busybox")}
		for _, name := range []string{"sh", "true", "false", "cat", "echo", "env", "id", "ls", "pwd", "sleep", "touch", "hostname", "grep", "test", "kill"} {
			errs = append(errs, layout.Symlink(tw, "bin/"+name, "busybox"))
		}
		errs = append(errs,
			layout.File(tw, "etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\ndaemon:x:12:13::/:/bin/sh\n"),
			layout.File(tw, "etc/group", 0o644, "root:x:0:\ndaemon:x:13:\nwheel:x:14:\n"))
		return errors.Join(errs...)
	})
	if err == nil {
		_, err = l.AddImage("v1", layout.Config{Env: []string{"PATH=/bin", "FROM=image"}, Entrypoint: []string{"/bin/sh"}, Cmd: []string{"-c", "echo default"}}, layer)
	}
	return dir, err
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Join(prefix, "bin")+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("PREFIX", prefix)
			// Neither the machine's configuration nor its pods are of concern.
			data := filepath.Join(e.WorkDir, "data")
			e.Setenv("RKT", fmt.Sprintf("--dir=%s --system-config=%s --local-config=%s", data, filepath.Join(e.WorkDir, "sys"), filepath.Join(e.WorkDir, "local")))
			sites, err := web.New()
			if err != nil {
				return err
			}
			e.Defer(sites.Close)
			e.Values[sitesKey{}] = sites
			e.Setenv("LAYOUT", busybox)
			e.Setenv("IMG", "oci:"+busybox+":v1")
			e.Setenv("ESC", "\x1b[31m")
			e.Setenv("RLO", "\u202e")                                                                 // turns the order of what follows around
			e.Setenv("ARCH", map[string]string{"amd64": "amd64", "arm64": "aarch64"}[runtime.GOARCH]) // as appc calls it
			e.Setenv("PLATFORM", runtime.GOOS+"/"+runtime.GOARCH)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "busybox":
				return busybox != "", nil
			}
			if name, ok := strings.CutPrefix(cond, "has:"); ok {
				_, err := exec.LookPath(name)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"rkt":  runRkt,
			"user": runUser,
			"web":  serveFile,
		},
	})
}

// runRkt: `rkt STATUS [ARG…]` runs rkt with the script's own directories and
// wants it to end with that status. When rkt itself fails, 254, nothing may be
// on standard output, and the first line on standard error must be an error in
// rkt's voice.
func runRkt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: rkt STATUS [ARG…]")
	}
	args = append(append(args[:1:1], strings.Fields(ts.Getenv("RKT"))...), args[1:]...)
	runProgram(ts, filepath.Join(prefix, "bin", "rkt"), args)
}

// runProgram runs it with args[1:] and wants the status args[0].
func runProgram(ts *testscript.TestScript, program string, args []string) {
	want, args := args[0], args[1:]
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
	if want != "254" {
		return
	}
	line, _, _ := strings.Cut(ts.ReadFile("stderr"), "\n")
	if _, message, ok := strings.Cut(line, ": cannot "); !ok || !strings.Contains(message, ": ") {
		ts.Fatalf("%q is not of the form `VERB: cannot …: …`", line)
	}
}

// runUser: `user STATUS [ARG…]` is `rkt`, as nobody, with no groups.
func runUser(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: user STATUS [ARG…]")
	}
	// `setpriv` of util-linux keeps ts.Exec's handling of output.
	args = append([]string{args[0], "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
		filepath.Join(prefix, "bin", "rkt")}, append(strings.Fields(ts.Getenv("RKT")), args[1:]...)...)
	runProgram(ts, "setpriv", args)
}

type sitesKey struct{}

// serveFile: `web URL FILE` has a web server of the test's own answer for URL
// with FILE, `web URL` with 404 again; from then on the script's programs see no
// other web.
func serveFile(ts *testscript.TestScript, neg bool, args []string) {
	sites, ok := ts.Value(sitesKey{}).(*web.Sites)
	if neg || !ok || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: web URL [FILE]")
	}
	for name, value := range sites.Env() {
		ts.Setenv(name, value)
	}
	sites.Gone(args[0])
	if len(args) == 2 {
		b, err := os.ReadFile(ts.MkAbs(args[1]))
		ts.Check(err)
		sites.File(args[0], b)
	}
}
