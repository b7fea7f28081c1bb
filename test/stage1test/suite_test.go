// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package stage1test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/tools/programs"
)

var (
	only = flag.String("flavors", "", "names of the flavors to test, with commas between them, and all of the tests for each")
	full = flag.Bool("full", false, "all tests for heavy flavors, too")
	more = flag.String("stage1", "", "one more flavor: what --stage1-path takes, and its manifest beside it as FILE.json")
)

var (
	install rkt.Install
	table   Table
)

func TestMain(m *testing.M) {
	flag.Parse()
	// In tools/vm's machine there is no Go to build with, and all is there.
	ready := os.Getenv("RKT_TEST_INSTALL")
	if ready == "" {
		rkt.Download("stage1-kvm", "stage1-coreos")
	}
	os.Exit(rkt.ApartWithMounts(func() int {
		if os.Geteuid() != 0 {
			return m.Run()
		}
		if ready != "" {
			install = rkt.Install{Dir: ready}
			return m.Run()
		}
		return rkt.WithInstall("rkt-stage1test-", func(made rkt.Install) int {
			install = made
			status := m.Run()
			table.Print(os.Stdout)
			return status
		})
	}))
}

// known are the flavors that rkt is to come with, whether this tree builds them or
// not.
var known = []struct {
	name  string
	needs []string // programs of the host's
	tool  string   // what adds to an installation what the build alone does not
	heavy bool
}{
	{name: "native"},
	{name: "fly"},
	{name: "host", needs: []string{"systemd-nspawn"}},
	{name: "coreos", heavy: true},
	{name: "kvm", needs: []string{"qemu-system-x86_64", "/usr/lib/qemu/virtiofsd"}, tool: "stage1-kvm", heavy: true},
}

// TestFlavors runs all tests against all flavors.
func TestFlavors(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var names []string
	for _, k := range known {
		names = append(names, k.name)
	}
	for _, p := range programs.List() {
		for _, f := range p.Flavors {
			if !slices.Contains(names, f) {
				names = append(names, f)
			}
		}
	}
	var list []Flavor
	for _, name := range names {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), name) {
			continue
		}
		list = append(list, installed(t, name))
	}
	if *only == "" || slices.Contains(strings.Split(*only, ","), "python") {
		list = append(list, example(t))
	}
	if *only != "" {
		for _, name := range strings.Split(*only, ",") {
			if !slices.ContainsFunc(list, func(f Flavor) bool { return f.Name == name }) {
				t.Errorf("there is no flavor %q", name)
			}
		}
	}
	if *more != "" {
		f := Flavor{Name: filepath.Base(*more), Choose: "--stage1-path=" + *more}
		readManifest(t, &f, *more+".json")
		list = append(list, f)
	}
	Run(t, install, list, &table)
}

// example is the flavor in examples/stage1-python, as an image.
func example(t *testing.T) Flavor {
	const dir = "../../examples/stage1-python"
	f := Flavor{Name: "python"}
	if _, err := exec.LookPath("python3"); err != nil {
		f.Absent = "it needs python3"
		return f
	}
	image := filepath.Join(t.TempDir(), "stage1-python.aci")
	cmd := exec.Command(dir+"/build-aci", image)
	cmd.Env = append(os.Environ(), "PATH="+install.Dir+"/bin:"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot pack the example: %v\n%s", err, out)
	}
	f.Choose = "--stage1-path=" + image
	readManifest(t, &f, dir+"/stage1.json")
	return f
}

// installed is a flavor of those that lie beside rkt.
func installed(t *testing.T, name string) Flavor {
	f := Flavor{Name: name, Choose: "--stage1=" + name}
	path := filepath.Join(install.Dir, "libexec", "rkt", programs.Manifest(name))
	if name == "coreos" {
		path = filepath.Join(install.Dir, "libexec", "rkt", "stage1-coreos", contract.TreeManifest)
		if err := coreOSTool("-o", install.Dir, "-image=false"); err != nil && os.Getenv("RKT_TEST_INSTALL") == "" {
			f.Absent = err.Error()
			return f
		}
	}
	if _, err := os.Stat(path); err != nil {
		f.Absent = fmt.Sprintf("it is not installed: there is no %s", programs.Manifest(name))
		return f
	}
	for _, k := range known {
		if k.name != name {
			continue
		}
		f.Core = k.heavy && !*full && *only == ""
		for _, program := range k.needs {
			if _, err := exec.LookPath(program); err != nil {
				f.Absent = "it needs " + program
			}
		}
		if k.tool != "" && f.Absent == "" {
			if out, err := exec.Command("go", "run", "github.com/rkt/rkt/tools/"+k.tool, "-o", install.Dir).CombinedOutput(); err != nil {
				t.Fatalf("cannot make the flavor %s: %v\n%s", name, err, out)
			}
		}
	}
	readManifest(t, &f, path)
	return f
}

// coreOSTool is run for the tree of the coreos flavor.
func coreOSTool(args ...string) error {
	out, err := exec.Command(programs.Go(), append([]string{"run", "../../tools/stage1-coreos"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("its tree cannot be made: %s", strings.TrimSpace(string(out)))
	}
	return nil
}

func readManifest(t *testing.T, f *Flavor, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		f.Manifest, err = contract.DecodeManifest(text)
	}
	if err != nil {
		t.Fatal(err)
	}
}
