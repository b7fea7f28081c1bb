// SPDX-License-Identifier: Apache-2.0

package rkt

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// User is a uid that nobody has: an ordinary user's, for tests.
const User = 54321

// How the machine looks to an ordinary user's rkt, which is in a mount namespace
// of its own: commands of sh, for which $1 is a directory for files.
const (
	// SubIDs is what newuidmap asks: who the user is, and which ids are theirs.
	SubIDs = `echo "54321:600000:65536" >$1/sub; (cat /etc/passwd; echo "ordinary:x:54321:54321::$1:/bin/sh") >$1/passwd;
mount -o bind $1/sub /etc/subuid; mount -o bind $1/sub /etc/subgid; mount -o bind $1/passwd /etc/passwd;`
	// NoSubIDs: nobody has ids, whatever the machine says.
	NoSubIDs = `echo >$1/sub; mount -o bind $1/sub /etc/subuid; mount -o bind $1/sub /etc/subgid;`
	// Tun is there, as on most machines, for anybody to open.
	Tun = `mount -t tmpfs none $1/dev; mknod -m 666 $1/dev/tun c 10 200; mount -o bind $1/dev/tun /dev/net/tun;
echo "nameserver 127.0.0.53" >$1/resolv; mount -o bind $1/resolv /etc/resolv.conf;`
)

// become is the end of that script. setpriv is a path: busybox's sh has one of its
// own.
func become(setpriv string) string {
	return "shift; exec " + setpriv + ` --reuid=54321 --regid=54321 --clear-groups "$@"`
}

// ByUser makes the data directory the ordinary user's, and has rkt started by that
// user from now on.
func (h *Host) ByUser(setup string) {
	h.t.Helper()
	var setpriv string
	for _, program := range []string{"unshare", "newuidmap", "setpriv"} {
		var err error
		if setpriv, err = exec.LookPath(program); err != nil {
			h.t.Skip("needs " + program)
		}
	}
	above := filepath.Dir(h.Dir)
	place := filepath.Join(above, "place")
	if err := os.MkdirAll(place+"/dev", 0o755); err != nil {
		h.t.Fatal(err)
	}
	for _, dir := range []string{above, h.Home(), place} {
		if err := os.Chown(dir, User, User); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := os.Chmod(h.install.Dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.Under = []string{"unshare", "-m", "--propagation", "private", "sh", "-ec", setup + become(setpriv), "sh", place}
}

// In is the same host, whose rkt is started by the ordinary user in the cgroup dir
// and alone there. setup is done before, by root.
func (h *Host) In(dir, setup string) *Host {
	in := *h
	in.Under = append([]string(nil), h.Under...)
	script := &in.Under[len(in.Under)-3]
	at := strings.LastIndex(*script, "shift;")
	*script = (*script)[:at] + setup + "echo $$ >" + dir + "/cgroup.procs; " + (*script)[at:]
	return &in
}

// OfUser are the processes that the ordinary user has, under any id that SubIDs
// gives, as pid and command. One that has ended is none, though somebody's first
// process may take its time to notice.
func OfUser() (list []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		status, _ := os.ReadFile(dir + "/status")
		if strings.Contains(string(status), "\nState:\tZ") {
			continue
		}
		_, rest, _ := strings.Cut(string(status), "\nUid:")
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		uid, err := strconv.Atoi(f[0])
		if err != nil || uid != User && (uid < 600000 || uid >= 600000+65536) {
			continue
		}
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		list = append(list, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
	}
	return list
}
