// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// hostile is a document whose every string, but for names of apps and the UUID,
// would be an order to systemd.
func hostile() *contract.Pod {
	const order = "x\n[Service]\nExecStartPre=/bin/evil %i $HOME \"\\\n"
	return &contract.Pod{
		UUID: "0c4b1f5e-0000-4000-8000-000000000001", Hostname: "pod", StopSeconds: 10,
		Apps: []contract.App{
			{Name: "one", Exec: []string{order}, Environment: []string{"A=" + order}, WorkingDir: "/" + order, User: order, Group: order,
				PreStart: []string{order}, StopSignal: order, Mounts: []contract.Mount{{Volume: order, Target: order}}},
			{Name: "two-2", Exec: []string{"/bin/true"}},
		},
	}
}

// TestUnitsSayNothingOfTheImage: the units of a pod are those of one with the same
// names and nothing else.
func TestUnitsSayNothingOfTheImage(t *testing.T) {
	doc := hostile()
	plain := &contract.Pod{UUID: doc.UUID, Hostname: doc.Hostname, StopSeconds: doc.StopSeconds, Apps: []contract.App{{Name: "one"}, {Name: "two-2"}}}
	a, b := units(doc, "/usr/lib/systemd/systemd"), units(plain, "/usr/lib/systemd/systemd")
	if len(a) != len(b) {
		t.Fatalf("%d units, and %d without an image", len(a), len(b))
	}
	for name, text := range a {
		if text != b[name] {
			t.Errorf("%s depends on the image:\n%s", name, text)
		}
		if strings.Contains(text, "evil") {
			t.Errorf("%s has the image's words:\n%s", name, text)
		}
	}
	if u := a["two-2.service"]; !strings.Contains(u, "ExecStart=/rkt/stage1 app two-2\n") || !strings.Contains(u, "TimeoutStopSec=15s\n") {
		t.Errorf("two-2.service:\n%s", u)
	}
}

// TestUnitsAreUnits: systemd itself finds nothing wrong with them.
func TestUnitsAreUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	dir := t.TempDir()
	files := units(hostile(), "/usr/lib/systemd/systemd")
	var paths []string
	for name, text := range files {
		// rkt's own program is only there in the machine.
		text = strings.ReplaceAll(text, ownProgram, "/bin/true")
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	cmd := exec.Command("systemd-analyze", append([]string{"verify", "--man=no", "--generators=no"}, paths...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) || strings.Contains(line, ".service:") || strings.Contains(line, ".target:") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	t.Logf("systemd-analyze: %v", err)
}

func TestCoreOSTree(t *testing.T) {
	if _, err := CoreOS.tree(); err == nil {
		t.Error("a test is no tree's program")
	}
	if tree, err := Host.tree(); tree != "" || err != nil {
		t.Errorf("the host's tree is %q, %v", tree, err)
	}
}

func TestLeadingNumber(t *testing.T) {
	for text, want := range map[string]int{"252.so": 252, "245~rc1 (x)": 245, "": 0, "v9": 0, "99999999999999999999": 9223372036854775807} {
		if got := leadingNumber(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
