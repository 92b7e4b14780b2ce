// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	sshFolder = "/run/casemate-ssh"
	// Lines of who may log in. Never on a disk: each start is told anew.
	authorizedFile = sshFolder + "/authorized_keys"
	keyLimit       = 60 * time.Second
)

// sshPlace: where the server's own keys are, and the root of whoever is logged in; "" is ours.
type sshPlace struct {
	keysFolder string
	root       string
}

var sshInMemory = sshPlace{keysFolder: sshFolder}

type sshServer struct {
	ended    <-chan syscall.WaitStatus
	over     atomic.Bool
	hostKeys []string
}

// startSsh makes a server that takes these keys for root and nothing else. Its own key is made once for each folder of keys: one in memory
// is gone with the machine, one on a disk outlives it.
func startSsh(all *processes, place sshPlace, authorized []string) (*sshServer, error) {
	for _, folder := range []string{sshFolder, "/run/sshd"} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	if err := writeAuthorized(authorizedFile, authorized); err != nil {
		return nil, err
	}
	hostKey, err := hostKeyIn(all, place.keysFolder)
	if err != nil {
		return nil, err
	}
	public, err := os.ReadFile(hostKey + ".pub")
	if err != nil {
		return nil, err
	}
	arguments := []string{"-D", "-h", hostKey, "-f", "/dev/null"}
	for _, option := range []string{
		"AuthorizedKeysFile=" + authorizedFile, "PasswordAuthentication=no", "KbdInteractiveAuthentication=no",
		"PermitRootLogin=prohibit-password", "AllowUsers=root", "PidFile=none", "Subsystem=sftp internal-sftp",
	} {
		arguments = append(arguments, "-o", option)
	}
	if place.root != "" {
		arguments = append(arguments, "-o", "ChrootDirectory="+place.root)
	}
	// It says itself whether it can start with this; then it is started and stays.
	if err := all.run(keyLimit, "/usr/sbin/sshd", append([]string{"-t"}, arguments[1:]...)...); err != nil {
		return nil, err
	}
	_, ended, err := all.start(-1, "/usr/sbin/sshd", arguments...)
	if err != nil {
		return nil, err
	}
	server := &sshServer{ended: ended, hostKeys: []string{strings.TrimSpace(string(public))}}
	return server, server.waitListening()
}

// writeAuthorized replaces the list in one step: who is about to log in meets the old one or the new.
func writeAuthorized(path string, keys []string) error {
	if err := os.WriteFile(path+".new", []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// hostKeyIn answers the path of the key in this folder, and makes one where there is none. A loss of power while it is made leaves
// nothing that would be taken for a key: the folder gets its name when all of it is on the disk.
func hostKeyIn(all *processes, folder string) (string, error) {
	hostKey := filepath.Join(folder, "host_ed25519")
	if _, err := os.Stat(hostKey + ".pub"); err == nil {
		return hostKey, nil
	}
	making := folder
	if folder != sshFolder {
		making = folder + ".new"
		if err := os.RemoveAll(making); err != nil {
			return "", err
		}
		if err := os.MkdirAll(making, 0o700); err != nil {
			return "", err
		}
	}
	made := filepath.Join(making, "host_ed25519")
	if err := all.run(keyLimit, "/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "casemate", "-f", made); err != nil {
		return "", err
	}
	if making == folder {
		return hostKey, nil
	}
	syscall.Sync()
	if err := os.Rename(making, folder); err != nil {
		return "", err
	}
	syscall.Sync()
	return hostKey, nil
}

// waitListening: an answer to a claim says that one can log in now.
func (s *sshServer) waitListening() error {
	for end := time.Now().Add(keyLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if s.state() == "ended" {
			return fmt.Errorf("sshd ended at once")
		}
		// Port 22 is 0016; 0A is listening.
		for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			text, _ := os.ReadFile(table)
			for _, line := range strings.Split(string(text), "\n") {
				if words := strings.Fields(line); len(words) > 3 && strings.HasSuffix(words[1], ":0016") && words[3] == "0A" {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("sshd does not listen")
}

func (s *sshServer) state() string {
	if s == nil {
		return "off"
	}
	select {
	case <-s.ended:
		s.over.Store(true)
	default:
	}
	if s.over.Load() {
		return "ended"
	}
	return "running"
}
