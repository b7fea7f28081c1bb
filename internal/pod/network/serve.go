// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/pod/network/names"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// The descriptor on which the program is told what to do, and answers.
const wordFD = 3

// ServeAdd is the verb add: it waits for a pod on the socket,
// attaches it, and answers. Descriptors that come with the pod: its lock, which
// is held meanwhile, and its network namespace. If the socket is closed instead,
// there will be no pod. If nobody takes the answer, all is given back. Then it
// stays until the socket is closed, to give all back at a word: most pods end
// before another program would have started.
func ServeAdd(ctx context.Context, open func(podDir string, doc *contract.Pod) *Host) error {
	dir, fds, err := receive()
	if err != nil || dir == "" {
		return err
	}
	doc, err := document(dir)
	if err != nil {
		return answer(err)
	}
	h := open(dir, doc)
	ns := os.NewFile(uintptr(fds[1]), "network namespace")
	serve, err := h.Attach(ctx, dir, doc, ns)
	ns.Close()
	ctx = context.WithoutCancel(ctx) // what has been taken is given back, whoever says what
	failpoint.Hit("network/attached")
	if aerr := answer(err, more(dir, err, len(serve) > 0)...); err != nil {
		return aerr
	} else if aerr != nil {
		last, err := h.Release(ctx, dir, doc)
		if last != nil {
			defer last.Close()
		}
		return errors.Join(aerr, err)
	}
	// Who holds the lock from here on is the pod alone.
	unix.Close(fds[0])
	if len(serve) > 0 {
		return stay(ctx, serve)
	}
	word := make([]byte, 64)
	for {
		n, err := unix.Read(wordFD, word)
		if err == unix.EINTR {
			continue
		}
		if err != nil || string(word[:max(n, 0)]) != contract.NetworkRelease {
			return nil // the pod lives on
		}
		return release(ctx, h, dir, doc)
	}
}

// stay serves beside the pod, without any privilege, until the socket is closed
// or something is said: then another has to give back.
func stay(ctx context.Context, serve []func(context.Context)) error {
	if err := names.Confine(); err != nil {
		return err
	}
	for _, f := range serve {
		go f(ctx)
	}
	for {
		_, err := unix.Read(wordFD, make([]byte, 64))
		if err != unix.EINTR {
			return nil
		}
	}
}

// release gives back what the pod held, and answers. What takes the kernel longer
// happens after the answer, with nothing of the caller's left open.
func release(ctx context.Context, h *Host, dir string, doc *contract.Pod) error {
	last, err := h.Release(ctx, dir, doc)
	if aerr := answer(err); aerr != nil {
		return errors.Join(err, aerr)
	}
	if last == nil {
		return nil
	}
	if err := letGo(); err != nil {
		return err
	}
	return last.Close()
}

// receive waits for contract.NetworkAdd; dir is "" if there will be no pod.
func receive() (dir string, fds []int, err error) {
	buf := make([]byte, len(contract.NetworkAdd)+unix.PathMax)
	oob := make([]byte, unix.CmsgSpace(4*2))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(wordFD, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", nil, os.NewSyscallError("recvmsg", err)
		}
		if n == 0 {
			return "", nil, nil
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		dir, ok := strings.CutPrefix(string(buf[:n]), contract.NetworkAdd)
		if err == nil && len(msgs) == 1 && ok && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) == 0 && filepath.IsAbs(dir) {
			if fds, err = unix.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 2 {
				return dir, fds, nil
			}
		}
		return "", nil, errors.New("cannot attach: what stage0 sent is not a pod")
	}
}

// more is what else there is to say: whether this program is to stay as long as
// the pod lives, and what the first network that speaks of DNS wants in
// resolv.conf.
func more(dir string, err error, stay bool) []string {
	if err != nil {
		return nil
	}
	words := []string{""}
	if stay {
		words[0] = contract.NetworkStays
	}
	state, err := ReadState(dir)
	if err != nil {
		return words // it was written a moment ago
	}
	for _, n := range state.Networks {
		if n.Resolv != "" {
			return append(words, n.Resolv)
		}
	}
	return words
}

// answer tells the other side how it went, and more if it went well. Whoever
// reads prefixes its own words.
func answer(err error, more ...string) error {
	text := strings.Join(append([]string{contract.NetworkDone}, more...), "\n")
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	for {
		serr := unix.Sendto(wordFD, []byte(text), unix.MSG_NOSIGNAL, nil)
		if serr == unix.ENOTSOCK {
			_, serr = unix.Write(wordFD, []byte(text))
		}
		if serr != unix.EINTR {
			return os.NewSyscallError("sendto", serr)
		}
	}
}

// ServeDel is the verb del, in the pod's directory: it gives back what the pod
// held, and answers.
func ServeDel(ctx context.Context, open func(podDir string, doc *contract.Pod) *Host) error {
	dir, err := os.Getwd()
	if err != nil {
		return answer(err)
	}
	doc, err := document(dir)
	if err != nil || doc.Network != contract.NetworkContained {
		return answer(err)
	}
	return release(ctx, open(dir, doc), dir, doc)
}

// letGo closes what others may wait for.
func letGo() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for _, fd := range []int{0, 1, 2, wordFD} {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return os.Chdir("/")
}

func document(dir string) (*contract.Pod, error) {
	b, err := os.ReadFile(filepath.Join(dir, contract.File))
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	doc, err := contract.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's document: %w", err)
	}
	if doc.Version != contract.Version {
		return nil, fmt.Errorf("cannot use the pod's document: version %d, this program knows %d", doc.Version, contract.Version)
	}
	return doc, nil
}
