// SPDX-License-Identifier: Apache-2.0

// Package images makes images of real software out of the Debian packages of
// this machine: a shell with its tools, etcd, nginx, and a tiny one of busybox
// for tests in a hurry. What it makes is kept in a cache under the temporary
// directory, by the content it was made from; nothing binary is in the source
// tree.
package images

import (
	"archive/tar"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/rkt/rkt/test/cache"
	"github.com/rkt/rkt/test/layout"
)

// Refs in the layout that Layout returns.
const (
	Tiny   = "tiny"   // busybox, one gzip layer; no command
	Plain  = "plain"  // the same without files of others than root; its upper layer replaces /data
	Shell  = "shell"  // bash, coreutils and friends; two gzip layers; runs bash
	Etcd   = "etcd"   // the layers of Shell, and etcd and etcdctl in a zstd layer
	Python = "python" // the layers of Shell, and the smallest python3 in a gzip layer
	Nginx  = "nginx"  // the layers of Shell, and nginx in a gzip layer, logging to stdout
)

//go:embed *.go
var recipe embed.FS

// Layout returns the directory of an OCI layout with all the images, made now
// if the cache does not have it. It is shared: only read from it. Where the
// software is missing, as in tools/vm's machine, RKT_TEST_IMAGES names one.
func Layout() (string, error) {
	if dir := os.Getenv("RKT_TEST_IMAGES"); dir != "" {
		return dir, nil
	}
	var sources []string
	for _, s := range []*software{&tiny, &shell, &etcd, &nginx, &python} {
		if err := s.find(); err != nil {
			return "", err
		}
		for _, f := range s.files {
			sources = append(sources, f.host)
		}
	}
	return cached("layout", sources, build)
}

func build(dir string) error {
	l, err := layout.Create(dir)
	if err != nil {
		return err
	}
	add := func(c layout.Compression, fill func(*tar.Writer) error) (layer layout.Layer) {
		if err == nil {
			layer, err = l.AddLayer(c, fill)
		}
		return layer
	}
	image := func(ref string, c layout.Config, layers ...layout.Layer) {
		if err == nil {
			c.History = true
			_, err = l.AddImage(ref, c, layers...)
		}
	}
	base := add(layout.Gzip, shell.write)
	etc := add(layout.Gzip, writeEtc)
	path := "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	image(Tiny, layout.Config{Env: []string{"IMAGE=tiny", path}, Cmd: []string{"/bin/sh"}}, add(layout.Gzip, func(tw *tar.Writer) error {
		return errors.Join(tiny.write(tw), writeEtc(tw))
	}))
	image(Plain, layout.Config{Env: []string{path}, Cmd: []string{"/bin/sh"}}, add(layout.Gzip, func(tw *tar.Writer) error {
		return errors.Join(tiny.write(tw), writeRootsEtc(tw), layout.Dir(tw, "data", 0o755), layout.File(tw, "data/old", 0o644, "old\n"))
	}), add(layout.Gzip, func(tw *tar.Writer) error {
		return errors.Join(layout.Dir(tw, "data", 0o755), layout.File(tw, "data/.wh..wh..opq", 0o644, ""), layout.File(tw, "data/new", 0o644, "new\n"))
	}))
	image(Shell, layout.Config{Env: []string{path}, Cmd: []string{"/bin/bash"}}, base, etc)
	image(Etcd, layout.Config{
		Env: []string{path, "ETCDCTL_API=3", "ETCD_UNSUPPORTED_ARCH=arm64"}, Entrypoint: []string{"/usr/bin/etcd"}, Cmd: []string{"--data-dir=/var/lib/etcd"},
		ExposedPorts: map[string]struct{}{"2379/tcp": {}}, Volumes: map[string]struct{}{"/var/lib/etcd": {}},
	}, base, etc, add(layout.Zstd, func(tw *tar.Writer) error {
		return errors.Join(etcd.write(tw), layout.Dir(tw, "var/lib/etcd", 0o700))
	}))
	image(Nginx, layout.Config{
		Env: []string{path}, Cmd: []string{"nginx", "-g", "daemon off;"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGQUIT",
	}, base, etc, add(layout.Gzip, writeNginx))
	image(Python, layout.Config{Env: []string{path, "LANG=C.UTF-8"}, Cmd: []string{"python3"}}, base, etc, add(layout.Gzip, python.write))
	return err
}

// writeEtc writes what every image needs beside programs.
func writeEtc(tw *tar.Writer) error {
	return errors.Join(writeRootsEtc(tw), owned(tw, "srv/owned", 4242, 4343))
}

// writeRootsEtc is writeEtc without what is not root's.
func writeRootsEtc(tw *tar.Writer) error {
	return errors.Join(
		layout.Dir(tw, "etc", 0o755),
		layout.File(tw, "etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nwww-data:x:33:33::/var/www:/bin/false\nalice:x:1000:1001::/home/alice:/bin/sh\n"),
		layout.File(tw, "etc/group", 0o644, "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nstaff:x:50:alice\nalice:x:1001:\n"),
		layout.File(tw, "etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n"),
		layout.Dir(tw, "root", 0o700),
		layout.Dir(tw, "tmp", 0o1777),
		layout.Dir(tw, "var", 0o755), layout.Dir(tw, "var/lib", 0o755), layout.Dir(tw, "var/log", 0o755),
		layout.Dir(tw, "srv", 0o755),
		layout.File(tw, "srv/content", 0o644, "from the image\n"),
		// A link that leaves the image if it is not resolved inside of it.
		layout.Symlink(tw, "escape", "/../../srv"),
	)
}

func owned(tw *tar.Writer, name string, uid, gid int) error {
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Uid: uid, Gid: gid, ModTime: layout.Epoch})
}

func writeNginx(tw *tar.Writer) error {
	return errors.Join(
		nginx.write(tw),
		layout.Dir(tw, "var/log/nginx", 0o755), layout.Dir(tw, "var/lib/nginx", 0o755), layout.Dir(tw, "run", 0o755),
		layout.Dir(tw, "var/www", 0o755), layout.Dir(tw, "var/www/html", 0o755),
		// As Docker's own nginx image has them: logs go where the caller listens.
		layout.Symlink(tw, "var/log/nginx/access.log", "/dev/stdout"),
		layout.Symlink(tw, "var/log/nginx/error.log", "/dev/stderr"),
		layout.File(tw, "var/www/html/index.html", 0o644, "served from a pod\n"),
		layout.Dir(tw, "etc/nginx", 0o755),
		layout.File(tw, "etc/nginx/nginx.conf", 0o644, `user www-data;
worker_processes 2;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;
events { worker_connections 64; }
http {
	access_log /var/log/nginx/access.log;
	server { listen unix:/run/web.sock; listen 127.0.0.1:8000; root /var/www/html; }
}
`))
}

// cached returns a directory filled by make, keyed by kind, this package's
// source and the sources' paths, sizes and times.
func cached(kind string, sources []string, fill func(dir string) error) (string, error) {
	key := sha256.New()
	files, err := recipe.ReadDir(".")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		text, err := recipe.ReadFile(f.Name())
		if err != nil {
			return "", err
		}
		key.Write(text)
	}
	slices.Sort(sources)
	for _, s := range sources {
		st, err := os.Stat(s)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(key, s, st.Size(), st.ModTime().UnixNano())
	}
	dir, err := cache.Dir("rkt-test-images", kind+"-"+hex.EncodeToString(key.Sum(nil))[:24], fill)
	if err != nil {
		return "", fmt.Errorf("cannot make test images: %w", err)
	}
	return dir, nil
}

// copyTo copies a file's bytes, for archives that are made by other programs.
func copyTo(host, dst string, mode os.FileMode) error {
	in, err := os.Open(host)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
