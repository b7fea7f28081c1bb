// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUnknownFields: what a configuration has of others' stays, but for what was
// about the container it was made in.
func TestUnknownFields(t *testing.T) {
	raw := `{"architecture":"amd64","os":"linux","os.version":"10","container":"abc","config":{"Healthcheck":{"Test":["NONE"]},"OnBuild":["RUN x"],"Env":["A=b"],"Image":"x"},"rootfs":{"type":"layers","diff_ids":[]}}`
	o, err := ParseOCI([]byte(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.AddEnvironment("A", "<&>"); err != nil {
		t.Fatal(err)
	}
	text, err := o.Encode(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"os.version":"10"`, `"Healthcheck":{"Test":["NONE"]}`, `"OnBuild":["RUN x"]`, `"A=<&>"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(string(text), "container") {
		t.Errorf("it has the container still: %s", text)
	}
}

// TestRefusedEditsChangeNothing goes for both forms.
func TestRefusedEditsChangeNothing(t *testing.T) {
	for name, d := range map[string]Document{"appc": NewAppC(), "oci": NewOCI()} {
		encode := func() string {
			var text []byte
			switch x := d.(type) {
			case *AppC:
				text, _ = x.Encode(false)
			case *OCI:
				text, _ = x.Encode(false)
				a, _ := json.Marshal(x.Annotations)
				text = append(text, a...)
			}
			return string(text)
		}
		for _, err := range []error{d.AddLabel("version", "1"), d.AddEnvironment("A", "b"), d.AddPort(Port{Name: "http", Protocol: "tcp", Port: 80}), d.AddMount(Mount{Name: "data", Path: "/data"})} {
			if err != nil {
				t.Fatal(err)
			}
		}
		before := encode()
		for what, err := range map[string]error{
			"variable without name":    d.AddEnvironment("", "x"),
			"variable with =":          d.AddEnvironment("A=B", "x"),
			"zero byte":                d.SetExec([]string{"a\x00"}),
			"relative directory":       d.SetWorkingDirectory("x"),
			"relative mount":           d.AddMount(Mount{Name: "x", Path: "x"}),
			"mount without name":       d.AddMount(Mount{Path: "/x"}),
			"too many ports":           d.AddPort(Port{Name: "x", Protocol: "tcp", Port: 65000, Count: 1000}),
			"port without name":        d.AddPort(Port{Protocol: "tcp", Port: 1}),
			"label without name":       d.AddLabel("", "x"),
			"annotation without name":  d.AddAnnotation("", "x"),
			"removal of nothing":       d.RemoveLabel("nothing"),
			"removal of no variable":   d.RemoveEnvironment("nothing"),
			"removal of no port":       d.RemovePort("81"),
			"removal of no mount":      d.RemoveMount("/none"),
			"removal of no annotation": d.RemoveAnnotation("none"),
		} {
			if err == nil {
				t.Errorf("%s: %s is no error", name, what)
			}
			if strings.HasPrefix(what, "removal") && !errors.Is(err, ErrAbsent) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		if d := cmp.Diff(before, encode()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestToOCI(t *testing.T) {
	a := NewAppC()
	for _, err := range []error{
		a.SetName("example.com/x"), a.SetExec([]string{"/x", "y"}), a.SetUser("1"), a.SetGroup("2"), a.AddLabel("version", "3"), a.AddLabel("arch", "aarch64"),
		a.AddEnvironment("A", "b"), a.AddPort(Port{Name: "p", Protocol: "udp", Port: 5, Count: 2}), a.AddMount(Mount{Name: "m", Path: "/m"}),
		a.AddIsolator("resource/memory", []byte(`{}`)), a.SetSupplementaryGroups([]int{7}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	o, lost, err := a.ToOCI()
	if err != nil || len(lost) != 2 {
		t.Errorf("%q, %v", lost, err)
	}
	text, err := o.Encode(false)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"architecture":"arm64","config":{"Entrypoint":["/x","y"],"Env":["A=b"],"ExposedPorts":{"5-6/udp":{}},"Labels":{"version":"3"},"User":"1:2","Volumes":{"/m":{}}},"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`
	if d := cmp.Diff(want, string(text)); d != "" {
		t.Error(d)
	}
}

func FuzzParseOCI(f *testing.F) {
	f.Add([]byte(`{"config":{"Env":["A=b"],"ExposedPorts":{"80/tcp":{}}},"rootfs":{"type":"layers","diff_ids":[]}}`))
	f.Add([]byte(`{"config":null,"rootfs":{"type":"layers"}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := ParseOCI(raw, nil)
		if err != nil {
			return
		}
		_ = o.RemovePort("80")
		_ = o.AddEnvironment("A", "b")
		text, err := o.Encode(true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseOCI(text, o.Annotations); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}
