// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strconv"
	"strings"
	"time"
)

// EventsFile, in the pod directory, is what `run` tells of the pod's life: one
// line an event, each appended by one write, never changed:
//
//	run PID TIME              the process in the caller's place
//	users COUNT FIRST TIME    the host's users that are the pod's own
//	init PID TIME             the pod's first process, by the host's pid
//	started APP PID TIME      an app's process, by the host's pid
//	oom APP COUNT TIME        how many of its processes the OOM killer has ended
//	exited APP STATUS TIME    128+n for signal n
//
// TIME is nanoseconds since the epoch. One file rather than one a fact: making
// a file is what costs on the start path.
const EventsFile = "events"

// Events is the content of EventsFile.
type Events struct {
	Run     int // pid
	Init    int // pid; 0 if the pod never started
	Users   Users
	Started time.Time
	Apps    map[string]AppEvents
}

// AppEvents is what is known of one app.
type AppEvents struct {
	PID      int // 0 if it had ended before anybody looked
	Started  time.Time
	Ended    bool
	Status   int
	Finished time.Time
	OOMKills int
}

// ParseEvents reads EventsFile's content. Lines that a crash cut short, or that
// a later version added, are passed over.
func ParseEvents(text string) Events {
	e := Events{Apps: map[string]AppEvents{}}
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		number, err1 := strconv.Atoi(f[len(f)-2])
		ns, err2 := strconv.ParseInt(f[len(f)-1], 10, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		at := time.Unix(0, ns)
		switch {
		case f[0] == "run" && len(f) == 3:
			e.Run = number
		case f[0] == "init" && len(f) == 3:
			e.Init, e.Started = number, at
		case f[0] == "users" && len(f) == 4:
			if count, err := strconv.ParseUint(f[1], 10, 32); err == nil && number >= 0 {
				e.Users = Users{First: int64(number), Count: int64(count)}
			}
		case f[0] == "started" && len(f) == 4:
			a := e.Apps[f[1]]
			a.PID, a.Started = number, at
			e.Apps[f[1]] = a
		case f[0] == "oom" && len(f) == 4:
			a := e.Apps[f[1]]
			a.OOMKills = number
			e.Apps[f[1]] = a
		case f[0] == "exited" && len(f) == 4:
			a := e.Apps[f[1]]
			a.Ended, a.Status, a.Finished = true, number, at
			e.Apps[f[1]] = a
		}
	}
	return e
}

// RunLine, UsersLine, InitLine, StartedLine, OOMLine and ExitedLine are lines of
// EventsFile.
func RunLine(pid int, at int64) string { return line("run", "", pid, at) }

// UsersLine tells of the pod's own users; it is "" for a pod without.
func UsersLine(u Users, at int64) string {
	if !u.Private() {
		return ""
	}
	return line("users", strconv.FormatInt(u.Count, 10), int(u.First), at)
}

// InitLine tells of the pod's first process.
func InitLine(pid int, at int64) string { return line("init", "", pid, at) }

// StartedLine tells of an app's process.
func StartedLine(app string, pid int, at int64) string { return line("started", app, pid, at) }

// OOMLine tells of kills, before the app's end.
func OOMLine(app string, count int, at int64) string { return line("oom", app, count, at) }

// ExitedLine tells of an app's end.
func ExitedLine(app string, status int, at int64) string { return line("exited", app, status, at) }

func line(kind, app string, number int, at int64) string {
	words := []string{kind}
	if app != "" {
		words = append(words, app)
	}
	return strings.Join(append(words, strconv.Itoa(number), strconv.FormatInt(at, 10)), " ") + "\n"
}
