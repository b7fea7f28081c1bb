// SPDX-License-Identifier: Apache-2.0

package aci

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ACName names a part of a manifest: [a-z0-9]+(-[a-z0-9]+)* ("AC Name Type").
type ACName string

// Validate checks the grammar.
func (n ACName) Validate() error {
	if !isName(string(n), "-") {
		return fmt.Errorf("%q is no AC Name: want lower-case letters and digits, with single - between them", string(n))
	}
	return nil
}

// ACIdentifier names an image, a label, an annotation or an isolator:
// [a-z0-9]+([-._~/][a-z0-9]+)* ("AC Identifier Type").
type ACIdentifier string

// Validate checks the grammar.
func (n ACIdentifier) Validate() error {
	if !isName(string(n), "-._~/") {
		return fmt.Errorf("%q is no AC Identifier: want lower-case letters and digits, with single -._~/ between them", string(n))
	}
	return nil
}

// isName checks for runs of [a-z0-9] with single characters of sep between.
func isName(s, sep string) bool {
	between := false // a letter or digit must come next if not
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			between = true
		case between && strings.ContainsRune(sep, c):
			between = false
		default:
			return false
		}
	}
	return between
}

// SanitizeACName makes an ACName of the last path element of s, which is how
// apps get their names from images. The error says that nothing is left.
func SanitizeACName(s string) (ACName, error) {
	s = s[strings.LastIndexByte(s, '/')+1:]
	words := strings.FieldsFunc(strings.ToLower(s), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9')
	})
	if len(words) == 0 {
		return "", fmt.Errorf("cannot make a name of %q: no letter or digit in it", s)
	}
	return ACName(strings.Join(words, "-")), nil
}

// Label is one name and value that tells images of a name apart.
type Label struct {
	Name  ACIdentifier `json:"name"`
	Value string       `json:"value"`
}

// Labels of an image; each name at most once, "name" never.
type Labels []Label

// Get looks a label up.
func (l Labels) Get(name ACIdentifier) (value string, ok bool) {
	for _, x := range l {
		if x.Name == name {
			return x.Value, true
		}
	}
	return "", false
}

// Validate checks names, and that "arch" comes with "os".
func (l Labels) Validate() error {
	if err := l.validate(); err != nil {
		return err
	}
	_, arch := l.Get("arch")
	if _, os := l.Get("os"); arch && !os {
		return errors.New(`label "arch" needs a label "os"`)
	}
	return nil
}

// validate checks each label by itself: who asks for an image may leave "os" to
// be filled in.
func (l Labels) validate() error {
	seen := map[ACIdentifier]bool{}
	for _, x := range l {
		if err := x.Name.Validate(); err != nil {
			return fmt.Errorf("label: %w", err)
		}
		if x.Name == "name" {
			return errors.New(`a label cannot be called "name"`)
		}
		if seen[x.Name] {
			return fmt.Errorf("label %q is there twice", x.Name)
		}
		seen[x.Name] = true
		if strings.ContainsFunc(x.Value, unicode.IsControl) {
			return fmt.Errorf("label %q has a control character in %q", x.Name, x.Value)
		}
	}
	return nil
}

// Annotation is one name and value that is for people and programs around rkt.
type Annotation struct {
	Name  ACIdentifier `json:"name"`
	Value string       `json:"value"`
}

// Annotations of an image, an app or a pod; each name at most once.
type Annotations []Annotation

// Get looks an annotation up.
func (a Annotations) Get(name ACIdentifier) (value string, ok bool) {
	for _, x := range a {
		if x.Name == name {
			return x.Value, true
		}
	}
	return "", false
}

// Validate checks names. The values that the specification gives a form
// (created, homepage, documentation) are nothing that rkt acts on.
func (a Annotations) Validate() error {
	seen := map[ACIdentifier]bool{}
	for _, x := range a {
		if err := x.Name.Validate(); err != nil {
			return fmt.Errorf("annotation: %w", err)
		}
		if seen[x.Name] {
			return fmt.Errorf("annotation %q is there twice", x.Name)
		}
		seen[x.Name] = true
	}
	return nil
}
