// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// journalDir, in the pod's directory, has the pod's journal.
const journalDir = contract.PrivateDir + "/journal"

// hostJournals is where journalctl --merge looks.
const hostJournals = "/var/log/journal"

// openJournal makes the pod's journal and, on a host whose init is systemd, links it
// to the host's, which shows it while the pod runs.
func openJournal(doc *contract.Pod, dir string) (string, error) {
	path := filepath.Join(dir, journalDir)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("cannot make the pod's journal: %w", err)
	}
	if st, err := os.Stat(hostJournals); err != nil || !st.IsDir() || !hostRuns() {
		return path, nil
	}
	to := filepath.Join(path, machineID(doc))
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the pod's journal: %w", err)
	}
	if err := os.Symlink(to, hostJournals+"/"+machineID(doc)); err != nil {
		return "", fmt.Errorf("cannot link the pod's journal to the host's: %w", err)
	}
	return path, nil
}

// unlinkJournal takes the link away, if it is one.
func unlinkJournal(doc *contract.Pod) {
	path := hostJournals + "/" + machineID(doc)
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSymlink != 0 {
		_ = os.Remove(path)
	}
}

// flushTime bounds how long the journal is waited for.
const flushTime = 2 * time.Second

// flush has journald write what it was told, and end. It may just have been
// started, for the app's sake: every app's service leads to it. It is found by its
// cgroup, which only root of the machine can change.
func flush(doc *contract.Pod) {
	until := time.Now().Add(flushTime)
	for ; time.Now().Before(until); time.Sleep(time.Millisecond) {
		pid := journald(doc)
		if pid == 0 {
			continue
		}
		fd, err := pidfd.Open(pid)
		if err != nil || fd < 0 {
			continue
		}
		if !listens(pid) {
			unix.Close(fd)
			continue
		}
		if unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0) == nil {
			wait := max(time.Until(until), 0)
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
		}
		unix.Close(fd)
		return
	}
}

// journald is the pid of the pod's journald, 0 if it does not run.
func journald(doc *contract.Pod) int {
	f, err := os.Open(doc.Cgroup + "/" + machineGroup + "/payload/system.slice/systemd-journald.service/cgroup.procs")
	if err != nil {
		return 0
	}
	defer f.Close()
	// The first line: there is one, or it is not journald's doing.
	var b [16]byte
	n, _ := f.Read(b[:])
	word, _, whole := strings.Cut(string(b[:n]), "\n")
	pid, err := strconv.Atoi(word)
	if err != nil || !whole {
		return 0
	}
	return pid
}

// listens tells whether journald has got so far that SIGTERM is to it a request,
// which it heeds when it has written all: it has blocked the signal, as its parent
// has, too, but is itself by now.
func listens(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	named, blocked := false, uint64(0)
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); key {
		case "Name":
			named = strings.HasPrefix(value, "systemd-journal")
		case "SigBlk":
			blocked, _ = strconv.ParseUint(value, 16, 64)
		}
	}
	return named && blocked>>(unix.SIGTERM-1)&1 == 1
}
