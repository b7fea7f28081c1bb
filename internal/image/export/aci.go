// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bufio"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/ref"
)

// ACI writes an App Container Image (appc 0.8.11, "Image Archives"),
// uncompressed: the manifest, and the tree that s shows as its rootfs. It gives
// the image's ID.
func ACI(w io.Writer, manifest []byte, s *merge.Stack, how Packing) (image.ID, error) {
	sum := sha512.New()
	p := newPacker(io.MultiWriter(w, sum), "rootfs/", how)
	if err := p.file("manifest", manifest); err != nil {
		return "", err
	}
	root, err := s.Root()
	if err == nil {
		err = p.tree(root)
	}
	if err == nil {
		err = p.tw.Close()
	}
	return image.ID("sha512-" + hex.EncodeToString(sum.Sum(nil))), err
}

// Alone makes the manifest of an image whose rootfs is complete: as it came, but
// for dependencies and the path whitelist, which spoke of another tree. All
// other fields, unknown ones too, stay.
func Alone(manifest []byte) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(manifest, &fields); err != nil {
		return nil, fmt.Errorf("cannot read ACI manifest: %w", err)
	}
	_, dependent := fields["dependencies"]
	_, listed := fields["pathWhitelist"]
	if !dependent && !listed {
		return manifest, nil
	}
	delete(fields, "dependencies")
	delete(fields, "pathWhitelist")
	return json.Marshal(fields)
}

// annotations by which rkt always told where an image came from.
const dockerPrefix = "appc.io/docker/"

// Converted makes the appc manifest of an OCI or Docker image: names and
// annotations are those that rkt gave images from registries. s is the image's
// tree, in which the group of a user is looked up who has none of his own;
// configuration is the digest of the image's configuration, by which Docker
// names images.
func Converted(rec image.Record, configuration image.Digest, s *merge.Stack) ([]byte, error) {
	m := aci.ImageManifest{ACKind: aci.Kind, ACVersion: aci.Version}
	c := converted{rec: rec, m: &m}
	c.name()
	for _, name := range []string{"os", "arch"} {
		if v := rec.Labels[name]; v != "" && (name == "os" || rec.Labels["os"] != "") {
			m.Labels = append(m.Labels, aci.Label{Name: aci.ACIdentifier(name), Value: v})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rec.Annotations)) {
		if !strings.HasPrefix(name, "rkt/") {
			c.annotate(name, rec.Annotations[name])
		}
	}
	if configuration != "" {
		c.annotate(dockerPrefix+"imageid", string(configuration))
	}
	c.annotate(dockerPrefix+"manifesthash", string(rec.Manifest))
	if rec.App != nil {
		if err := c.app(rec.App, s); err != nil {
			return nil, err
		}
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("cannot convert image %s to an ACI: %w", rec.ID.Short(), err)
	}
	return json.Marshal(m)
}

type converted struct {
	rec image.Record
	m   *aci.ImageManifest
}

// annotate adds what can be an annotation; a name of another alphabet cannot.
func (c *converted) annotate(name, value string) {
	id := aci.ACIdentifier(name)
	if _, has := c.m.Annotations.Get(id); has || value == "" || id.Validate() != nil {
		return
	}
	c.m.Annotations = append(c.m.Annotations, aci.Annotation{Name: id, Value: value})
}

// name finds the image's name and version: of the newest reference to a
// registry, or of whatever it was fetched by.
func (c *converted) name() {
	c.m.Name = aci.ACIdentifier(identifier(string(c.rec.ID)))
	version := ""
	for i, n := range c.rec.Names {
		r, err := ref.Parse(n)
		switch {
		case err != nil:
			continue
		case r.Kind == ref.Docker:
			c.m.Name = aci.ACIdentifier(identifier(r.Registry + "/" + r.Repository))
			version = r.Tag
			c.annotate(dockerPrefix+"registryurl", r.Registry)
			c.annotate(dockerPrefix+"repository", r.Repository)
			c.annotate(dockerPrefix+"tag", r.Tag)
			c.annotate(dockerPrefix+"originalname", strings.TrimPrefix(n, "docker://"))
		case i == 0 && c.rec.App != nil && c.rec.App.Name != "":
			c.m.Name = aci.ACIdentifier(identifier(c.rec.App.Name))
			continue
		default:
			continue
		}
		break
	}
	if _, has := c.m.Annotations.Get(dockerPrefix + "repository"); !has {
		// By this annotation rkt knows that volumes keep the image's content.
		c.annotate(dockerPrefix+"repository", string(c.m.Name))
	}
	if version != "" {
		c.m.Labels = append(c.m.Labels, aci.Label{Name: "version", Value: version})
	}
}

// identifier makes an AC Identifier of what comes.
func identifier(s string) string {
	var b strings.Builder
	sep := byte(0)
	for i := range len(s) {
		switch ch := s[i]; {
		case ch >= 'A' && ch <= 'Z':
			ch += 'a' - 'A'
			fallthrough
		case ch >= 'a' && ch <= 'z', ch >= '0' && ch <= '9':
			if sep != 0 && b.Len() > 0 {
				b.WriteByte(sep)
			}
			sep = 0
			b.WriteByte(ch)
		case sep != 0: // one between two letters is all there may be
			if ch == '/' {
				sep = ch
			}
		case strings.IndexByte("-._~/", ch) >= 0:
			sep = ch
		default:
			sep = '-'
		}
	}
	if b.Len() == 0 {
		return "image"
	}
	return b.String()
}

// app converts how the image wants to be run.
func (c *converted) app(from *image.App, s *merge.Stack) error {
	a := &aci.App{
		Exec:              slices.Concat(from.Entrypoint, from.Cmd),
		User:              from.User,
		Group:             from.Group,
		SupplementaryGIDs: from.SupplementaryGIDs,
		WorkingDirectory:  from.WorkingDir,
		UserAnnotations:   from.UserAnnotations,
		UserLabels:        from.UserLabels,
	}
	if a.User == "" {
		a.User = "0"
	}
	if a.Group == "" {
		group, err := groupOf(a.User, s)
		if err != nil {
			return err
		}
		a.Group = group
	}
	for name, words := range map[string][]string{"entrypoint": from.Entrypoint, "cmd": from.Cmd} {
		if words != nil {
			text, err := json.Marshal(words)
			if err != nil {
				return err
			}
			c.annotate(dockerPrefix+name, string(text))
		}
	}
	slices.SortFunc(c.m.Annotations, func(x, y aci.Annotation) int { return strings.Compare(string(x.Name), string(y.Name)) })
	for _, e := range from.Environment {
		name, value, _ := strings.Cut(e, "=")
		a.Environment = append(a.Environment, aci.EnvironmentVariable{Name: name, Value: value})
	}
	for _, m := range from.Mounts {
		a.MountPoints = append(a.MountPoints, aci.MountPoint{Name: aci.ACName(m.Name), Path: m.Path, ReadOnly: m.ReadOnly})
	}
	for _, p := range from.Ports {
		if p.Protocol != "tcp" && p.Protocol != "udp" {
			continue // appc has no word for it, and the port is only talked of
		}
		a.Ports = append(a.Ports, aci.Port{Name: aci.ACName(p.Name), Protocol: p.Protocol, Port: p.Port, Count: p.Count, SocketActivated: p.SocketActivated})
	}
	for _, i := range from.Isolators {
		a.Isolators = append(a.Isolators, aci.Isolator{Name: aci.ACIdentifier(i.Name), Value: i.Value})
	}
	for _, h := range from.EventHandlers {
		a.EventHandlers = append(a.EventHandlers, aci.EventHandler(h))
	}
	c.m.App = a
	return nil
}

// maxPasswd bounds what is read of an image's /etc/passwd.
const maxPasswd = 1 << 20

// groupOf is a user's own group by the image's /etc/passwd, which appc has no
// word for; root's for whom that does not know.
func groupOf(user string, s *merge.Stack) (string, error) {
	text, ok, err := fileIn(s, "etc/passwd", maxPasswd)
	if err != nil {
		return "", fmt.Errorf("cannot read the image's /etc/passwd: %w", err)
	}
	if ok {
		lines := bufio.NewScanner(bytes.NewReader(text))
		lines.Buffer(nil, maxPasswd)
		for lines.Scan() {
			f := strings.Split(lines.Text(), ":")
			if len(f) < 4 || f[0] != user && f[2] != user {
				continue
			}
			if _, err := strconv.ParseUint(f[3], 10, 32); err == nil {
				return f[3], nil
			}
		}
	}
	return "0", nil
}
