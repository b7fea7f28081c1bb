// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/ui"
)

// Space that a data directory should have left; less is said.
const (
	lowBytes  = 1 << 30
	lowInodes = 20000
)

// fileSystems are names of what statfs(2) tells as numbers.
var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", 0x2fc12fc1: "zfs",
}

// places are the data directory and the configuration's.
func (m *Machine) places() []Finding {
	var all []Finding
	dir := existing(m.DataDir)
	f := Finding{"directory.data", OK, false, m.DataDir, ""}
	st, err := os.Stat(m.DataDir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.Detail += " is made at first use"
	case err != nil:
		f = Finding{"directory.data", Missing, true, err.Error(), "let rkt's user search the directories above it"}
	case !st.IsDir():
		f = Finding{"directory.data", Missing, true, m.DataDir + " is not a directory", "remove it, or choose another by --dir"}
	default:
		owner := st.Sys().(*syscall.Stat_t)
		f.Detail += fmt.Sprintf(", mode %04o, %d:%d", st.Mode().Perm(), owner.Uid, owner.Gid)
		if int(owner.Uid) != m.UID && owner.Uid != 0 {
			f = Finding{"directory.data", Missing, true, fmt.Sprintf("%s belongs to user %d, not to %d", m.DataDir, owner.Uid, m.UID), "choose a directory of your own by --dir"}
		} else if st.Mode().Perm()&0o022 != 0 {
			f = Finding{"directory.data", Missing, false, f.Detail + ": others may write to it", "chmod go-w " + m.DataDir}
		}
	}
	all = append(all, f)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return append(all, Finding{"directory.space", Unknown, false, err.Error(), ""})
	}
	name := fileSystems[int64(fs.Type)]
	if name == "" {
		name = fmt.Sprintf("file system %#x", fs.Type)
	}
	bytes := int64(fs.Bavail) * int64(fs.Bsize)
	space := Finding{"directory.space", OK, false, fmt.Sprintf("%s, %s free", name, ui.Size(bytes)), ""}
	if fs.Files > 0 {
		space.Detail += fmt.Sprintf(", %d inodes free", fs.Ffree)
	}
	if bytes < lowBytes || fs.Files > 0 && fs.Ffree < lowInodes {
		space.State, space.Remedy = Missing, "`rkt gc` and `rkt image gc`, or a --dir elsewhere"
	}
	all = append(all, space)
	for _, dir := range m.Config {
		st, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && st.Mode().Perm()&0o002 != 0 {
			err = fmt.Errorf("%s can be written to by everybody", dir)
		}
		all = append(all, finding("directory.config", false, err, dir, "chmod o-w "+dir))
	}
	return all
}

// people are the groups and the user that dist/ sets up, and ranges of ids.
func (m *Machine) people() []Finding {
	var all []Finding
	for _, p := range []struct{ id, file, name, remedy string }{
		{"group.rkt", "/etc/group", "rkt", "dist/setup-data-dir.sh makes it; without it only root fetches"},
		{"group.rkt-admin", "/etc/group", "rkt-admin", "dist/setup-data-dir.sh makes it; without it only root changes trust"},
		{"user.rkt-fetch", "/etc/passwd", "rkt-fetch", "dist/setup-data-dir.sh makes it; without it helpers run as user 60578"},
	} {
		f := Finding{p.id, Missing, false, "not in " + p.file, p.remedy}
		for line := range strings.Lines(m.read(p.file)) {
			if w := strings.SplitN(line, ":", 4); len(w) == 4 && w[0] == p.name {
				f = Finding{p.id, OK, false, "number " + w[2], ""}
			}
		}
		all = append(all, f)
	}
	name := ""
	for line := range strings.Lines(m.read("/etc/passwd")) {
		if w := strings.SplitN(line, ":", 4); len(w) == 4 && w[2] == fmt.Sprint(m.UID) && name == "" {
			name = w[0]
		}
	}
	for _, file := range []string{"subuid", "subgid"} {
		f := Finding{file, Missing, false, "no range in /etc/" + file, "an ordinary user's pods have one user id without; usermod --add-" + strings.TrimSuffix(file, "id") + "ids"}
		f.Remedy = fmt.Sprintf("only pods of ordinary users need one, to have more than one user: usermod --add-%ss 100000-165535 %s", file, name)
		for line := range strings.Lines(m.read("/etc/" + file)) {
			if w := strings.Split(strings.TrimSpace(line), ":"); len(w) == 3 && (w[0] == name && name != "" || w[0] == fmt.Sprint(m.UID)) {
				f = Finding{file, OK, false, w[2] + " from " + w[1], ""}
			}
		}
		all = append(all, f)
	}
	return all
}

// helpers are rkt's own programs.
func (m *Machine) helpers() []Finding {
	var all []Finding
	dir := filepath.Dir(m.Exe)
	for _, h := range []struct {
		name   string
		needed bool
	}{{"stage1-native", true}, {"stage1-native.json", true}, {"fetch", false}, {"network", false}, {"join", m.UID != 0}, {"stage1-fly", false}} {
		path := filepath.Join(dir, h.name)
		st, err := os.Stat(path)
		if err == nil && !strings.HasSuffix(h.name, ".json") && st.Mode().Perm()&0o111 == 0 {
			err = errors.New(path + " is not executable")
		}
		all = append(all, finding("libexec."+h.name, h.needed, err, path, "install rkt with its libexec directory"))
	}
	out, err := exec.Command(filepath.Join(dir, "network"), append([]string{"list", m.DataDir}, m.Networks...)...).Output()
	var list []string
	if err == nil {
		var l struct {
			Networks []struct{ Name string }
		}
		err = json.Unmarshal(out, &l)
		for _, n := range l.Networks {
			list = append(list, n.Name)
		}
	} else if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return append(all, finding("networks", false, err, strings.Join(list, ", "), "`rkt net list` says which configuration is wrong"))
}

// programs are others' that rkt uses if they are there.
func (m *Machine) programs() []Finding {
	var all []Finding
	for _, p := range []struct{ name, use string }{
		{"igzip", "unpacks gzip fastest"}, {"unpigz", "unpacks gzip beside other work"}, {"xz", "unpacks xz faster than rkt itself"},
		{"newuidmap", "gives an ordinary user's pods more than one user"}, {"newgidmap", "gives an ordinary user's pods more than one group"},
		{"pasta", "a network for ordinary users' pods"}, {"slirp4netns", "a network for ordinary users' pods, if there is no pasta"},
	} {
		f := Finding{"program." + p.name, Missing, false, "not installed: " + p.use, ""}
		for dir := range strings.SplitSeq(m.Path, ":") {
			path := filepath.Join(dir, p.name)
			if st, err := os.Stat(path); dir != "" && err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0 {
				f = Finding{f.ID, OK, false, path, ""}
				break
			}
		}
		all = append(all, f)
	}
	var plugins []string
	for _, dir := range []string{"/usr/lib/rkt/plugins/net", "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"} {
		if e, err := os.ReadDir(m.Root + dir); err == nil && len(e) > 0 {
			plugins = append(plugins, fmt.Sprintf("%d in %s", len(e), dir))
		}
	}
	f := Finding{"program.cni", OK, false, strings.Join(plugins, ", "), ""}
	if plugins == nil {
		f = Finding{"program.cni", Missing, false, "no CNI plugins: only configured networks need them", ""}
	}
	return append(all, f)
}

// clock: certificates and signatures are judged by it.
func (m *Machine) clock() []Finding {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return []Finding{{"clock", Unknown, false, err.Error(), ""}}
	}
	if t.Status&unix.STA_UNSYNC != 0 {
		return []Finding{{"clock", Missing, false, "nobody keeps it in step: certificates and signatures may be judged wrongly", "run an NTP client, if the host does not keep this machine's clock"}}
	}
	return []Finding{{"clock", OK, false, "kept in step", ""}}
}
