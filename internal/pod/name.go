// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"fmt"
	"strings"
)

// MaxNameLength bounds an app's and a volume's name: both become path elements
// (NAME_MAX is 255) with something added.
const MaxNameLength = 128

// ValidName reports whether s is an AC Name (appc 0.8.11, "AC Name Type"):
// lower-case letters and digits with single hyphens between them.
func ValidName(s string) bool {
	return s != "" && len(s) <= MaxNameLength && validRuns(s, "-")
}

// ValidIdentifier reports whether s is an AC Identifier (appc 0.8.11, "AC
// Identifier Type"): as a name, with - . _ ~ / between the parts.
func ValidIdentifier(s string) bool { return s != "" && validRuns(s, "-._~/") }

// validRuns: runs of [a-z0-9], each two joined by one of the separators.
func validRuns(s, separators string) bool {
	inRun := false
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			inRun = true
		case inRun && strings.IndexByte(separators, c) >= 0:
			inRun = false
		default:
			return false
		}
	}
	return inRun
}

func checkName(what, s string) error {
	if !ValidName(s) {
		return fmt.Errorf("%s %q is not made of lower-case letters and digits with single hyphens between them", what, s)
	}
	return nil
}

// NameOf makes an app's default name from an image's: the last path element,
// without tag or digest, everything else turned into single hyphens. It is "" if
// nothing is left.
func NameOf(imageName string) string {
	s, _, _ := strings.Cut(imageName, "@")
	s = s[strings.LastIndexByte(s, '/')+1:]
	s, _, _ = strings.Cut(s, ":")
	return Sanitize(s)
}

// Sanitize turns any text into an AC Name as far as it can: letters become
// lower case, all that is not allowed becomes single hyphens. It may be "".
func Sanitize(s string) string {
	var b strings.Builder
	hyphen := false
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			if hyphen && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteByte(c)
			hyphen = false
		} else {
			hyphen = true
		}
		if b.Len() >= MaxNameLength {
			break
		}
	}
	return strings.TrimRight(b.String()[:min(b.Len(), MaxNameLength)], "-")
}
