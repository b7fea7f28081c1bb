// SPDX-License-Identifier: Apache-2.0

package ociconfig

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image"
)

func layers(n int) Manifest {
	var m Manifest
	for i := range n {
		m.Layers = append(m.Layers, Descriptor{Digest: image.Digest(fmt.Sprintf("sha256:%064d", i)), Size: int64(i)})
	}
	return m
}

const threeSteps = `{"history":[{"created":"2020-01-02T03:04:05Z","created_by":"a"},{"created_by":"b","empty_layer":true},{"created_by":"c"}],
	"rootfs":{"diff_ids":["x0","x1","x2"]}}`

func TestHistory(t *testing.T) {
	for _, c := range []struct {
		name, config string
		layers       int
		want         string
	}{
		{"as it should be", strings.Replace(threeSteps, `,"x2"`, "", 1), 2, "a=0 b c=1"},
		{"a layer too many", threeSteps, 3, "a=0 b c=1 =2"},
		{"none", `{"rootfs":{"diff_ids":["x0","x1"]}}`, 2, "=0 =1"},
		{"more than layers", `{"history":[{"created_by":"a"},{"created_by":"b"}],"rootfs":{"diff_ids":["x0"]}}`, 1, "a=0 b"},
		{"nothing", `{}`, 0, ""},
	} {
		steps, err := History(layers(c.layers), []byte(c.config))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, s := range steps {
			line := s.CreatedBy
			if s.Layer != nil {
				line += fmt.Sprintf("=%d", s.Layer.Size)
				if string(s.DiffID) != fmt.Sprintf("x%d", s.Layer.Size) {
					t.Errorf("%s: layer %d goes with %s", c.name, s.Layer.Size, s.DiffID)
				}
			}
			got = append(got, line)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, raw := range []string{"", "[]", `{"rootfs":{"diff_ids":["x"]}}`, strings.Repeat(" ", MaxDocument+1)} {
		if _, err := History(layers(0), []byte(raw)); err == nil || !strings.HasPrefix(err.Error(), "cannot read image") {
			t.Errorf("%.20q: %v", raw, err)
		}
	}
}

// Whatever a configuration tells, each layer is listed once, in order.
func FuzzHistory(f *testing.F) {
	f.Add(3, []byte(threeSteps))
	f.Add(0, []byte(`{"history":null}`))
	f.Add(1, []byte(`{"history":[{"created":"no time"}],"rootfs":{"diff_ids":["x"]}}`))
	f.Fuzz(func(t *testing.T, n int, raw []byte) {
		if n < 0 || n > 100 {
			return
		}
		steps, err := History(layers(n), raw)
		if err != nil {
			return
		}
		next := 0
		for _, s := range steps {
			if s.Layer != nil {
				if s.Layer.Size != int64(next) {
					t.Fatalf("layer %d where %d is due", s.Layer.Size, next)
				}
				next++
			}
		}
		if next != n {
			t.Fatalf("%d of %d layers", next, n)
		}
	})
}
