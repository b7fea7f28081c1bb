// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/spf13/pflag"
)

func newRun(c *cli) *command {
	w := &wish{}
	c.parse = w.parse
	cmd := &command{
		usage: "[POD-OPTION…] IMAGE [APP-OPTION…] [-- ARG… [---]] [IMAGE …]",
		short: "run images in a new pod",
		long: `Makes a pod of one app per image and becomes it, with the same process id: the
signals, the cgroup and the exit status of the caller's child are the pod's.
The pod ends with status 0 when all apps have ended with 0, else with that of the
first app that did not.

` + grammarHelp + `

An image that nothing vouches for is refused, unless --insecure-options=image
accepts the risk.`,
		example: `  rkt run docker://quay.io/coreos/etcd@sha256:…
  rkt --insecure-options=image run --net=host docker://nginx
  rkt run --interactive docker://busybox --exec=/bin/sh
  rkt run --volume data,kind=host,source=/srv/data \
      oci:web:v1 --mount volume=data,target=/data -- --port=80 --- \
      oci:log:v1 --user=12 --readonly-rootfs`,
		words: c.imageWords,
		run:   func([]string) error { return c.run(w) },
	}
	w.registerRun(cmd.flags())
	return cmd
}

// registerRun adds the flags of `run`.
func (w *wish) registerRun(fs *pflag.FlagSet) {
	w.registerPod(fs)
	registerRunOptions(fs, &w.Options, &w.net, &w.dns)
	w.manager.flags(fs)
	fs.StringVar(&w.uuidFileSave, "uuid-file-save", "", "write the pod's UUID to `FILE`, before the pod is made")
	w.registerApps(fs)
	unavailable(fs)
}

// grammarHelp is the same for run and prepare.
const grammarHelp = `IMAGE is one of
  docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST]   an image in a registry
  oci:DIR[:REF]  oci-archive:FILE[:REF]        an OCI layout, or a tar of one
  docker-archive:FILE[:REF]                    what docker save wrote
  FILE.aci                                     an appc image
  sha256-HEX  sha512-HEX                       the ID of a stored image, shortened
                                               as long as it is unambiguous

Options that describe an app follow its image; the others may stand anywhere. A
--mount before any image is for all apps, and an app's own on the same path goes
before it. Arguments between "--" and "---", or the end, are given to the app in
place of the image's own arguments, after its entry point or --exec.

Limits of resources after an image are that app's, before any image they are the
pod's as a whole. What this machine cannot enforce is an error (docs/isolators.md).

Environment, from low to high: rkt's own with --inherit-env, the image's,
--set-env-file, --set-env, and the app's --environment.`

// run is the spine: what is asked for becomes a pod, and this process the pod.
func (c *cli) run(w *wish) error {
	if err := c.needRoot(); err != nil {
		return err
	}
	launch.Calm()
	c.clock.on = w.timing
	flavor, err := c.findFlavor(&w.flavor)
	if err != nil {
		return err
	}
	defer flavor.release()
	w.Flavor = flavor.prepared()
	c.userNetwork(&w.Options)
	if err := w.manager.meet(&w.Options); err != nil {
		return err
	}
	var sockets sockets
	if err := c.takeSockets(&sockets, &w.Options, w.quiet); err != nil {
		return err
	}
	// Images are looked up and the pod is written beside its assembly, which has to
	// know little of it at first.
	type layout struct {
		doc *contract.Pod
		dir string
	}
	type outcome struct {
		pod *launch.Ready
		err error
	}
	laid, ready := make(chan layout, 1), make(chan outcome, 1)
	w.Laid = func(doc *contract.Pod, dir string) { laid <- layout{doc, dir} }
	go func() {
		r, err := c.makeReady(w)
		close(laid)
		ready <- outcome{r, err}
	}()
	start, err := launch.Begin(flavor.Flavor, &contract.Pod{Network: w.Options.NetworkMode(), HostIPC: w.Options.HostIPC, Users: w.Users(), Insecure: c.insecureDocument()}, c.launchClock())
	if l, ok := soon(laid); ok && err == nil {
		err = start.Lay(l.doc, l.dir)
	}
	made, _ := soon(ready)
	if made.err != nil {
		err = made.err
	}
	if err != nil {
		if start != nil {
			start.Abort()
		}
		if made.pod != nil {
			made.pod.Drop()
		}
		return err
	}
	flavor.release() // the pod has it now
	start.Sockets(sockets)
	w.manager.tell(c, start)
	c.ended, err = start.Exec(made.pod)
	return err
}

func (c *cli) makeReady(w *wish) (*launch.Ready, error) {
	p, err := c.makePod(w)
	if err != nil {
		return nil, err
	}
	r, err := launch.MakeReady(p)
	c.clock.mark("ready")
	return r, err
}

// soon receives from ch, for a moment actively: what is about to be sent comes
// sooner than a sleeping thread wakes.
func soon[T any](ch <-chan T) (value T, ok bool) {
	const moment = 300 * time.Microsecond
	if runtime.GOMAXPROCS(0) > 1 {
		for begun := time.Now(); time.Since(begun) < moment; {
			select {
			case value, ok = <-ch:
				return value, ok
			default:
			}
		}
	}
	value, ok = <-ch
	return value, ok
}

// launchClock is the clock, if --timing was asked for.
func (c *cli) launchClock() launch.Clock {
	if c.clock.on {
		return &c.clock
	}
	return nil
}

// makePod finds or fetches the images and prepares the pod, in phase Prepare and
// locked.
func (c *cli) makePod(w *wish) (*lifecycle.Pod, error) {
	dir, err := c.global.dataDir()
	if err != nil {
		return nil, err
	}
	w.DataDir = dir
	if err := c.readManifest(w); err != nil {
		return nil, err
	}
	st, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	c.clock.mark("open")

	refs, err := parseRefs(w.images)
	if err != nil {
		return nil, err
	}
	if err := w.sign(refs); err != nil {
		return nil, err
	}
	records, lease, err := c.findImages(st, refs, w.pullPolicy)
	if err != nil {
		return nil, err
	}
	defer lease.Close()
	c.clock.mark("images")

	if err := c.fill(w, refs, records); err != nil {
		return nil, err
	}
	if w.uuidFileSave != "" {
		if w.UUID, err = saveUUID(w.uuidFileSave); err != nil {
			return nil, err
		}
	}
	p, err := prepare.Pod(st, w.Request)
	if err != nil {
		return nil, err
	}
	c.clock.mark("write")
	return p, nil
}

// sign gives images the signatures that were given for them.
func (w *wish) sign(refs []imageRef) error {
	for i, path := range w.signatures {
		if err := fetch.CheckSignable(refs[i].Ref); err != nil {
			return err
		}
		refs[i].signature = path
	}
	return nil
}

// fill adds what the grammar could not know.
func (c *cli) fill(w *wish, refs []imageRef, records []image.Record) error {
	if w.Manifest != nil {
		w.Images = records
	} else {
		for i := range records {
			w.Apps[i].Image, w.Apps[i].Reference = records[i], refs[i].canonical
		}
	}
	w.env.into(&w.Request)
	w.AllowUntrusted = c.global.insecure.image
	w.CDI = c.describedDevices
	w.Options.Insecure = c.insecureDocument()
	if err := c.networkPlaces(&w.Options); err != nil {
		return err
	}
	if w.Options.Interactive {
		w.Options.Term = os.Getenv("TERM")
	}
	if !w.quiet {
		w.Warn = c.say
	}
	return nil
}

// networkPlaces are the directories of network configurations, first wins, and
// of plugins. A pod without configured networks does not ask.
func (c *cli) networkPlaces(o *prepare.Options) error {
	if o.NetworkMode() != contract.NetworkContained || c.global.user {
		return nil
	}
	o.NetworkConfig = nil
	for _, d := range []string{c.global.config.User, c.global.config.Local, c.global.config.System} {
		if d == "" {
			continue
		}
		abs, err := filepath.Abs(d)
		if err != nil {
			return fmt.Errorf("cannot use configuration directory %q: %w", d, err)
		}
		o.NetworkConfig = append(o.NetworkConfig, filepath.Join(abs, "net.d"))
	}
	paths, err := config.LoadPaths(c.global.config)
	o.NetworkShared, o.NetworkPlugins = paths.CNINetworks, paths.CNIPlugins
	return err
}

// insecureDocument is --insecure-options in the contract's words.
func (c *cli) insecureDocument() contract.Insecure {
	o := c.global.insecure
	return contract.Insecure{Capabilities: o.capabilities, Paths: o.paths, Seccomp: o.seccomp}
}

// saveUUID chooses the pod's UUID and writes it to a file, so that whoever reads
// the file can name the pod from its first moment on.
func saveUUID(path string) (pod.UUID, error) {
	id, err := pod.NewUUID()
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, []byte(id+"\n"), 0o644); err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return "", fmt.Errorf("cannot save the pod's UUID to %q: %w", path, err)
	}
	return id, nil
}
