// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"html"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth = 760
	plotLeft  = 190
	plotBar   = 16
	plotStep  = 22
)

// svg draws each row as a group of horizontal bars: the least as the bar, the
// median as a tick, each group on a scale of its own, the budget as a line.
func (r *report) svg() string {
	var b strings.Builder
	y := 10
	for _, m := range r.rows {
		y += 24
		fmt.Fprintf(&b, `<text x="10" y="%d" class="t">%s</text>`+"\n", y, html.EscapeString(m.title))
		y += 10
		most := 0.0
		for _, res := range m.results {
			if res.absent == "" {
				most = max(most, res.median())
			}
		}
		scale := float64(plotWidth-plotLeft-110) / most
		top := y
		for i, res := range m.results {
			if res.absent != "" {
				continue
			}
			class := "p"
			if i == 0 {
				class = "r"
			}
			w, tick := res.least()*scale, plotLeft+res.median()*scale
			fmt.Fprintf(&b, `<text x="%d" y="%d" class="n">%s</text>`, plotLeft-8, y+plotBar-4, html.EscapeString(res.name))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" class="%s"/>`, plotLeft, y, max(w, 1), plotBar, class)
			fmt.Fprintf(&b, `<path d="M%.1f %dv%d" class="m"/>`, tick, y, plotBar)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s %s</text>`+"\n", tick+6, y+plotBar-4, number(res.least()), res.unit)
			y += plotStep
		}
		budget := m.budget
		for _, res := range m.results {
			if m.peer != "" && res.name == m.peer && res.absent == "" {
				budget = m.budget * res.least()
			}
		}
		if x := plotLeft + budget*scale; x < plotWidth-10 {
			fmt.Fprintf(&b, `<path d="M%.1f %dV%d" class="b"/>`+"\n", x, top-3, y-3)
		}
	}
	y += 26
	fmt.Fprintf(&b, `<text x="10" y="%d">bar: least of all runs · tick: median · dashed: budget for rkt</text>`+"\n", y)
	y += 12
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>
rect.r{fill:#2a6fbb}rect.p{fill:#b9c4cf}path.m{stroke:#333;stroke-width:1.5}path.b{stroke:#c0392b;stroke-width:1.5;stroke-dasharray:4 3}
text{fill:#222}text.t{font-weight:bold}text.n{text-anchor:end}
</style>
<rect width="100%%" height="100%%" fill="#fff"/>
%s</svg>
`, plotWidth, y, plotWidth, y, b.String())
}
