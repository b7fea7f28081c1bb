// SPDX-License-Identifier: Apache-2.0

package flock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		held, asked Mode
		busy        bool
	}{
		{Shared, Shared, false},
		{Shared, Exclusive, true},
		{Exclusive, Shared, true},
		{Exclusive, Exclusive, true},
	} {
		path := filepath.Join(t.TempDir(), "lock")
		a, b := open(t, path), open(t, path)
		if err := Lock(a, c.held); err != nil {
			t.Fatal(err)
		}
		err := TryLock(b, c.asked)
		if errors.Is(err, ErrBusy) != c.busy || (!c.busy && err != nil) {
			t.Errorf("held %v, asked %v: %v", c.held, c.asked, err)
		}
	}
}

func TestUnlockAndCloseLetGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b, c := open(t, path), open(t, path), open(t, path)
	if err := Lock(a, Exclusive); err != nil {
		t.Fatal(err)
	}
	if err := Unlock(a); err != nil {
		t.Fatal(err)
	}
	if err := TryLock(b, Exclusive); err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	b.Close()
	if err := TryLock(c, Exclusive); err != nil {
		t.Fatalf("after close: %v", err)
	}
}

func TestLockWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := open(t, path), open(t, path)
	if err := Lock(a, Exclusive); err != nil {
		t.Fatal(err)
	}
	released := make(chan struct{})
	done := make(chan error)
	go func() {
		err := Lock(b, Exclusive)
		select {
		case <-released:
		default:
			err = errors.New("locked before the holder let go")
		}
		done <- err
	}()
	close(released)
	if err := Unlock(a); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestClosedFile(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "lock"))
	f.Close()
	if err := TryLock(f, Shared); err == nil || errors.Is(err, ErrBusy) {
		t.Fatalf("got %v", err)
	}
}
