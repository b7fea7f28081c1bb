// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"strconv"
	"time"
)

// FullTime is the layout of times under --full, rkt's own.
const FullTime = "2006-01-02 15:04:05.999 -0700 MST"

const day = 24 * time.Hour

// Ago tells how long t lies before now: "now", "1 minute ago", "3 weeks ago";
// a time to come is "3 minutes from now". A zero t is "-".
func Ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d, after := now.Sub(t), " ago"
	if d < 0 {
		d, after = -d, " from now"
	}
	units := [...]struct {
		size time.Duration
		name string
	}{{365 * day, "year"}, {30 * day, "month"}, {7 * day, "week"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}}
	for _, u := range units {
		n := int64(d / u.size)
		switch {
		case n == 1:
			return "1 " + u.name + after
		case n > 1:
			return strconv.FormatInt(n, 10) + " " + u.name + "s" + after
		}
	}
	return "now"
}

// Full formats t by FullTime in the local zone; a zero t is "-".
func Full(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(FullTime)
}

// Size prints a number of bytes in binary units with three digits at most:
// "0B", "999B", "1.5KiB", "211MiB".
func Size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + "B"
	}
	f, i := float64(n), -1
	for f >= 1023.5 && i < 5 {
		f, i = f/1024, i+1
	}
	prec := 0
	if f < 9.95 {
		prec = 1
	}
	return strconv.FormatFloat(f, 'f', prec, 64) + []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}[i]
}
