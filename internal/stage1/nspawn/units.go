// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Places in the machine.
const (
	ownDir     = "/rkt"
	ownProgram = ownDir + "/stage1"
	controlAt  = ownDir + "/control"
	appsAt     = ownDir + "/apps"
	unitDir    = "/etc/systemd/system"
	journalAt  = "/var/log/journal"
)

// units are the files of unitDir, by name. They are all that systemd knows: those
// of the software are out of its sight. Of the document only the names of apps,
// which are of [a-z0-9-] alone, and numbers come into them.
func units(doc *contract.Pod, init string) map[string]string {
	var wants, conflicts strings.Builder
	files := map[string]string{}
	for i := range doc.Apps {
		name := doc.Apps[i].Name
		unit := unitOf(name)
		fmt.Fprintf(&wants, "Wants=%s\n", unit)
		fmt.Fprintf(&conflicts, "Conflicts=%s\nAfter=%s\n", unit, unit)
		files[unit] = appUnit(name, doc.StopSeconds)
	}
	files["default.target"] = "[Unit]\nDescription=rkt pod " + doc.UUID + "\nDefaultDependencies=no\n" +
		"Wants=systemd-journald.socket\nAfter=systemd-journald.socket\n" + wants.String()
	// The end of a service that has not told of it itself. If not even that can be
	// told, the pod ends, and systemd-nspawn tells.
	files[failedUnit+".service"] = "[Unit]\nDescription=End of app %i\nDefaultDependencies=no\nIgnoreOnIsolate=yes\nFailureAction=poweroff-immediate\n" +
		"[Service]\nType=oneshot\nTimeoutStartSec=30s\nExecStart=" + ownProgram + " failed %i\nStandardOutput=journal\nStandardError=journal\n"
	files["systemd-journald.socket"] = `[Unit]
Description=Journal sockets
DefaultDependencies=no
IgnoreOnIsolate=yes
[Socket]
ListenStream=/run/systemd/journal/stdout
ListenDatagram=/run/systemd/journal/socket
SocketMode=0666
PassCredentials=yes
PassSecurity=yes
ReceiveBuffer=8M
`
	files["systemd-journald.service"] = `[Unit]
Description=Journal
DefaultDependencies=no
Requires=systemd-journald.socket
After=systemd-journald.socket
IgnoreOnIsolate=yes
[Service]
Type=notify
ExecStart=` + strings.TrimSuffix(init, "systemd") + `systemd-journald
StandardOutput=null
FileDescriptorStoreMax=4224
OOMScoreAdjust=-250
`
	// What machinectl poweroff and systemctl poweroff ask for: the apps are stopped
	// in order, and with them the pod.
	for _, target := range []string{"poweroff", "halt", "exit", "reboot"} {
		files[target+".target"] = "[Unit]\nDescription=End of the pod\nDefaultDependencies=no\nAllowIsolate=yes\n" +
			"Requires=rkt-end.service\nAfter=rkt-end.service\n" + conflicts.String()
	}
	files["rkt-end.service"] = "[Unit]\nDescription=End of the pod\nDefaultDependencies=no\n" + conflicts.String() +
		"[Service]\nType=oneshot\nExecStart=" + ownProgram + " off\n"
	return files
}

func unitOf(app string) string { return app + ".service" }

// failedUnit is a template: its instances are named by apps. No app's name has "@".
const failedUnit = "rkt-failed@"

// appUnit runs the app's supervisor. What the app may do is set by that one, for
// the app alone; the unit has what systemd does: order, status, journal, stop.
func appUnit(name string, stopSeconds int) string {
	return "[Unit]\nDescription=rkt app " + name + "\nDefaultDependencies=no\nAfter=systemd-journald.socket\n" +
		"OnFailure=" + failedUnit + name + ".service\n" +
		"[Service]\nExecStart=" + ownProgram + " app " + name + "\n" +
		"Restart=no\nKillMode=mixed\nTimeoutStopSec=" + strconv.Itoa(stopSeconds+5) + "s\n" +
		"StandardOutput=journal\nStandardError=journal\nSyslogIdentifier=" + name + "\n" +
		"IgnoreSIGPIPE=no\nUMask=0022\nTasksMax=infinity\nOOMPolicy=continue\n" + limits()
}

// limits are those of rkt's caller, where systemd would have its own.
func limits() string {
	var b strings.Builder
	for _, l := range []struct {
		name     string
		resource int
	}{
		{"CPU", unix.RLIMIT_CPU}, {"FSIZE", unix.RLIMIT_FSIZE}, {"DATA", unix.RLIMIT_DATA}, {"STACK", unix.RLIMIT_STACK},
		{"CORE", unix.RLIMIT_CORE}, {"RSS", unix.RLIMIT_RSS}, {"NOFILE", unix.RLIMIT_NOFILE}, {"AS", unix.RLIMIT_AS},
		{"NPROC", unix.RLIMIT_NPROC}, {"MEMLOCK", unix.RLIMIT_MEMLOCK}, {"LOCKS", unix.RLIMIT_LOCKS},
		{"SIGPENDING", unix.RLIMIT_SIGPENDING}, {"MSGQUEUE", unix.RLIMIT_MSGQUEUE}, {"NICE", unix.RLIMIT_NICE},
		{"RTPRIO", unix.RLIMIT_RTPRIO}, {"RTTIME", unix.RLIMIT_RTTIME},
	} {
		var r unix.Rlimit
		if unix.Prlimit(0, l.resource, nil, &r) != nil {
			continue
		}
		if l.resource == unix.RLIMIT_NOFILE {
			// As the caller had it: Go's runtime has raised its own.
			if was, err := forkexec.OpenFiles(); err == nil {
				r = was
			}
		}
		fmt.Fprintf(&b, "Limit%s=%s:%s\n", l.name, amount(r.Cur), amount(r.Max))
	}
	return b.String()
}

func amount(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "infinity"
	}
	return strconv.FormatUint(n, 10)
}
