// SPDX-License-Identifier: Apache-2.0

// Package internal_test keeps the laws of the house: who may import whom, and
// what each program may link. The tables are policy, and ARCHITECTURE.md and
// docs/decisions/ are where policy is argued: do not change a table to mend a
// build.
package internal_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/rkt/rkt/"

// imports says, for each package under internal/, which others under
// internal/ it may import. "x/..." is x and all below it; the first row that
// fits a package is its law. Every package may import the words in floorless.
var imports = []struct{ pkg, may, why string }{
	{"failpoint", "", "crash tests reach into every package, so it reaches into none"},
	{"hint", "", "an error anywhere may carry a remedy"},
	{"linux/...", "linux/...", "mechanism: a kernel word knows no image and no pod"},
	{"plainjson", "", "spelling: knows no document, and costs nothing at start"},
	{"plainjson/plainjsontest", "", "for tests alone: holds hand-written codecs against encoding/json"},
	{"config", "", "three directories of files; what they mean is the reader's"},

	{"image", "", "the noun of the first room does no I/O"},
	{"image/ref", "image", "pure: parsing a name looks nothing up"},
	{"image/aci", "image image/ref", "pure: appc's types and their conversion"},
	{"image/ociconfig", "image image/ref", "pure: OCI's types and their conversion"},
	{"image/fetch/wire", "image", "two programs share it, one of them parses what strangers wrote: types only"},
	{"image/fetch/wall", "image/fetch/wire linux/...", "what each helper may do: policy over mechanism, for both sides"},
	{"image/store", "image image/ref linux/... ", "files and locks; knows no network and no pod"},
	{"image/trust", "image image/aci config linux/...", "whom the administrator trusts: files; what is in a key it leaves to the helper"},
	{"image/fetch", "image image/ref image/aci image/ociconfig image/render image/settle image/store image/trust image/tree image/fetch/wall image/fetch/wire config linux/...",
		"rkt's side of a fetch: proves digests, so it may not lean on the parsers of the other side"},
	{"image/merge", "linux/...", "reads trees as overlayfs would; knows neither where they lie nor what they are of"},
	{"image/export", "image image/ref image/aci image/ociconfig image/merge linux/...", "writes what others read; is handed blobs and trees, never the store"},
	{"image/extract", "image/merge linux/...", "from a merged tree into a directory of the user's"},
	{"image/diff", "image image/merge linux/...", "compares merged trees, and records"},
	{"image/verify", "image image/aci image/ociconfig image/diff image/fetch image/merge image/settle image/store linux/...",
		"doubts all that is stored; asks about pods through a function"},
	{"image/source/...", "image image/ref image/aci image/ociconfig image/settle image/unpack image/fetch/wall image/fetch/wire image/source/... linux/...",
		"the helper's side: sees the network, never the store"},
	{"image/render", "linux/...", "lays trees over each other; knows neither where they lie nor where they came from"},
	{"image/settle", "image linux/...", "compares trees; knows neither where they lie nor where they came from"},
	{"image/unpack/...", "image image/fetch/wire image/settle image/unpack/... linux/...", "extracts under an untrusted root; must not know where"},
	{"image/tree", "image image/extract image/merge image/settle image/store linux/...", "which trees make a root, or the one tree that has them all"},

	{"pod", "image image/ref image/aci", "the noun of the second room does no I/O"},
	{"pod/cdi", "", "reads what administrators say of devices; knows no pod"},
	{"pod/yamljson", "", "YAML in, JSON out; linked by the helper only"},
	{"pod/kube", "image image/ref image/aci pod", "YAML in, PodManifest out; linked by the helper only"},
	{"pod/lifecycle", "image pod stage1/contract linux/...", "directory = phase; reads the document, knows nothing of what starts or fetches"},
	{"pod/activation", "stage1/contract", "what the caller opened, and whose ports those are"},
	{"pod/prepare", "image image/ref image/aci image/store image/tree pod pod/cdi pod/lifecycle stage1/contract config linux/...",
		"where the rooms meet; flavors are data to it, not imports"},
	{"pod/systemd", "pod linux/...", "what systemd and machined are asked for, on D-Bus"},
	{"pod/unit", "", "spelling: text for systemd to read; asks it nothing"},
	{"pod/launch", "image pod pod/lifecycle pod/users stage1/contract stage1/assemble stage1/machine stage1/networks stage1/notify linux/...", "the last code of stage0; reads no image, knows no flavor"},
	{"pod/users", "stage1/contract linux/...", "ranges and their locks; knows no pod but by the locks it holds"},
	{"pod/network/lease", "pod linux/...", "files and a lock; knows not what is leased"},
	{"pod/network/rules", "linux/...", "one nftables table; knows no pod"},
	{"pod/network/...", "pod pod/lifecycle pod/network/... stage1/contract config linux/...",
		"linked by the network program only: netlink and nftables stay off every container's path"},
	{"pod/gc", "image image/store image/tree pod pod/lifecycle pod/launch stage1/contract linux/...",
		"gives back; may ask a flavor through launch, never by import"},

	{"stage1/contract", "", "what both sides share: types and their decoding"},
	{"stage1/appinit/...", "stage1/contract stage1/appinit/... linux/...", "the last metres; paid at every start"},
	{"stage1/assemble", "stage1/contract stage1/appinit linux/...", "what stage0 does of stage1, for flavors that ask for it; paid at every start"},
	{"stage1/networks", "stage1/contract", "what stage0 and a flavor both say to the program of networks"},
	{"stage1/machine", "stage1/contract linux/...", "what stage0 and a flavor both say to the program of machines"},
	{"stage1/kvm/guest", "stage1/assemble stage1/contract stage1/appinit/... stage1/kvm/wire stage1/native linux/...",
		"in the virtual machine, where the pod is a native one: of the guest's kernel, not of the host's"},
	{"stage1/kvm/...", "stage1/networks stage1/contract stage1/appinit/... stage1/kvm/vmm stage1/kvm/wire linux/...", "a flavor sees the contract, appinit and the floor"},
	{"stage1/notify", "", "what the service manager is told, by stage0 and by a flavor"},
	{"stage1/fly/...", "stage1/contract stage1/appinit/... stage1/fly/... linux/...", "a flavor sees the contract, appinit and the floor"},
	{"stage1/native/...", "stage1/machine stage1/networks stage1/notify stage1/contract stage1/appinit/... stage1/native/... linux/...", "a flavor sees the contract, appinit and the floor"},
	{"stage1/nspawn/...", "stage1/assemble stage1/machine stage1/native stage1/networks stage1/notify stage1/contract stage1/appinit/... stage1/nspawn/... linux/...",
		"does stage0's part, too, and has native's supervisor for each app"},

	{"build/manifest", "image image/aci image/ociconfig", "what an image says of itself: pure"},
	{"build/place", "image/merge linux/...", "files into a root of trees; knows no image"},
	{"build/workspace", "build/manifest build/place image linux/...", "a build as files and a lock"},
	{"build/archive", "image image/aci image/fetch", "ACIs as streams"},
	{"build/sbom", "image/merge", "what a root consists of"},
	{"build/compose", "build/layer build/manifest build/output build/place build/workspace image image/aci image/export image/fetch image/merge image/ociconfig image/ref image/store image/tree",
		"builds of images, and images of builds"},
	{"build/engine", "pod pod/gc pod/launch pod/lifecycle stage1/appinit stage1/contract linux/...", "a step as a pod; knows no image, and stage1 knows nothing of it"},
	{"build/cache", "build/layer linux/...", "what builds made, by key"},
	{"build/agent", "", "a socket for a step; knows no build"},
	{"build/repository", "linux/...", "runs git; knows no build"},
	{"build/dockerfile", "build/agent build/cache build/engine build/layer build/output build/repository image image/export image/fetch image/ociconfig image/ref image/store image/tree stage1/appinit stage1/contract linux/...",
		"a language and what it makes; prints nothing"},
	{"build/cmd", "build/... image/... pod/... config ui ui/... rootless linux/...", "a door: acbuild's commands"},
	{"build/layer", "image image/export image/merge", "trees into layers; knows neither images nor where they go"},
	{"build/output", "build/layer image image/export image/fetch image/merge image/ociconfig image/ref image/store", "a built image into every form"},
	{"doctor", "ui linux/...", "looks at the machine, and knows nothing of images and pods"},

	{"ui", "", "the only package that knows a terminal, and knows nothing else"},
	{"ui/flags", "", "reads command lines"},
	{"ui/page", "", "lays out help"},
	{"rootless", "config linux/...", "makes a user namespace and executes rkt in it; knows no verb"},
	{"cli", "image/... pod/... stage1/contract stage1/notify config ui ui/... rootless linux/...",
		"a door opens every room, but never the helper's side nor a flavor (see programs)"},
}

// floorless may be imported by every package, and import none.
var floorless = []string{"failpoint", "hint", "plainjson"}

// programs says what each program may link: which modules beside std, and
// which packages never, whoever would bring them in.
var programs = []struct {
	name    string
	modules string
	never   string
	why     string
}{
	{
		name:    "cmd/rkt",
		modules: "golang.org/x/sys github.com/spf13/pflag",
		never: "net/http crypto/tls crypto/x509 encoding/xml testing " +
			module + "internal/image/source/... " + module + "internal/image/unpack/... " +
			module + "internal/pod/kube " + module + "internal/pod/yamljson " + module + "internal/pod/network/... " + module + "internal/doctor " + module + "internal/linux/netlink " + module + "internal/linux/nft " +
			module + "internal/stage1/native/...",
		why: "on every container's path: starts in about 2 ms, and talks to no stranger",
	},
	{
		name:    "cmd/stage1-native",
		modules: "golang.org/x/sys",
		never: "net net/http crypto/tls encoding/json encoding/xml regexp text/template html/template testing " +
			module + "internal/image/... " + module + "internal/pod/... " + module + "internal/cli " + module + "internal/ui",
		why: "paid at every start, as the pod's first process",
	},
	{
		name:    "cmd/stage1-nspawn",
		modules: "golang.org/x/sys",
		never: "net net/http crypto/tls encoding/json encoding/xml regexp text/template html/template testing " +
			module + "internal/image/... " + module + "internal/pod/... " + module + "internal/cli " + module + "internal/ui",
		why: "runs in rkt's place, and once more for each app of a pod",
	},
	{
		name:    "cmd/stage1-fly",
		modules: "golang.org/x/sys",
		never: "net net/http crypto/tls encoding/json encoding/xml regexp text/template html/template testing " +
			module + "internal/image/... " + module + "internal/pod/... " + module + "internal/cli " + module + "internal/ui",
		why: "stays in rkt's place as long as the pod lives",
	},
	{
		name:    "cmd/stage1-kvm",
		modules: "golang.org/x/sys",
		never: "net net/http crypto/tls encoding/json encoding/xml regexp text/template html/template testing " +
			module + "internal/image/... " + module + "internal/pod/... " + module + "internal/cli " + module + "internal/ui " +
			module + "internal/stage1/native/... " + module + "internal/stage1/assemble " + module + "internal/stage1/kvm/guest",
		why: "stays in rkt's place as long as the pod lives, and reads what a hostile guest says",
	},
	{
		name:    "cmd/kvm-init",
		modules: "golang.org/x/sys",
		never: "net net/http crypto/tls encoding/json encoding/xml regexp text/template html/template testing " +
			module + "internal/image/... " + module + "internal/pod/... " + module + "internal/cli " + module + "internal/ui " +
			module + "internal/stage1/kvm/vmm",
		why: "the first process of every virtual machine, whose start is emulated where there is no KVM",
	},
	{
		name:  "cmd/join",
		never: "net os/exec " + module + "internal/...",
		why:   "joins a user namespace before there is a second thread: its own few instructions, and nothing",
	},
	{
		name:    "cmd/network",
		modules: "golang.org/x/sys",
		never: "net/http crypto/tls encoding/xml regexp text/template html/template testing " +
			module + "internal/image/store " + module + "internal/pod/prepare " + module + "internal/pod/launch " +
			module + "internal/stage1/native/... " + module + "internal/cli " + module + "internal/ui",
		why: "started with every pod that has a network, and again at its end",
	},
	{
		name:    "cmd/systemd",
		modules: "golang.org/x/sys github.com/godbus/dbus/v5",
		never: "net/http crypto/tls testing " + module + "internal/image/source/... " + module + "internal/image/store " +
			module + "internal/pod/launch " + module + "internal/stage1/... " + module + "internal/cli " + module + "internal/ui",
		why: "started beside pods on a systemd host; D-Bus stays off every container's path",
	},
	{
		name: "cmd/acbuild",
		modules: "golang.org/x/sys github.com/spf13/pflag github.com/klauspost/compress github.com/moby/buildkit github.com/moby/patternmatcher " +
			// What BuildKit's parser brings along: how its errors travel, sizes, spelling.
			"github.com/agext/levenshtein github.com/containerd/typeurl/v2 github.com/docker/go-units github.com/moby/docker-image-spec " +
			"github.com/opencontainers/go-digest github.com/opencontainers/image-spec github.com/pkg/errors github.com/planetscale/vtprotobuf " +
			"github.com/tonistiigi/go-csvvalue google.golang.org/protobuf",
		never: "net/http crypto/tls crypto/x509 encoding/xml testing " +
			module + "internal/image/source/... " + module + "internal/image/unpack/... " +
			module + "internal/pod/kube " + module + "internal/pod/network/builtin " + module + "internal/cli",
		why: "what talks to strangers, and holds keys, is the helper",
	},
	{
		name:    "cmd/doctor",
		modules: "golang.org/x/sys",
		never:   "net/http crypto/tls encoding/xml testing " + module + "internal/image/... " + module + "internal/pod/... " + module + "internal/cli",
		why:     "looks at a machine on which nothing else may work",
	},
	{
		name: "cmd/fetch",
		modules: "golang.org/x/sys github.com/google/go-containerregistry github.com/klauspost/compress github.com/ulikunitz/xz " +
			"github.com/vbauerster/mpb/v8 go.yaml.in/yaml/v3 github.com/ProtonMail/go-crypto " +
			// What go-crypto brings along: curves and hashes that std lacks.
			"github.com/cloudflare/circl golang.org/x/crypto " +
			// What go-containerregistry's authn brings along to read Docker's
			// config and ask its helpers.
			"github.com/docker/cli github.com/docker/docker-credential-helpers github.com/opencontainers/go-digest github.com/opencontainers/image-spec github.com/sirupsen/logrus golang.org/x/sync " +
			// What mpb brings along to draw its bars.
			"github.com/vbauerster/cupwriter github.com/VividCortex/ewma github.com/acarl005/stripansi github.com/mattn/go-runewidth github.com/clipperhouse/uax29/v2",
		never: "testing " + module + "internal/image/store " + module + "internal/image/fetch " +
			module + "internal/pod/lifecycle " + module + "internal/pod/launch " + module + "internal/cli",
		why: "parses what strangers wrote, without privilege: it may not even know the store's format",
	},
}

type listed struct {
	ImportPath                         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
	Module                             *struct{ Path string }
}

// list is `go list -deps -test` over the whole module.
var list = sync.OnceValues(func() (map[string]listed, error) {
	cmd := exec.Command("go", "list", "-e", "-deps", "-test", "-tags", "e2e,failpoint",
		"-json=ImportPath,Standard,Imports,TestImports,XTestImports,Module", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	all := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
})

func packages(t *testing.T) map[string]listed {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatalf("cannot list packages: %v", err)
	}
	return all
}

// fits reports whether pkg is one of the patterns in list.
func fits(pkg, list string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(p string) bool {
		base, tree := strings.CutSuffix(p, "/...")
		return pkg == base || tree && strings.HasPrefix(pkg, base+"/")
	})
}

func TestImports(t *testing.T) {
	for path, p := range packages(t) {
		pkg, ours := strings.CutPrefix(path, module+"internal/")
		if !ours || strings.ContainsAny(path, " ") || strings.HasSuffix(path, ".test") {
			continue
		}
		i := slices.IndexFunc(imports, func(r struct{ pkg, may, why string }) bool { return fits(pkg, r.pkg) })
		if i < 0 {
			t.Errorf("internal/%s has no law: give it a row in deps_test.go and in ARCHITECTURE.md", pkg)
			continue
		}
		for _, dep := range p.Imports {
			dep, ours := strings.CutPrefix(dep, module)
			if !ours {
				continue
			}
			in, internal := strings.CutPrefix(dep, "internal/")
			if !internal || !fits(in, imports[i].may) && !slices.Contains(floorless, in) {
				t.Errorf("internal/%s imports %s, but may only import %q: %s", pkg, dep, imports[i].may, imports[i].why)
			}
		}
	}
}

func TestPrograms(t *testing.T) {
	all := packages(t)
	for _, prog := range programs {
		seen := map[string]string{} // package → who brought it in
		var walk func(path, from string)
		walk = func(path, from string) {
			if _, ok := seen[path]; ok {
				return
			}
			seen[path] = from
			for _, dep := range all[path].Imports {
				walk(dep, path)
			}
		}
		if _, ok := all[module+prog.name]; !ok {
			t.Errorf("%s does not exist", prog.name)
			continue
		}
		walk(module+prog.name, "")
		for path := range seen {
			p := all[path]
			if fits(path, prog.never) {
				t.Errorf("%s links %s (through %s), but never may: %s", prog.name, path, chain(seen, path), prog.why)
			}
			if !p.Standard && p.Module != nil && p.Module.Path+"/" != module && !fits(p.Module.Path, prog.modules) {
				t.Errorf("%s links module %s (through %s), but may only link %q: %s",
					prog.name, p.Module.Path, chain(seen, path), prog.modules, prog.why)
			}
		}
	}
}

// chain is how path came to be linked, shortest first.
func chain(from map[string]string, path string) string {
	var via []string
	for p := from[path]; p != ""; p = from[p] {
		via = append(via, strings.TrimPrefix(p, module))
	}
	return strings.Join(via, " < ")
}
