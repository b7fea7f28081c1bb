// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// annotationNotify, of an app or of its image, says that it tells itself when it is
// ready (sd_notify(3)); appc's executors have always had it.
const annotationNotify = "appc.io/executor/supports-systemd-notify"

// speaks tells whether annotations say that an app speaks for itself.
func speaks(get func(string) (string, bool)) (bool, error) {
	v, ok := get(annotationNotify)
	if !ok {
		return false, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("annotation %q is neither true nor false", annotationNotify)
	}
	return on, nil
}

// keepNotify puts into the manifest what the image says of it; an app's own word
// goes before that.
func (a *app) keepNotify() error {
	if _, ok := a.Annotations.Get(annotationNotify); ok {
		return nil
	}
	on, err := speaks(func(name string) (string, bool) { v, ok := a.image.Annotations[name]; return v, ok })
	if err == nil && on {
		a.Annotations.Set(annotationNotify, "true")
	}
	return err
}

// applyNotify has the apps that speak for themselves find where, if somebody
// listens.
func (o *Options) applyNotify(c *contract.Pod, m *pod.Manifest) error {
	c.Notify = o.Notify
	heard := false
	for i := range m.Apps {
		on, err := speaks(m.Apps[i].Annotations.Get)
		if err != nil {
			return fmt.Errorf("app %q: %w", m.Apps[i].Name, err)
		}
		a := &c.Apps[i]
		if a.Notify = ""; !on || !o.Notify {
			continue
		}
		a.Notify, heard = "/dev/notify-"+strconv.Itoa(i), true
		a.Environment = slices.DeleteFunc(a.Environment, func(e string) bool {
			return strings.HasPrefix(e, "NOTIFY_SOCKET=") || strings.HasPrefix(e, "WATCHDOG_")
		})
		a.Environment = append(a.Environment, "NOTIFY_SOCKET="+a.Notify)
		if o.Watchdog != "" {
			a.Environment = append(a.Environment, "WATCHDOG_USEC="+o.Watchdog)
		}
	}
	if o.Watchdog != "" && !heard {
		return hint.Wrap(errors.New("the service manager's watchdog would hear of no app (WatchdogSec=)"),
			"have an app that speaks sd_notify(3) do so: --annotation="+annotationNotify+"=true after its image")
	}
	return nil
}
