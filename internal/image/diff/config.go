// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"encoding/json"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// Configurations lists what the records say differently of how the images want
// to be run, and of what they say about themselves. Environment variables,
// labels and annotations are compared one by one.
func Configurations(a, b image.Record) []Setting {
	fa, fb := flat(a), flat(b)
	var list []Setting
	for _, name := range sortedKeys(fa, fb) {
		if fa[name] != fb[name] {
			list = append(list, Setting{name, json.RawMessage(fa[name]), json.RawMessage(fb[name])})
		}
	}
	return list
}

// flat makes one name and one JSON text of each thing that a record says.
func flat(r image.Record) map[string]string {
	m := map[string]string{}
	put := func(name string, v any) {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // strings, numbers and texts that were read as JSON
		}
		switch s := string(b); s {
		case `null`, `""`, `[]`, `{}`, `false`, `0`:
		default:
			m[name] = s
		}
	}
	put("format", r.Format)
	for k, v := range r.Labels {
		put("label "+k, v)
	}
	for k, v := range r.Annotations {
		if !strings.HasPrefix(k, "rkt/") { // our own notes
			put("annotation "+k, v)
		}
	}
	a := r.App
	if a == nil {
		return m
	}
	put("name", a.Name)
	put("entrypoint", a.Entrypoint)
	put("cmd", a.Cmd)
	put("user", a.User)
	put("group", a.Group)
	put("supplementary groups", a.SupplementaryGIDs)
	put("working directory", a.WorkingDir)
	put("stop signal", a.StopSignal)
	for _, e := range a.Environment {
		k, v, _ := strings.Cut(e, "=")
		m["environment "+k] = text(v)
	}
	for _, x := range a.Mounts {
		put("mount "+x.Name, x)
	}
	for _, x := range a.Ports {
		put("port "+x.Name, x)
	}
	for _, x := range a.Isolators {
		put("isolator "+x.Name, x.Value)
	}
	for _, x := range a.EventHandlers {
		put("event handler "+x.Name, x.Exec)
	}
	for k, v := range a.UserAnnotations {
		put("user annotation "+k, v)
	}
	for k, v := range a.UserLabels {
		put("user label "+k, v)
	}
	return m
}

func text(v string) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a string always goes
	}
	return string(b)
}
