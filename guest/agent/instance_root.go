// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Where people work who log in to an instance with a state disk: the measured root, read-only, and over it what they wrote, which is on
// that disk and there again after every start. We are not in it:
//
//	A. This agent, the SSH server and all that runs before somebody is logged in have the root of the boot, over which there is memory
//	   only. So whoever was root once, by right or not, has left nothing that the next start runs before it has shown what it is: no
//	   /etc/ld.so.preload, no other sshd, no keys of their own. What a person's shell is, and all that they start, is their disk's.
//	B. The keys of the SSH server are beside that root and not below it. Evidence of a login binds those that are there.
//	C. What we write below it, we write without following a link out of it: it would lead into our own files.
const (
	instanceFolder = storeFolder + "/instance"
	instanceRoot   = storeFolder + "/root"
	measuredAgain  = "/run/casemate-measured"
	hostKeysFolder = instanceFolder + "/ssh"
	insideFolder   = "/run/casemate-inside"
)

// seenInside: of the machine as it runs now, and no part of the disk. Folders below them come along where there are any.
var seenInside = []struct {
	path string
	deep bool
}{{"/proc", true}, {"/sys", true}, {"/dev", true}, {"/run", false}, {"/tmp", false}}

// poweroffScript is what people type; there is no service manager that they could ask.
const poweroffScript = "#!/bin/sh\n# Asks the first process to end everything in order and to power off.\nexec /bin/sh -c 'kill -s USR2 1'\n"

// enterInstanceRoot: the disk is mounted; after this somebody can be let in.
func enterInstanceRoot() error {
	upper, work := instanceFolder+"/upper", instanceFolder+"/work"
	for _, folder := range []string{upper, work} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := mountAll([]mount{
		{verityDevice, measuredAgain, "erofs", syscall.MS_RDONLY | syscall.MS_NODEV, ""},
		{"overlay", instanceRoot, "overlay", syscall.MS_NODEV,
			"lowerdir=" + measuredAgain + ",upperdir=" + upper + ",workdir=" + work},
	}); err != nil {
		return err
	}
	// A root that others can write to is one that the SSH server lets nobody into.
	if err := os.Chown(instanceRoot, 0, 0); err != nil {
		return err
	}
	if err := os.Chmod(instanceRoot, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(instanceRoot)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, each := range seenInside {
		if err := bindInside(root, each.path, each.deep); err != nil {
			return fmt.Errorf("%s inside: %w", each.path, err)
		}
	}
	// What is broken in there is its owner's to mend: they can log in all the same.
	if err := bringInside(root, "/etc/resolv.conf", "etc/resolv.conf"); err != nil {
		logLine("names are not resolved inside: " + err.Error())
	}
	if _, err := root.Lstat("usr/local/sbin/poweroff"); os.IsNotExist(err) {
		if err := writeInside(root, "usr/local/sbin/poweroff", []byte(poweroffScript), 0o755); err != nil {
			logLine("there is no poweroff inside: " + err.Error())
		}
	}
	return nil
}

// bindInside: a folder that is a link by now, or none, is no place to mount on. C
func bindInside(root *os.Root, path string, deep bool) error {
	name := path[1:]
	if found, err := root.Lstat(name); err != nil || !found.IsDir() {
		if err == nil {
			err = root.Remove(name)
		}
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := root.Mkdir(name, 0o755); err != nil {
			return err
		}
	}
	flags := uintptr(syscall.MS_BIND)
	if deep {
		flags |= syscall.MS_REC
	}
	return syscall.Mount(path, filepath.Join(instanceRoot, name), "", flags, "")
}

// serveInside: programs in there are told their own accounts, by the same socket's name. The SSH server is told those of the measured
// root: an account that somebody wrote to the disk is none that it runs as. A
func serveInside() error {
	inside := func() (string, error) { return readInside(instanceRoot, "etc/passwd", passwdBytesMax) }
	if err := serveAnybody(filepath.Join(insideFolder, filepath.Base(anybodySocket)), inside); err != nil {
		return err
	}
	return syscall.Mount(insideFolder, instanceRoot+filepath.Dir(anybodySocket), "", syscall.MS_BIND, "")
}

func bringInside(root *os.Root, from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeInside(root, to, text, 0o644)
}

// writeInside replaces whatever has the name, and follows it nowhere. C
func writeInside(root *os.Root, name string, text []byte, mode os.FileMode) error {
	if err := root.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// readInside reads a file of theirs, as far as one of its kind is long. C
func readInside(folder, name string, bytesMax int64) (string, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return "", err
	}
	defer root.Close()
	found, err := root.Stat(name)
	if err != nil || !found.Mode().IsRegular() {
		// A pipe would keep whoever opens it.
		return "", fmt.Errorf("%s is no file", name)
	}
	file, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, bytesMax))
	return string(text), err
}
