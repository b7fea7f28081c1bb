// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/gpg"
	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/test/systemdhost"
	"github.com/rkt/rkt/test/web"
)

// etcd is the talk's image, and the rest its places in the web.
const (
	etcd     = "coreos.com/etcd:v3.0.3"
	etcdPage = `<meta name="ac-discovery" content="coreos.com/etcd https://coreos.com/dist/etcd-{version}.{ext}">
<meta name="ac-discovery-pubkeys" content="coreos.com/etcd https://coreos.com/dist/pubkeys.gpg">`
	etcdFile   = "https://coreos.com/dist/etcd-v3.0.3.aci"
	etcdKeys   = "https://coreos.com/dist/pubkeys.gpg"
	etcdSigner = "CoreOS Application Signing Key <security@coreos.com>"
)

// TestTalk: the lines by which rkt was introduced, literally. etcd is found by its
// name as in the world, without a proxy and with the host's certificates, and runs
// because of a key that somebody at a terminal has trusted for it, and of nothing
// else.
func TestTalk(t *testing.T) {
	s, keys := booted.Session(t), gpg.New(t)
	sites := coreos(t, s)
	aci := buildEtcd(t, s)
	fpr, other := keys.Key(etcdSigner, "ed25519", "1y"), keys.Key("Somebody <else@example.com>", "ed25519", "1y")
	signature := keys.Sign(fpr, aci)
	sites.Text("https://coreos.com/etcd", etcdPage)
	sites.File(etcdFile, aci)
	sites.File(etcdFile+".asc", signature)
	sites.File(etcdKeys, keys.Export(fpr))

	refused := func(says string) {
		t.Helper()
		r := s.Run("systemd-run", "--wait", "--collect", "--pipe", "rkt", "run", etcd, "--net=host")
		if r.Status != 254 || !strings.Contains(r.Stderr, says) {
			t.Errorf("status %d, want 254 and %q\n%s%s", r.Status, says, r.Stdout, r.Stderr)
		}
		if out := s.Must("rkt", "image", "list").Stdout; strings.Contains(out, "coreos.com") {
			t.Errorf("it is in the store:\n%s", out)
		}
	}
	refused(`cannot trust key "` + etcdKeys + `": there is no terminal to ask at`)
	if r := trusts(t, s, fpr, "no"); r.Status != 254 {
		t.Errorf("rkt trust, to which the answer was no: status %d\n%s", r.Status, r.Stdout)
	}
	refused(`cannot trust key "` + etcdKeys + `": there is no terminal to ask at`)
	if r := trusts(t, s, fpr, "yes"); r.Status != 0 {
		t.Fatalf("rkt trust, to which the answer was yes: status %d\n%s", r.Status, r.Stdout)
	}
	defer s.Must("rkt", "trust", "rm", "--prefix=coreos.com/etcd", fpr)

	spoiled := keys.Run(signature, "--dearmor")
	spoiled[len(spoiled)-1] ^= 1
	sites.File(etcdFile+".asc", spoiled)
	refused("the signature by key " + fpr + " does not count: the signature is of other data")
	sites.File(etcdFile+".asc", keys.Sign(other, aci))
	refused("it is signed by key " + other + ", which is not trusted for it")
	sites.File(etcdFile+".asc", signature)
	sites.File(etcdFile, altered(t, aci))
	refused("the signature by key " + fpr + " does not count: the signature is of other data")
	sites.File(etcdFile, aci)

	said := s.Must("systemd-run", "rkt", "run", etcd, "--net=host").Stderr
	m := regexp.MustCompile(`Running as unit: (\S+)\.service`).FindStringSubmatch(said)
	if m == nil {
		t.Fatalf("systemd-run: %s", said)
	}
	unit := m[1]
	serves := regexp.MustCompile(`(?m) etcd\[\d+\]: .*127\.0\.0\.1:2379`)
	out := s.Until("etcd serves", func(r rkt.Result) bool { return serves.MatchString(r.Stdout) }, "journalctl", "-u", unit).Stdout
	for _, want := range []string{"signature verified:", etcdSigner} {
		if !strings.Contains(out, want) {
			t.Errorf("journalctl -u has no %q:\n%s", want, out)
		}
	}
	uuid := running(s)
	out = s.Must("systemctl", "status", unit).Stdout
	for _, want := range []string{"active (running)", "rkt run " + etcd + " --net=host", "─rkt-" + uuid, "/usr/bin/etcd"} {
		if !strings.Contains(out, want) {
			t.Errorf("systemctl status has no %q:\n%s", want, out)
		}
	}
	s.Until("machinectl lists it", func(r rkt.Result) bool { return strings.Contains(r.Stdout, "rkt-"+uuid+" container rkt ") }, "machinectl", "list")
	s.Must("rkt", "enter", uuid, "etcdctl", "endpoint", "health")
	if out := s.Must("rkt", "image", "list", "--json").Stdout; !strings.Contains(out, `"trust":"signature"`) {
		t.Errorf("rkt image list: %s", out)
	}
	s.Must("systemctl", "stop", unit)
	s.Run("systemctl", "reset-failed", unit) // etcd ends by the signal that it was sent, with its number
	s.Must("rkt", "gc", "--grace-period=0s")
	s.Must("rkt", "image", "rm", etcd)
}

// coreos are the servers of coreos.com as the host finds them: by /etc/hosts, on
// the port of https, with a certificate of an authority that it knows.
func coreos(t *testing.T, s *systemdhost.Session) *web.Sites {
	t.Helper()
	sites, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sites.Close)
	l, err := s.Listen("127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	sites.On(l)
	authority, err := os.ReadFile(sites.Env()["SSL_CERT_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := os.ReadFile(s.Path("/etc/hosts"))
	if err != nil {
		t.Fatal(err)
	}
	s.Must("mkdir", "-p", "/etc/ssl/certs")
	t.Cleanup(func() {
		s.Write("/etc/hosts", string(hosts))
		s.Must("rm", "-r", "/etc/ssl")
	})
	s.Write("/etc/ssl/certs/ca-certificates.crt", string(authority))
	s.Write("/etc/hosts", string(hosts)+"127.0.0.1 coreos.com\n")
	return sites
}

// buildEtcd makes the talk's image of the tests' etcd.
func buildEtcd(t *testing.T, s *systemdhost.Session) []byte {
	t.Helper()
	name, version, _ := strings.Cut(etcd, ":")
	s.Must("acbuild", "begin", image("etcd"))
	s.Must("acbuild", "set-name", name)
	s.Must("acbuild", "label", "add", "version", version)
	s.Must("acbuild", "write", "etcd.aci")
	s.Must("acbuild", "end")
	text, err := os.ReadFile(s.Path("/root/etcd.aci"))
	if err != nil {
		t.Fatal(err)
	}
	s.Must("rm", "etcd.aci")
	return text
}

// altered is the image with the powers of root for its user daemon, not compressed.
func altered(t *testing.T, aci []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(aci))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(plain, []byte("\ndaemon:x:1:1:"), []byte("\ndaemon:x:0:0:"), 1)
	if bytes.Equal(other, plain) {
		t.Fatal("the image has no user daemon")
	}
	return other
}

// trusts is the answer of somebody at a terminal to the key that is announced for
// etcd, which must be that of the fingerprint.
func trusts(t *testing.T, s *systemdhost.Session, fpr, answer string) rkt.Result {
	t.Helper()
	r := s.Feed(answer+"\n", "script", "--quiet", "--return", "--command=rkt trust --prefix coreos.com/etcd", "/dev/null")
	if shown := strings.ToLower(strings.ReplaceAll(r.Stdout, " ", "")); !strings.Contains(shown, "fingerprintis:"+fpr) {
		t.Errorf("rkt trust does not show %s:\n%s", fpr, r.Stdout)
	}
	return r
}

// TestUnitFiles: systemd finds nothing wrong with the units of dist/, and they do
// their work.
func TestUnitFiles(t *testing.T) {
	s := booted.Session(t)
	files, err := filepath.Glob("../../dist/systemd/system/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d unit files, %v", len(files), err)
	}
	verify := []string{"systemd-analyze", "verify", "--man=no"}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		to := "/usr/lib/systemd/system/" + filepath.Base(f)
		s.Write(to, string(text))
		verify = append(verify, to)
	}
	s.Must("systemctl", "daemon-reload")
	if r := s.Run(verify...); r.Status != 0 || strings.Contains(r.Stderr, "rkt") {
		t.Errorf("systemd-analyze verify: status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	s.Must(append(rktRun, tiny(s), "--exec=/bin/true")...)
	s.Must("systemctl", "start", "rkt-gc.service")
	if out := s.Must("rkt", "list", "--no-legend").Stdout; !strings.Contains(out, "exited garbage") {
		t.Errorf("after gc rkt list says:\n%s", out)
	}
	s.Must("systemctl", "start", "rkt-gc.timer")
	if out := s.Must("systemctl", "list-timers", "--no-pager").Stdout; !strings.Contains(out, "rkt-gc.service") {
		t.Errorf("timers:\n%s", out)
	}
	s.Must("systemctl", "stop", "rkt-gc.timer")
}
