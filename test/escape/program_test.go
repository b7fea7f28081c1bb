// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package escape

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/layout"
	"github.com/rkt/rkt/test/rkt"
)

// aliases write programs that are the file of whoever executes them
// (CVE-2019-5736), in all spellings.
func aliases(tw *layout.Tar) error {
	body, err := os.ReadFile(attacker)
	return errors.Join(err,
		layout.File(tw, "script", 0o755, "#!/proc/self/exe version\n"),
		layout.File(tw, "behind", 0o755, "#!/script\n"),
		layout.Symlink(tw, "link", "/proc/self/exe"),
		layout.File(tw, "by-link", 0o755, "#!/link version\n"),
		layout.File(tw, "waiting", 0o755, "#!/proc/self/exe init\n"),
		// So that what looks before /proc is mounted finds a program.
		layout.File(tw, "proc/self/exe", 0o755, string(body)),
		layout.File(tw, "proc/2/exe", 0o755, string(body)),
	)
}

// TestEscapeOwnExe: no image has a program of the host's executed but stage1,
// which is on a read-only mount.
func TestEscapeOwnExe(t *testing.T) {
	h := host(t)
	image := hostile(t, h, layout.Config{}, aliases)
	for _, program := range []string{"/script", "/behind", "/link", "/by-link", "/proc/self/exe", "/proc/2/exe", "/proc/thread-self/exe", "/proc/1/exe"} {
		r := h.Rkt("run", "--net=none", image, "--exec="+program, "--", "version")
		if strings.Contains(r.Stdout+r.Stderr, "rkt Version") || strings.Contains(r.Stderr, "version: ") {
			t.Errorf("%s: the host's rkt ran in the pod:\n%s%s", program, r.Stdout, r.Stderr)
		}
	}
	// That is a real attempt: any program that executes such a script is executed.
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/inner", []byte("echo done\n"), 0o755))
	must(t, os.WriteFile(dir+"/script", []byte("#!/proc/self/exe "+dir+"/inner\n"), 0o755))
	if out, err := exec.Command("/bin/sh", "-c", "exec "+dir+"/script").CombinedOutput(); err != nil || string(out) != "done\n" {
		t.Errorf("on the host: %q, %v", out, err)
	}
}

// TestEscapeForeignExe: what of the host's does run in a pod, stage1 as pid 1 and
// as `enter`, cannot be written to, even by who may look at every process.
func TestEscapeForeignExe(t *testing.T) {
	h := host(t)
	image := hostile(t, h, layout.Config{Env: []string{"RKT_INHERITED=0 0 0 0 0 0 0 0 0 0"}}, aliases)
	uuid := filepath.Join(t.TempDir(), "uuid")
	p := h.Start("run", "--net=none", "--uuid-file-save="+uuid, image, "--caps-retain=CAP_SYS_PTRACE,CAP_DAC_OVERRIDE", "--exec=/attack", "--", "sleep")
	p.Expect("ready")
	id := read(t, uuid)
	r := h.Must("enter", id, "/attack", "foreign-exe")
	if v := judge(r.Stdout); v.done || !strings.Contains(v.said, "process 1: "+unix.EROFS.Error()) {
		t.Errorf("pid 1: %q", v.said)
	}
	// A second one, executed by an image's script that enter was given, waits for
	// its standard input.
	in, give, err := os.Pipe()
	must(t, err)
	cmd := exec.Command(install.Bin("rkt"), append(append([]string{"--dir=" + h.Dir}, h.Flags...), "enter", id, "/waiting")...)
	cmd.Env, cmd.Stdin = h.Env, in
	must(t, cmd.Start())
	for range 3 {
		if v := judge(h.Must("enter", id, "/attack", "foreign-exe").Stdout); v.done || !strings.Contains(v.said, unix.EROFS.Error()) {
			t.Errorf("enter: %q", v.said)
		}
	}
	must(t, give.Close())
	_ = cmd.Wait()
	h.Must("stop", "--force", id)
	p.Wait()
	copied := filepath.Join(t.TempDir(), "sleep")
	must(t, exec.Command("cp", "-L", "/bin/sleep", copied).Run())
	sleep := exec.Command(copied, "60")
	must(t, sleep.Start())
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	if v := onHost(t, exec.Command(attacker, "foreign-exe", itoa(sleep.Process.Pid)), 0); !v.done {
		t.Errorf("on the host: %q", v.said)
	}
}

// TestEscapeDescriptors: what the caller of rkt has open is not the app's, nor is
// anything of rkt's (CVE-2016-9962, CVE-2024-21626).
func TestEscapeDescriptors(t *testing.T) {
	w := newWorld(t)
	dir, err := os.Open(filepath.Dir(w.secret))
	must(t, err)
	defer dir.Close()
	attempt := func(args ...string) verdict {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env, cmd.ExtraFiles = w.host.Env, []*os.File{w.open, dir, dir, dir}
		return onHost(t, cmd, 0)
	}
	rkt := append([]string{install.Bin("rkt"), "--dir=" + w.host.Dir}, w.host.Flags...)
	run := append(rkt[:len(rkt):len(rkt)], "run", "--net=none", w.image, "--exec=/attack", "--")
	if v := attempt(append(run, "descriptors")...); v.done || v.said == "" {
		t.Errorf("run: %q", v.said)
	}
	uuid := filepath.Join(t.TempDir(), "uuid")
	p := w.host.Start("run", "--net=none", "--uuid-file-save="+uuid, w.image, "--exec=/attack", "--", "sleep")
	p.Expect("ready")
	id := read(t, uuid)
	if v := attempt(append(rkt[:len(rkt):len(rkt)], "enter", id, "/attack", "descriptors")...); v.done || v.said == "" {
		t.Errorf("enter: %q", v.said)
	}
	w.host.Must("stop", "--force", id)
	p.Wait()
	if v := attempt(attacker, "descriptors"); !v.done {
		t.Errorf("without rkt: %q", v.said)
	}
	// As working directory: from there it would be a relative path to the secret.
	for fd := 3; fd < 24; fd++ {
		image := hostile(t, w.host, layout.Config{WorkingDir: "/proc/self/fd/" + itoa(fd)}, nil)
		args := append(rkt[:len(rkt):len(rkt)], "run", "--net=none", image, "--exec=/attack", "--", "exists")
		for _, path := range []string{"secret", "../secret", "../../../../../.." + w.secret} {
			if v := attempt(append(args, path)...); v.done {
				t.Errorf("descriptor %d as working directory, %s: %q", fd, path, v.said)
			}
		}
	}
	cmd := exec.Command(attacker, "exists", "secret")
	cmd.Dir, cmd.ExtraFiles = "/proc/self/fd/4", []*os.File{w.open, dir}
	cmd.Dir = "/proc/self/fd/" + itoa(int(dir.Fd()))
	if v := onHost(t, cmd, 0); !v.done {
		t.Errorf("without rkt: %q", v.said)
	}
}

// TestEscapeKeyring: an app, and what is entered, has no key of the caller's
// session, though it may use keys.
func TestEscapeKeyring(t *testing.T) {
	w := newWorld(t)
	runtime.LockOSThread() // it ends with the test: the keyring is its own
	_, err := unix.KeyctlJoinSessionKeyring("rkt-escape")
	must(t, err)
	_, err = unix.AddKey("user", "session-secret", []byte("precious"), unix.KEY_SPEC_SESSION_KEYRING)
	must(t, err)
	try := []string{"session-key", "session-secret"}
	if v := inPod(t, w.host, w.image, noFilter.and(flags{pod: []string{"--net=none"}}), try...); v.done || v.said == "" {
		t.Errorf("run: %q", v.said)
	}
	uuid := filepath.Join(t.TempDir(), "uuid")
	p := w.host.Start("--insecure-options=image,seccomp", "run", "--net=none", "--uuid-file-save="+uuid, w.image, "--exec=/attack", "--", "sleep")
	p.Expect("ready")
	id := read(t, uuid)
	if v := judge(w.host.Must("enter", id, "/attack", try[0], try[1]).Stdout); v.done || v.said == "" {
		t.Errorf("enter: %q", v.said)
	}
	w.host.Must("stop", "--force", id)
	p.Wait()
	if v := onHost(t, exec.Command(attacker, try...), 0); !v.done {
		t.Errorf("on the host: %q", v.said)
	}
}

// TestEscapeTerminal: however many of rkt's streams are the caller's terminal,
// none of the app's is: from each, what is typed could be read.
func TestEscapeTerminal(t *testing.T) {
	w := newWorld(t)
	uuid := filepath.Join(t.TempDir(), "uuid")
	p := w.host.Start("run", "--net=none", "--uuid-file-save="+uuid, w.image, "--exec=/attack", "--", "sleep")
	p.Expect("ready")
	id := read(t, uuid)
	rkt := append([]string{install.Bin("rkt"), "--dir=" + w.host.Dir}, w.host.Flags...)
	for which := 1; which < 8; which++ {
		for name, args := range map[string][]string{
			"run":   append(rkt[:len(rkt):len(rkt)], "run", "--net=none", w.image, "--exec=/attack", "--", "terminal"),
			"enter": append(rkt[:len(rkt):len(rkt)], "enter", id, "/attack", "terminal"),
			"":      {attacker, "terminal"},
		} {
			out := atTerminal(t, w.host, which, args)
			if done := strings.Contains(out, "done"); done != (name == "") || out == "" {
				t.Errorf("%s with streams %03b: %q", name, which, out)
			}
		}
	}
	w.host.Must("stop", "--force", id)
	p.Wait()
}

// atTerminal runs a program with those of its streams whose bits are set at a
// terminal, and the others at pipes, and returns all that it wrote.
func atTerminal(t *testing.T, h *rkt.Host, which int, args []string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer master.Close()
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	slave, err := os.OpenFile("/dev/pts/"+itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	null, err := os.Open("/dev/null")
	must(t, err)
	defer null.Close()
	var st unix.Stat_t
	must(t, unix.Fstat(int(slave.Fd()), &st))
	cmd := exec.Command(args[0], append(args[1:len(args):len(args)], fmt.Sprint(st.Dev), fmt.Sprint(st.Rdev))...)
	cmd.Env = h.Env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, w, w
	if which&1 != 0 {
		cmd.Stdin = slave
	}
	if which&2 != 0 {
		cmd.Stdout = slave
	}
	if which&4 != 0 {
		cmd.Stderr = slave
	}
	must(t, cmd.Start())
	_, _ = w.Close(), slave.Close()
	var said strings.Builder
	ended := make(chan string)
	go func() { ended <- readAll(master) }()
	said.WriteString(readAll(r))
	_ = cmd.Wait()
	said.WriteString(<-ended)
	return said.String()
}
