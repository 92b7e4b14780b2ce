// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	sshFolder = "/run/casemate-ssh"
	keyLimit  = 60 * time.Second
)

type sshServer struct {
	ended    <-chan syscall.WaitStatus
	over     atomic.Bool
	hostKeys []string
}

// startSsh makes host keys that exist in this machine's memory only, and a server that takes these keys for root and nothing else.
func startSsh(all *processes, authorized []string) (*sshServer, error) {
	for _, folder := range []string{sshFolder, "/run/sshd"} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	keys := sshFolder + "/authorized_keys"
	if err := os.WriteFile(keys, []byte(strings.Join(authorized, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	hostKey := sshFolder + "/host_ed25519"
	if err := all.run(keyLimit, "/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "casemate", "-f", hostKey); err != nil {
		return nil, err
	}
	public, err := os.ReadFile(hostKey + ".pub")
	if err != nil {
		return nil, err
	}
	arguments := []string{"-D", "-h", hostKey, "-f", "/dev/null"}
	for _, option := range []string{
		"AuthorizedKeysFile=" + keys, "PasswordAuthentication=no", "KbdInteractiveAuthentication=no",
		"PermitRootLogin=prohibit-password", "AllowUsers=root", "PidFile=none", "Subsystem=sftp internal-sftp",
	} {
		arguments = append(arguments, "-o", option)
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
