// SPDX-License-Identifier: Apache-2.0
package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// What somebody left on the disk of an instance must not lead our own writing and reading into our own files.
func TestNothingIsWrittenOrReadThroughALinkOutOfTheRoot(t *testing.T) {
	folder := t.TempDir()
	outside := filepath.Join(folder, "ours")
	if err := os.WriteFile(outside, []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(folder, "root")
	for _, each := range []string{"etc", "elsewhere"} {
		if err := os.MkdirAll(filepath.Join(inside, each), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, link := range []string{outside, "../../ours"} {
		os.Remove(filepath.Join(inside, "etc/file"))
		if err := os.Symlink(link, filepath.Join(inside, "etc/file")); err != nil {
			t.Fatal(err)
		}
		if text, err := readInside(inside, "etc/file", 100); err == nil {
			t.Error("read", text)
		}
		// The link is replaced, and what it led to stays.
		if err := writeInside(root, "etc/file", []byte("theirs"), 0o644); err != nil {
			t.Error(err)
		}
		if text, err := readInside(inside, "etc/file", 3); err != nil || text != "the" {
			t.Error(text, err)
		}
	}
	// A whole folder that leads out.
	if err := os.Symlink(folder, filepath.Join(inside, "out")); err != nil {
		t.Fatal(err)
	}
	if err := writeInside(root, "out/ours", []byte("theirs"), 0o644); err == nil {
		t.Error("a folder led out")
	}
	if text, _ := os.ReadFile(outside); string(text) != "ours" {
		t.Error(string(text))
	}
	if err := syscall.Mkfifo(filepath.Join(inside, "etc/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := readInside(inside, "etc/pipe", 3); done <- err }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a pipe was read")
		}
	case <-time.After(5 * time.Second):
		t.Error("a pipe keeps whoever reads it")
	}
}

func TestWhoMayLogInIsReplacedInOneStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	for _, keys := range [][]string{{"ssh-ed25519 AAAA one"}, {"ssh-ed25519 BBBB two"}} {
		if err := writeAuthorized(path, keys); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		state, _ := os.Stat(path)
		if err != nil || string(text) != keys[0]+"\n" || state.Mode().Perm() != 0o600 {
			t.Error(string(text), err, state)
		}
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Error(left)
	}
}
