// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rkt/rkt/test/layout"
)

// software is a set of programs and what they need to run.
type software struct {
	name     string
	programs []string          // names on this machine's PATH
	without  *software         // what a lower layer brings
	trees    []string          // directories taken whole
	packages []string          // Debian packages whose libraries are taken, as dpkg-query takes them
	links    map[string]string // symbolic links to add
	files    []file            // found by find
}

type file struct{ host, name string }

var (
	tiny = software{name: "busybox", programs: []string{"busybox"}, links: applets(
		"sh", "cat", "ls", "id", "env", "echo", "sleep", "true", "false", "stat", "mount", "umount", "touch", "mkdir", "rm", "ps", "kill",
		"hostname", "grep", "wc", "mknod", "chown", "chmod", "readlink", "sort", "head", "tr", "od", "ip", "nc", "stty", "tty", "date", "find", "dd", "seq", "test", "unshare", "ln", "df", "yes", "sed", "cut", "setsid", "uname", "cp", "mv", "printenv", "du", "tail", "killall", "cmp")}
	shell = software{name: "shell", programs: []string{
		"bash", "dash", "cat", "ls", "id", "env", "echo", "sleep", "true", "false", "stat", "touch", "mkdir", "rm", "hostname", "uname",
		"grep", "sed", "wc", "mknod", "chown", "chmod", "readlink", "sort", "head", "tail", "tr", "date", "find", "dd", "seq", "ps", "ln", "df", "stty", "tty"},
		links: map[string]string{"usr/bin/sh": "dash"}}
	python = software{name: "python", programs: []string{"python3"}, without: &shell, packages: []string{"libpython3.*-minimal"}}
	etcd   = software{name: "etcd", programs: []string{"etcd", "etcdctl"}, without: &shell}
	nginx  = software{name: "nginx", programs: []string{"nginx"}, without: &shell, trees: []string{"/usr/lib/nginx/modules", "/usr/share/nginx"}}
)

func applets(names ...string) map[string]string {
	links := map[string]string{}
	for _, n := range names {
		links["usr/bin/"+n] = "busybox"
	}
	return links
}

var library = regexp.MustCompile(`(?m)^\s+(?:\S+ => )?(/\S+) \(0x`)

// find fills files: each program, the libraries ldd says it loads, and those
// that glibc loads by name.
func (s *software) find() error {
	if s.files != nil {
		return nil
	}
	if s.without != nil {
		if err := s.without.find(); err != nil {
			return err
		}
	}
	add := func(host string) error {
		real, err := filepath.EvalSymlinks(filepath.Dir(host))
		if err != nil {
			return err
		}
		f := file{host, strings.TrimPrefix(filepath.Join(real, filepath.Base(host)), "/")}
		if !slices.Contains(s.files, f) && (s.without == nil || !slices.Contains(s.without.files, f)) {
			s.files = append(s.files, f)
		}
		return nil
	}
	for _, name := range s.programs {
		path, err := lookPath(name)
		if err != nil {
			return fmt.Errorf("cannot make the %s image: %w (Debian packages: make test installs them)", s.name, err)
		}
		if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
			if err := add(real); err != nil { // what alternatives and versions stand for
				return err
			}
		}
		// ldd fails on static programs, which is an answer too.
		out, _ := exec.Command("ldd", path).Output()
		hosts := []string{path}
		for _, m := range library.FindAllStringSubmatch(string(out), -1) {
			hosts = append(hosts, m[1])
		}
		for _, h := range hosts {
			if err := add(h); err != nil {
				return err
			}
		}
	}
	if s.without == nil && s != &tiny {
		nss, _ := filepath.Glob("/lib/*-linux-gnu/libnss_files.so.2")
		for _, h := range nss {
			if err := add(h); err != nil {
				return err
			}
		}
	}
	for _, tree := range s.trees {
		err := filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				err = add(path)
			}
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return s.libraries(add)
}

// libraries lists the files below /usr/lib of the packages.
func (s *software) libraries(add func(host string) error) error {
	for _, p := range s.packages {
		names, err := exec.Command("dpkg-query", "-W", "-f=${db:Status-Status} ${Package}\n", p).Output()
		var out []byte
		for line := range strings.Lines(string(names)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "installed "); ok && err == nil {
				out, err = exec.Command("dpkg-query", "-L", name).Output()
			}
		}
		if err != nil || len(out) == 0 {
			return fmt.Errorf("cannot make the %s image: no package %s (Debian packages: make test installs them)", s.name, p)
		}
		for _, path := range strings.Fields(string(out)) {
			if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() && strings.HasPrefix(path, "/usr/lib/") {
				if err := add(path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// lookPath looks in the system's directories first: what Debian's packages bring
// is wanted, not what somebody has put before it.
func lookPath(name string) (string, error) {
	for _, dir := range append([]string{"/usr/bin", "/bin", "/usr/sbin", "/sbin"}, filepath.SplitList(os.Getenv("PATH"))...) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// write writes the layer: the merged /usr of today's Debian, then the files
// with their directories.
func (s *software) write(tw *tar.Writer) error {
	var errs []error
	if s.without == nil {
		for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
			errs = append(errs, layout.Symlink(tw, d, "usr/"+d))
		}
	}
	made := map[string]bool{".": true}
	var dir func(string)
	dir = func(d string) {
		if !made[d] {
			dir(filepath.Dir(d))
			made[d] = true
			errs = append(errs, layout.Dir(tw, d, 0o755))
		}
	}
	for _, d := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64"} {
		dir(d)
	}
	for _, f := range s.files {
		dir(filepath.Dir(f.name))
		errs = append(errs, layout.Copy(tw, f.host, f.name))
	}
	var links []string
	for l := range s.links {
		links = append(links, l)
	}
	slices.Sort(links)
	for _, l := range links {
		errs = append(errs, layout.Symlink(tw, l, s.links[l]))
	}
	return errors.Join(errs...)
}
