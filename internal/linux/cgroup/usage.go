// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a cgroup and those below it use and used. Unknown is where no
// hierarchy tells.
type Usage struct {
	CPU          time.Duration // since it was made
	Throttled    time.Duration // how long its CPU limit held it back
	Memory       int64         // bytes now, page cache included
	Resident     bool          // Memory is a sum over processes, in which shared pages count for each
	MemoryPeak   int64
	PIDs         int64 // processes and threads now
	Read, Write  int64 // bytes from and to block devices
	OOMKills     int64
	PressureCPU  float64 // percent of the last ten seconds in which something waited for it
	PressureMem  float64
	PressureDisk float64
}

// Unknown is what a Usage says of what cannot be told.
const Unknown = -1

// Read reads the usage of a cgroup: v2 is its version 2 directory or "", and
// controllers its directories by controller, as Homes finds them. Of version 2
// a cgroup without controllers has CPU time, threads and pressure all the same.
func Read(v2 string, controllers map[string]string) Usage {
	u := Usage{CPU: Unknown, Throttled: Unknown, Memory: Unknown, MemoryPeak: Unknown, PIDs: Unknown,
		Read: Unknown, Write: Unknown, OOMKills: Unknown, PressureCPU: Unknown, PressureMem: Unknown, PressureDisk: Unknown}
	if v2 != "" {
		if n, ok := value(v2+"/cpu.stat", "usage_usec"); ok {
			u.CPU = time.Duration(n) * time.Microsecond
		}
		if n := threads(v2); n >= 0 {
			u.PIDs = n
		}
		u.PressureCPU, u.PressureMem, u.PressureDisk = pressure(v2+"/cpu.pressure"), pressure(v2+"/memory.pressure"), pressure(v2+"/io.pressure")
	}
	if dir, ok := controllers["cpu"]; ok {
		if n, ok := value(dir+"/cpu.stat", "throttled_usec"); ok {
			u.Throttled = time.Duration(n) * time.Microsecond
		} else if n, ok := value(dir+"/cpu.stat", "throttled_time"); ok {
			u.Throttled = time.Duration(n)
		}
	}
	if dir, ok := controllers["memory"]; ok {
		u.Memory = first(dir+"/memory.current", dir+"/memory.usage_in_bytes")
		u.MemoryPeak = first(dir+"/memory.peak", dir+"/memory.max_usage_in_bytes")
		u.OOMKills = OOMKills(dir)
	}
	if u.Memory < 0 && v2 != "" {
		u.Memory, u.Resident = resident(v2), true
	}
	if dir, ok := controllers["pids"]; ok {
		u.PIDs = first(dir + "/pids.current")
	}
	if dir, ok := controllers["io"]; ok {
		u.Read, u.Write = transferred(dir)
	}
	return u
}

// resident sums what the processes in the version 2 cgroup dir and below it have
// in memory (proc(5), statm).
func resident(dir string) (sum int64) {
	pids, err := Processes(dir)
	if err != nil {
		return Unknown
	}
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
		if f := strings.Fields(string(text)); err == nil && len(f) > 1 {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			sum += n * int64(os.Getpagesize())
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Unknown
	}
	for _, e := range entries {
		if e.IsDir() {
			sum += max(0, resident(dir+"/"+e.Name()))
		}
	}
	return sum
}

// OOMKills counts the processes of a memory cgroup that the OOM killer has
// ended; Unknown if it cannot be told.
func OOMKills(dir string) int64 {
	for _, file := range []string{"/memory.events", "/memory.oom_control"} {
		if n, ok := value(dir+file, "oom_kill"); ok {
			return n
		}
	}
	return Unknown
}

// value is the number after a word at the beginning of one of file's lines.
func value(file, word string) (int64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == word {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// first is the number in the first of the files that is there.
func first(files ...string) int64 {
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				return n
			}
		}
	}
	return Unknown
}

// threads counts those of the version 2 cgroup dir and of all below it.
func threads(dir string) int64 {
	text, err := os.ReadFile(dir + "/cgroup.threads")
	if err != nil {
		return Unknown
	}
	n := int64(strings.Count(string(text), "\n"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Unknown
	}
	for _, e := range entries {
		if e.IsDir() {
			n += max(0, threads(dir+"/"+e.Name()))
		}
	}
	return n
}

// pressure is the share of time of the file's "some" line, over ten seconds
// (Documentation/accounting/psi.rst).
func pressure(file string) float64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return Unknown
	}
	f := strings.Fields(string(text))
	if len(f) < 2 || f[0] != "some" {
		return Unknown
	}
	n, err := strconv.ParseFloat(strings.TrimPrefix(f[1], "avg10="), 64)
	if err != nil {
		return Unknown
	}
	return n
}

// transferred sums over devices what an io (version 2) or blkio (version 1)
// cgroup has read and written.
func transferred(dir string) (read, write int64) {
	if text, err := os.ReadFile(dir + "/io.stat"); err == nil {
		for _, word := range strings.Fields(string(text)) {
			if n, err := strconv.ParseInt(strings.TrimPrefix(word, "rbytes="), 10, 64); err == nil && strings.HasPrefix(word, "rbytes=") {
				read += n
			}
			if n, err := strconv.ParseInt(strings.TrimPrefix(word, "wbytes="), 10, 64); err == nil && strings.HasPrefix(word, "wbytes=") {
				write += n
			}
		}
		return read, write
	}
	text, err := os.ReadFile(dir + "/blkio.throttle.io_service_bytes_recursive")
	if err != nil {
		return Unknown, Unknown
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			continue
		}
		switch f[1] {
		case "Read":
			read += n
		case "Write":
			write += n
		}
	}
	return read, write
}
