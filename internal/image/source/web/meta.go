// SPDX-License-Identifier: Apache-2.0

package web

import (
	"html"
	"strings"
)

// meta is one <meta name=… content=…> of a page's head.
type meta struct{ name, content string }

// maxMetas bounds what is taken from one page.
const maxMetas = 1024

// metas lists the meta elements of a page's head, in their order, as far as the
// page is HTML. It stops where the head does: what stands in the body may be
// anybody's, such as a wiki's or a forum's readers'.
func metas(page string) (list []meta) {
	for len(list) < maxMetas {
		_, rest, ok := strings.Cut(page, "<")
		if !ok {
			return list
		}
		if after, ok := strings.CutPrefix(rest, "!--"); ok {
			if _, page, ok = strings.Cut(after, "-->"); !ok {
				return list
			}
			continue
		}
		if !beginsTag(rest) {
			page = rest // a bare "<"
			continue
		}
		tag, attrs, after, ok := readTag(rest)
		if !ok {
			// The page ends within this tag, and so within each that seems to
			// begin in it: to look at those would take time by the square.
			return list
		}
		page = after
		switch tag {
		case "body", "/head", "/html":
			return list
		case "script", "style", "title", "noscript", "template", "textarea", "iframe", "xmp", "noembed", "noframes", "plaintext":
			// What is inside is text, however it looks; what does not end hides
			// the rest of the page.
			if page, ok = skipTo(page, tag); !ok {
				return list
			}
		case "meta":
			if attrs["name"] != "" {
				list = append(list, meta{attrs["name"], attrs["content"]})
			}
		}
	}
	return list
}

// beginsTag tells whether a "<" before s begins a tag.
func beginsTag(s string) bool {
	s = strings.TrimPrefix(s, "/")
	return s != "" && (isLetter(s[0]) || s[0] == '!' || s[0] == '?')
}

// readTag reads what follows the "<" of a tag: its name in lower case, with its
// slash if it ends an element, and the attributes, of equal ones the first. It
// is not ok if the page ends before the tag does.
func readTag(s string) (tag string, attrs map[string]string, rest string, ok bool) {
	i := 0
	for i < len(s) && !isSpace(s[i]) && s[i] != '>' && (s[i] != '/' || i == 0) {
		i++
	}
	tag, s = strings.ToLower(s[:i]), s[i:]
	attrs = map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t\r\n\f/")
		if s == "" {
			return "", nil, "", false // the page ends within a tag
		}
		if s[0] == '>' {
			return tag, attrs, s[1:], true
		}
		n := 1 // an attribute may begin with "="
		for n < len(s) && !isSpace(s[n]) && strings.IndexByte("/>=", s[n]) < 0 {
			n++
		}
		name := strings.ToLower(s[:n])
		s = strings.TrimLeft(s[n:], " \t\r\n\f")
		value := ""
		if strings.HasPrefix(s, "=") {
			if value, s, ok = readValue(strings.TrimLeft(s[1:], " \t\r\n\f")); !ok {
				return "", nil, "", false
			}
		}
		if _, twice := attrs[name]; !twice {
			attrs[name] = html.UnescapeString(value)
		}
	}
}

// readValue reads an attribute's value, in quotes or without.
func readValue(s string) (value, rest string, ok bool) {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		return strings.Cut(s[1:], s[:1])
	}
	n := 0
	for n < len(s) && !isSpace(s[n]) && s[n] != '>' {
		n++
	}
	return s[:n], s[n:], true
}

// skipTo goes on after the end tag of an element.
func skipTo(s, tag string) (rest string, ok bool) {
	for {
		i := strings.Index(s, "</")
		if i < 0 || tag == "plaintext" {
			return "", false
		}
		s = s[i+2:]
		if len(s) <= len(tag) || !strings.EqualFold(s[:len(tag)], tag) {
			continue
		}
		if c := s[len(tag)]; !isSpace(c) && c != '>' && c != '/' {
			continue
		}
		_, rest, ok := strings.Cut(s, ">")
		return rest, ok
	}
}

func isLetter(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }
func isSpace(c byte) bool  { return strings.IndexByte(" \t\r\n\f", c) >= 0 }
