// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
	"golang.org/x/sys/unix"
)

func newLogs(c *cli) *command {
	var (
		file uuidFile
		o    logOptions
	)
	cmd := &command{
		usage: "[OPTION…] UUID",
		short: "print what the apps of a pod wrote",
		long: `Prints the logs of a pod's apps, running or ended, byte for byte as they were
written: what went to an app's standard output to standard output, what went to
its standard error to standard error. With more than one app the lines are merged
by time and start with the app's name.

Only apps whose streams go to a log have one: see --stdout=log and --stderr=log of
rkt run and rkt prepare. The log lies in the pod's directory and goes with the pod.`,
		example: "  rkt logs 5bc080ca\n  rkt logs --follow --timestamps --app=etcd 5bc080ca",
		args:    file.args(oneArg("a pod's UUID")),
		words:   c.podWords,
		run: func(args []string) error {
			uuids, err := file.uuids(args)
			if err != nil {
				return err
			}
			p, err := c.openPod(uuids[0])
			if err != nil {
				return err
			}
			return c.logs(p, o)
		},
	}
	flags := cmd.flags()
	flags.StringVar(&o.app, "app", "", "only the app `NAME`")
	flags.BoolVar(&o.follow, "follow", false, "go on until the pod has ended")
	flags.BoolVar(&o.timestamps, "timestamps", false, "start each line with its time (RFC 3339, nanoseconds)")
	file.register(flags)
	return cmd
}

type logOptions struct {
	app                string
	follow, timestamps bool
}

// logEntry is a line of a log file in the CRI's format:
// "2026-11-23T12:00:00.123456789Z stdout F text".
type logEntry struct {
	stamp  []byte // as written
	time   time.Time
	stderr bool
	whole  bool   // ends a line; else the rest follows in another entry
	text   []byte // without newline
}

// maxLogLine bounds an entry; stage1 writes far shorter ones.
const maxLogLine = 1 << 20

func parseLogEntry(line []byte) (e logEntry, err error) {
	stamp, rest, ok1 := bytes.Cut(line, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tag, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !ok3 {
		return e, errors.New("a line is not in the CRI's format")
	}
	e = logEntry{stamp: stamp, text: text}
	if e.time, err = time.Parse(time.RFC3339Nano, string(stamp)); err != nil {
		return e, errors.New("a line has no time")
	}
	switch string(stream) {
	case "stdout":
	case "stderr":
		e.stderr = true
	default:
		return e, fmt.Errorf("a line is of stream %q", stream)
	}
	switch string(tag) {
	case "F":
		e.whole = true
	case "P":
	default:
		return e, fmt.Errorf("a line has tag %q", tag)
	}
	return e, nil
}

// logSource reads one app's file.
type logSource struct {
	app  string
	f    *os.File
	r    *bufio.Reader
	tail []byte // a line that is not ended yet
	next *logEntry
	// open lines, of standard output and standard error
	partial [2][]byte
}

// fill reads the next entry, if there is a whole one.
func (s *logSource) fill() error {
	if s.next != nil {
		return nil
	}
	for {
		part, err := s.r.ReadSlice('\n')
		s.tail = append(s.tail, part...)
		if len(s.tail) > maxLogLine {
			return fmt.Errorf("a line is longer than %d bytes", maxLogLine)
		}
		switch {
		case err == nil:
			e, err := parseLogEntry(bytes.Clone(s.tail[:len(s.tail)-1]))
			if err != nil {
				return err
			}
			s.tail, s.next = s.tail[:0], &e
			return nil
		case err == io.EOF:
			return nil
		case err != bufio.ErrBufferFull:
			return err
		}
	}
}

func (c *cli) logs(p *lifecycle.Pod, o logOptions) error {
	sources, err := openLogs(p, o.app)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range sources {
			s.f.Close()
		}
	}()
	pr := logPrinter{out: c.Out, err: c.Err, timestamps: o.timestamps, names: len(sources) > 1}
	const longest = 250 * time.Millisecond
	for pause := 10 * time.Millisecond; ; pause = min(pause*3/2, longest) {
		// The look comes before the reading: what an ended pod wrote is all there.
		state, err := p.State()
		if err != nil && !errors.Is(err, lifecycle.ErrNotFound) {
			return err
		}
		ended := err != nil || state.Ended()
		for {
			oldest, err := oldestEntry(sources)
			if err != nil {
				return fmt.Errorf("cannot read the log of pod %s: %w", p.ID(), err)
			}
			if oldest == nil {
				break
			}
			pause = 10 * time.Millisecond
			if err := pr.print(oldest); err != nil {
				return err
			}
		}
		if ended || !o.follow {
			return pr.flush(sources)
		}
		time.Sleep(pause)
	}
}

// oldestEntry is the source whose next entry is the oldest; nil if none has one.
func oldestEntry(sources []*logSource) (oldest *logSource, err error) {
	for _, s := range sources {
		if err := s.fill(); err != nil {
			return nil, fmt.Errorf("app %q: %w", s.app, err)
		}
		if s.next != nil && (oldest == nil || s.next.time.Before(oldest.next.time)) {
			oldest = s
		}
	}
	return oldest, nil
}

// openLogs opens the logs that there are, of one app or of all.
func openLogs(p *lifecycle.Pod, app string) ([]*logSource, error) {
	m, err := p.Manifest()
	if err != nil {
		return nil, err
	}
	var (
		sources []*logSource
		known   bool
	)
	for _, a := range m.Apps {
		if app != "" && a.Name != app || !pod.ValidName(a.Name) {
			continue
		}
		known = true
		// The phase may change between the two; then the file is looked for once
		// more where the pod is now.
		f, err := openLog(p, a.Name)
		if errors.Is(err, fs.ErrNotExist) {
			if _, serr := p.State(); serr != nil {
				return nil, serr
			}
			f, err = openLog(p, a.Name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the log of app %q: %w", a.Name, err)
		}
		sources = append(sources, &logSource{app: a.Name, f: f, r: bufio.NewReaderSize(f, 64<<10)})
	}
	if !known {
		return nil, noSuchApp(p, m, app)
	}
	if len(sources) == 0 {
		what := "pod " + string(p.ID()) + ": none of its apps has"
		if app != "" {
			what = fmt.Sprintf("app %q: it does not have", app)
		}
		return nil, hint.Wrap(fmt.Errorf("cannot show the log of %s one", what), "apps that are run with --stdout=log or --stderr=log have a log")
	}
	return sources, nil
}

func openLog(p *lifecycle.Pod, app string) (*os.File, error) {
	return openRegular(filepath.Join(p.Dir(), contract.LogDir, app))
}

// openRegular opens a file where a pod may have put anything: a pipe does not hold
// it up, and what is no regular file is refused.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("cannot read %s: it is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// noSuchApp says which apps there are.
func noSuchApp(p *lifecycle.Pod, m *pod.Manifest, app string) error {
	names := ""
	for _, a := range m.Apps {
		names += " " + a.Name
	}
	return hint.Wrap(fmt.Errorf("cannot find app %q: pod %s has no such app", app, p.ID()), "its apps are:"+names)
}

// logPrinter writes entries; lines of several entries are put together first,
// so that two apps' lines do not mix.
type logPrinter struct {
	out, err          io.Writer
	timestamps, names bool
}

func (pr *logPrinter) print(s *logSource) error {
	e := s.next
	s.next = nil
	stream, w := 0, pr.out
	if e.stderr {
		stream, w = 1, pr.err
	}
	line := s.partial[stream]
	if len(line) == 0 {
		if pr.timestamps {
			line = append(append(line, e.stamp...), ' ')
		}
		if pr.names {
			line = append(append(line, s.app...), ": "...)
		}
	}
	line = append(line, e.text...)
	if e.whole {
		line = append(line, '\n')
	} else if len(line) < maxLogLine {
		s.partial[stream] = line
		return nil
	}
	s.partial[stream] = line[:0]
	_, err := w.Write(line)
	return err
}

// flush prints lines that never ended.
func (pr *logPrinter) flush(sources []*logSource) error {
	for _, s := range sources {
		for i, w := range []io.Writer{pr.out, pr.err} {
			if _, err := w.Write(s.partial[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
