// SPDX-License-Identifier: Apache-2.0

// Package wall says what each kind of helper process may do (Of), and starts
// helpers so (Command). docs/security.md tells against whom.
//
// A helper reads what strangers wrote, so whatever it does is taken for what a
// stranger makes it do. rkt sets what can be set from outside, in the child
// between fork and exec: user, capabilities, namespaces, limits, descriptors,
// root directory, Landlock. The helper's first lines (source.Confine) add the
// system call filter that its row asks for. Not a byte of a stranger's is read
// before.
package wall

import (
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/caps"
)

// Kind is a way to start libexec/rkt/fetch, by its first argument.
type Kind string

// The kinds. A new one needs a row in Of, and its word in cmd/fetch.
const (
	Get         Kind = "get"          // an image from a registry
	Read        Kind = "read"         // an image from a layout or an archive
	Push        Kind = "push"         // an image into a registry
	Unpack      Kind = "unpack"       // a stream into a directory
	Look        Kind = "look"         // an ACI's ID and manifest, without unpacking it
	Inflate     Kind = "inflate"      // not the helper: igzip, unpigz or xz
	Verify      Kind = "verify"       // keys and signatures, and the file that was signed
	Sign        Kind = "sign"         // a signature by the user's own key
	Agent       Kind = "agent"        // signatures by the user's own SSH keys
	Plain       Kind = "plain"        // a stream, decompressed
	Gzip        Kind = "gzip"         // a stream, compressed
	PodManifest Kind = "pod-manifest" // a Kubernetes Pod into an appc manifest
	YAML        Kind = "yaml"         // YAML into JSON
)

// Row is what a kind may do. The zero value is the strictest: a user of its
// own, no capability, no network, no file but the descriptors it was handed.
type Row struct {
	// Fills: descriptor wire.DirFD is a directory, which becomes its root, and
	// in which it may make, change and remove everything. Where rkt is root,
	// so is the process, with Keeps and no more.
	Fills bool
	Keeps caps.Set
	// Connects: TCP and UDP, to anywhere. Others cannot have a socket at all.
	Connects bool
	// Asks: it may receive descriptors over a socket that it was handed.
	Asks bool
	// Reads are files and directories.
	Reads []string
	// Runs are the directories that its dynamic loader and libraries are in;
	// the loader is a program.
	Runs []string
	// Foreign: the program is not ours and cannot wall itself in, so rkt sets
	// the filter, too.
	Foreign bool
	// Limits (setrlimit(2)): bytes of memory that are its own, bytes that it
	// may write to a file, descriptors.
	Memory, File, Descriptors uint64
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Of is the table: a kind's row. ok is false if there is no such kind.
func Of(k Kind) (row Row, ok bool) {
	switch k {
	case Get:
		return Row{Connects: true, Reads: network(), Memory: 2 * gib, Descriptors: 512}, true
	case Push:
		// A descriptor for each layer.
		return Row{Connects: true, Reads: network(), Memory: 2 * gib, Descriptors: 1024}, true
	case Read:
		// A compressed archive is decompressed into a scratch file.
		return Row{Asks: true, Memory: 2 * gib, File: 256 * gib, Descriptors: 256}, true
	case Unpack:
		return Row{Fills: true, Keeps: unpacks(), Memory: 2 * gib, File: 256 * gib, Descriptors: 1024}, true
	case Inflate:
		return Row{Foreign: true, Runs: libraries(), Reads: []string{"/etc/ld.so.cache", "/etc/ld.so.preload"},
			Memory: 512 * mib, Descriptors: 32}, true
	case PodManifest, YAML, Look, Verify, Sign, Agent, Plain, Gzip:
		return Row{Memory: 1 * gib, Descriptors: 32}, true
	}
	return Row{}, false
}

// unpacks are the capabilities that making an image's tree takes: files of any
// owner (CHOWN), filled and changed after they were given away (DAC_OVERRIDE,
// FOWNER), set-group-id bits that stay (FSETID), device nodes (MKNOD), file
// capabilities (SETFCAP). SYS_ADMIN is for trusted.*: overlayfs keeps its marks
// there, which are read and set while unpacking, and images have attributes of
// that name. Nothing else of that capability's is in reach: mount and its kin,
// setns, unshare, bpf, quotactl and ioctl are not in the filter, and a process
// under Landlock cannot change mounts.
func unpacks() caps.Set {
	return caps.Of(unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_MKNOD,
		unix.CAP_SETFCAP, unix.CAP_SYS_ADMIN)
}

// network are the files that finding a host and believing it take.
func network() []string {
	return []string{
		"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/mdns.allow",
		// Where crypto/x509 looks, and where the links in there lead.
		"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/certs", "/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted",
		"/etc/ca-certificates/extracted", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
		"/var/lib/ca-certificates",
	}
}

func libraries() []string {
	return []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store"}
}
