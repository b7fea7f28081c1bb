// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rkt/rkt/test/cosign"
	"github.com/rkt/rkt/test/gpg"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/registry"
	"github.com/rkt/rkt/test/rkt"
)

// acbuild runs it in dir, with the configuration and store of h, and gives what
// it prints.
func acbuild(t *testing.T, h *rkt.Host, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(install.Bin("acbuild"), append(append([]string{"--dir=" + h.Dir}, h.Flags[1:]...), args...)...)
	cmd.Dir, cmd.Env = dir, h.Env
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("acbuild %q: %v\n%s", args, err, said.String())
	}
	return strings.TrimSpace(string(out))
}

// acbuildFails runs it likewise, must see it fail, and gives what it says.
func acbuildFails(t *testing.T, h *rkt.Host, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(install.Bin("acbuild"), append(append([]string{"--dir=" + h.Dir}, h.Flags[1:]...), args...)...)
	cmd.Dir, cmd.Env = dir, h.Env
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("acbuild %q succeeds:\n%s", args, out)
	}
	return string(out)
}

// example copies an example's scripts to dir.
func example(t *testing.T, name, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "examples", name))); err != nil {
		t.Fatal(err)
	}
}

// answers wants text from url, of a server that listens.
func answers(t *testing.T, url, text string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(b), text) {
		t.Errorf("%s: %q, %v", url, b, err)
	}
}

// listening waits until a program that says nothing of it listens.
func listening(t *testing.T, p *rkt.Process, addr string) {
	t.Helper()
	for until := time.Now().Add(rkt.Patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%v\n%s", err, p.Output())
		}
	}
}

// TestBuildHello is the talk's first example, "a static go binary": built as an
// ACI and as an OCI image, signed, fetched on the word of the key alone, run, and
// asked.
func TestBuildHello(t *testing.T) {
	h, keys := host(t), gpg.New(t)
	dir := t.TempDir()
	example(t, "hello", dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "hello"), "../../examples/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fpr := keys.Key("Hello <hello@example.com>", "ed25519", "1y")
	secret, public := filepath.Join(dir, "secret.asc"), filepath.Join(dir, "key.asc")
	for name, text := range map[string][]byte{secret: keys.Run(nil, "--armor", "--export-secret-keys", fpr), public: keys.Export(fpr)} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("aci", func(t *testing.T) {
		acbuild(t, h, dir, "script", "build-aci")
		acbuild(t, h, dir, "begin", "./hello.aci")
		id := acbuild(t, h, dir, "write", "--overwrite", "--sign="+secret, "hello.aci")
		acbuild(t, h, dir, "end")
		aci := filepath.Join(dir, "hello.aci")
		if r := secured(h, "fetch", aci); r.Status != 254 {
			t.Errorf("without trust: status %d\n%s", r.Status, r.Stderr)
		}
		h.Must("trust", "--prefix=example.com/hello", "--skip-fingerprint-review", public)
		r := secured(h, "fetch", "--full", aci)
		if r.Status != 0 || r.Out() != id {
			t.Errorf("status %d, %q, built as %q\n%s", r.Status, r.Stdout, id, r.Stderr)
		}
		serveHello(t, h, aci)
	})
	t.Run("oci", func(t *testing.T) {
		acbuild(t, h, dir, "script", "build-oci")
		key, pub := filepath.Join(dir, "cosign.key"), filepath.Join(dir, "cosign.pub")
		for _, args := range [][]string{
			{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key},
			{"pkey", "-in", key, "-pubout", "-out", pub},
		} {
			if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
				t.Skipf("needs openssl: %v %s", err, out)
			}
		}
		data := t.TempDir()
		addr, stop, err := registry.StartDistribution(data)
		if err != nil {
			t.Skipf("needs docker-registry: %v", err)
		}
		defer stop()
		acbuild(t, h, dir, "begin", "--build-mode=oci", "oci:images:hello")
		acbuild(t, h, dir, "push", "--sign="+key, addr+"/hello:v1")
		acbuild(t, h, dir, "end")
		name := "docker://" + addr + "/hello:v1"
		if r := secured(h, "fetch", name); r.Status != 254 {
			t.Errorf("without trust: status %d\n%s", r.Status, r.Stderr)
		}
		h.Must("trust", "--prefix=docker://"+addr+"/hello", "--skip-fingerprint-review", pub)
		serveHello(t, h, name)
	})
}

func serveHello(t *testing.T, h *rkt.Host, image string) {
	t.Helper()
	serves(t, h, image, "127.0.0.1:5000", "hello\n")
}

// serves runs an image on the word of a key, or a digest, until it has answered.
func serves(t *testing.T, h *rkt.Host, image, address, want string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "uuid")
	p := h.Start("--insecure-options=none", "run", "--net=host", "--uuid-file-save="+file, image)
	listening(t, p, address)
	answers(t, "http://"+address+"/", want)
	h.Must("stop", readUUID(t, file))
	p.Wait()
	h.Gone()
}

// TestBuildNginx is the talk's second example, nginx of Debian's packages: with
// nginx and its libraries as they lie here in the place of apt-get, for which
// there is no network; as an ACI, and as an OCI image that goes into the store.
func TestBuildNginx(t *testing.T) {
	h := host(t)
	base := image(t, images.Shell)
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("needs nginx")
	}
	libs, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	install := "run --net=none -- /bin/bash -c \"mkdir -p /var/log/nginx /var/lib/nginx /tmp; echo nobody:x:65534:65534::/:/bin/false >> /etc/passwd; echo nogroup:x:65534: >> /etc/group\"\ncopy " + program + " /usr/sbin/nginx\n"
	for _, m := range regexp.MustCompile(`(?m)^\s+(?:\S+ => )?(/\S+) \(0x`).FindAllStringSubmatch(string(libs), -1) {
		real, err := filepath.EvalSymlinks(m[1])
		if err != nil {
			t.Fatal(err)
		}
		install += "copy " + real + " " + m[1] + "\n"
	}
	dir := t.TempDir()
	example(t, "nginx", dir)
	for _, name := range []string{"build-aci", "build-oci"} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		script := strings.NewReplacer("docker://debian:bookworm-slim", base, "run -- apt-get update\n", "",
			"run -- apt-get install --yes --no-install-recommends nginx-light\n", install).Replace(string(text))
		if strings.Contains(script, "apt-get") || strings.Contains(script, "docker://") {
			t.Fatalf("%s is not what this test knows:\n%s", name, script)
		}
		if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		acbuild(t, h, dir, "script", name)
	}
	acbuild(t, h, dir, "begin", "--build-mode=oci", "oci:images:nginx")
	id := acbuild(t, h, dir, "write", "--to-store=example.com/nginx:built")
	acbuild(t, h, dir, "end")
	for _, name := range []string{"docker://example.com/nginx:built", id} {
		serveNginx(t, h, name)
	}
	h.Must("image", "rm", id)
	t.Run("aci", func(t *testing.T) { signedACI(t, h, dir) })
	for _, token := range []bool{false, true} {
		t.Run(fmt.Sprintf("oci, token %v", token), func(t *testing.T) { signedOCI(t, h, dir, token) })
	}
}

func serveNginx(t *testing.T, h *rkt.Host, image string) {
	t.Helper()
	serves(t, h, image, "127.0.0.1:8081", "built by acbuild")
}

// signedACI: the ACI is taken on the word of a key that has a password.
func signedACI(t *testing.T, h *rkt.Host, dir string) {
	keys := gpg.New(t)
	secret, public := filepath.Join(dir, "secret.asc"), filepath.Join(dir, "key.asc")
	keys.Run(nil, "--batch", "--pinentry-mode=loopback", "--passphrase=pass word", "--quick-generate-key", "Nginx <nginx@example.com>", "rsa2048", "sign", "1y")
	fpr := keys.Fingerprints("nginx@example.com")[0]
	err := errors.Join(os.WriteFile(secret, keys.Run(nil, "--batch", "--pinentry-mode=loopback", "--passphrase=pass word", "--armor", "--export-secret-keys", fpr), 0o600),
		os.WriteFile(public, keys.Export(fpr), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	aci := filepath.Join(dir, "nginx.aci")
	acbuild(t, h, dir, "begin", "./nginx.aci")
	env := h.Env
	defer func() { h.Env = env }()
	h.Env = append(env[:len(env):len(env)], "ACBUILD_PASSWORD=guess")
	if r := acbuildFails(t, h, dir, "write", "--overwrite", "--sign="+secret, "nginx.aci"); !strings.Contains(r, "password") {
		t.Errorf("with another password: %s", r)
	}
	h.Env[len(env)] = "ACBUILD_PASSWORD=pass word"
	acbuild(t, h, dir, "write", "--overwrite", "--sign="+secret, "nginx.aci")
	acbuild(t, h, dir, "end")
	if r := secured(h, "fetch", aci); r.Status != 254 {
		t.Errorf("without trust: status %d\n%s", r.Status, r.Stderr)
	}
	h.Must("trust", "--prefix=example.com/nginx", "--skip-fingerprint-review", public)
	serveNginx(t, h, aci)
}

// signedOCI: the OCI image goes to a registry that asks who comes, signed by
// cosign's key, which has a password, and comes from there on the word of the key.
func signedOCI(t *testing.T, h *rkt.Host, dir string, token bool) {
	key, err := cosign.NewKey("P-256")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := key.Sealed("pass word")
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.Public()
	if err != nil {
		t.Fatal(err)
	}
	secret, pub := filepath.Join(dir, "cosign.key"), filepath.Join(dir, "cosign.pub")
	if err := errors.Join(os.WriteFile(secret, sealed, 0o600), os.WriteFile(pub, []byte(public), 0o600)); err != nil {
		t.Fatal(err)
	}
	behind, stop, err := registry.StartDistribution(t.TempDir())
	if err != nil {
		t.Skipf("needs docker-registry: %v", err)
	}
	t.Cleanup(stop)
	door := httptest.NewServer(guard(token, httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})))
	t.Cleanup(door.Close)
	addr := strings.TrimPrefix(door.URL, "http://")
	name := "docker://" + addr + "/nginx:v1"

	acbuild(t, h, dir, "begin", "--build-mode=oci", "oci:images:nginx")
	env := h.Env
	defer func() { h.Env = env }()
	h.Env = append(env[:len(env):len(env)], "COSIGN_PASSWORD=pass word")
	if r := acbuildFails(t, h, dir, "push", "--insecure", "--sign="+secret, name); !strings.Contains(r, "401") || !strings.Contains(r, "auth.d") {
		t.Errorf("without credentials: %s", r)
	}
	auth := filepath.Join(h.LocalConfig(), "auth.d")
	text := `{"rktKind":"dockerAuth","rktVersion":"v1","registries":["` + addr + `"],"credentials":{"user":"user","password":"secret"}}`
	if err := errors.Join(os.MkdirAll(auth, 0o700), os.WriteFile(filepath.Join(auth, "test.json"), []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	h.Env[len(env)] = "COSIGN_PASSWORD=guess"
	if r := acbuildFails(t, h, dir, "push", "--insecure", "--sign="+secret, name); !strings.Contains(r, "the password is wrong") {
		t.Errorf("with another password: %s", r)
	}
	h.Env[len(env)] = "COSIGN_PASSWORD=pass word"
	acbuild(t, h, dir, "push", "--insecure", "--sign="+secret, name)
	acbuild(t, h, dir, "end")
	if r := secured(h, "fetch", name); r.Status != 254 {
		t.Errorf("without trust: status %d\n%s", r.Status, r.Stderr)
	}
	h.Must("trust", "--prefix=docker://"+addr+"/nginx", "--skip-fingerprint-review", pub)
	serveNginx(t, h, name)
}

// guard lets user "user" with password "secret" to what is behind it, by basic
// authentication or for a token.
func guard(token bool, behind http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		known := user == "user" && pass == "secret"
		switch {
		case r.URL.Path == "/token" && known:
			// A ticket is for what it was asked for.
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "ticket " + r.URL.Query().Get("scope")})
			return
		case token && strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ticket repository:nginx:"):
			if r.Method == http.MethodGet || r.Method == http.MethodHead || strings.Contains(r.Header.Get("Authorization"), "push") {
				behind.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Www-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s",scope="repository:nginx:pull,push"`)
		case !token && known:
			behind.ServeHTTP(w, r)
			return
		case token:
			w.Header().Set("Www-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s"`)
		default:
			w.Header().Set("Www-Authenticate", `Basic realm="r"`)
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
}
