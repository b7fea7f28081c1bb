// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/rkt/rkt/test/images"
)

// buildCase is the Dockerfile that is built, one of those that the tests compare
// with buildah's results: ten instructions over three layers.
const buildCase = "python-app"

// build has a Dockerfile built again though nothing has changed, and from nothing
// but its base.
func build(b *bench, n int) ([]result, error) {
	dir, err := filepath.Abs(filepath.Join("test", "dockerfiles", "cases", buildCase))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("cannot find the Dockerfile: %w; run it at the root of the source tree", err)
	}
	acbuild := []string{filepath.Join(filepath.Dir(b.o.rkt), "acbuild"), "--dir=" + filepath.Join(b.o.work, "data"), "build", "--insecure", "--network=none",
		"--build-context=" + images.Python + "=oci:" + b.layout + ":" + images.Python, "--tag=example.com/out"}
	p := filepath.Join(b.o.work, "buildah")
	buildah := []string{"buildah", "--root", p + "/root", "--runroot", p + "/run", "--storage-driver", "overlay"}
	again := append(slices.Clone(buildah), "bud", "--layers", "--isolation", "chroot", "--network", "host", "--format", "docker", "--pull-never", "-t", "out")
	absent := ""
	if id, err := b.output(buildah, "pull", "-q", "oci:"+b.layout+":"+images.Python); err != nil {
		absent = firstLine(err.Error())
	} else if _, err := b.output(buildah, "tag", firstLine(id), "localhost/"+images.Python); err != nil {
		return nil, err
	}
	contenders := []contender{
		{name: "acbuild", argv: append(slices.Clone(acbuild), dir)},
		{name: "acbuild, from nothing", argv: append(slices.Clone(acbuild), "--no-cache", dir)},
	}
	if absent == "" {
		contenders = append(contenders,
			contender{name: "buildah", argv: append(slices.Clone(again), dir)},
			contender{name: "buildah, from nothing", argv: append(slices.Clone(again), "--no-cache", dir)})
	}
	results, err := race(n, contenders...)
	if err == nil && absent != "" {
		results = append(results, without("buildah", absent))
	}
	return results, err
}
