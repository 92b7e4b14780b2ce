// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// In an instance there is one person, under whatever name their program logs in: the name of their account at home, or one that
// another provider gives. glibc asks a socket about names before it asks its files (nscd's, sysdeps of glibc: nscd/nscd-client.h), and
// who answers here knows every name: those of /etc/passwd as they are there, all others as root. No library is put into
// programs for it, and nothing is written where packages keep their accounts.
const (
	anybodySocket = "/run/nscd/socket"
	nscdVersion   = 2
	// What is asked: a user by name, by number.
	askByName = 0
	askById   = 1
	// Bytes of a question's key with its zero; glibc asks for no longer ones.
	askMax   = 1024
	askLimit = 5 * time.Second
)

// accounts answers the text of a passwd.
type accounts func() (string, error)

func accountsOf(path string) accounts {
	return func() (string, error) {
		text, err := os.ReadFile(path)
		return string(text), err
	}
}

type passwdEntry struct {
	name, password, comment, home, shell string
	uid, gid                             int32
}

// serveAnybody answers from now on, until the machine ends.
func serveAnybody(socket string, accounts accounts) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	// Whoever runs a program in here may ask: what is answered is in a file that all may read.
	if err := os.Chmod(socket, 0o666); err != nil {
		return err
	}
	goGuarded("names of users", func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			goGuarded("a question for a user", func() { answerAnybody(connection, accounts) })
		}
	})
	return nil
}

func answerAnybody(connection net.Conn, accounts accounts) {
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(askLimit))
	var head [3]int32
	if binary.Read(connection, binary.NativeEndian, &head) != nil {
		return
	}
	version, asked, length := head[0], head[1], head[2]
	if version != nscdVersion || length < 1 || length > askMax {
		return
	}
	key := make([]byte, length)
	if _, err := io.ReadFull(connection, key); err != nil {
		return
	}
	name := strings.TrimSuffix(string(key), "\x00")
	switch asked {
	case askByName:
		connection.Write(userFound(findUser(accounts, name)))
	case askById:
		connection.Write(userFound(findUid(accounts, name)))
	}
	// Of all else nothing is said, and glibc reads its files.
}

// findUser: who is in no file is root by another name, if it could be a name at all.
func findUser(accounts accounts, name string) *passwdEntry {
	users := readPasswd(accounts)
	for _, user := range users {
		if user.name == name {
			return &user
		}
	}
	if !envNameForm.MatchString(strings.ReplaceAll(strings.ReplaceAll(name, "-", "_"), ".", "_")) {
		return nil
	}
	for _, user := range users {
		if user.uid == 0 {
			return &user
		}
	}
	return nil
}

func findUid(accounts accounts, number string) *passwdEntry {
	for _, user := range readPasswd(accounts) {
		if strconv.Itoa(int(user.uid)) == number {
			return &user
		}
	}
	return nil
}

func readPasswd(accounts accounts) []passwdEntry {
	text, err := accounts()
	if err != nil {
		return nil
	}
	var all []passwdEntry
	for _, line := range strings.Split(text, "\n") {
		words := strings.Split(line, ":")
		if len(words) != 7 {
			continue
		}
		uid, wrongUid := strconv.ParseInt(words[2], 10, 32)
		gid, wrongGid := strconv.ParseInt(words[3], 10, 32)
		if wrongUid != nil || wrongGid != nil {
			continue
		}
		all = append(all, passwdEntry{words[0], words[1], words[4], words[5], words[6], int32(uid), int32(gid)})
	}
	return all
}

// userFound is glibc's pw_response_header and the strings after it, each with a zero.
func userFound(user *passwdEntry) []byte {
	head := [9]int32{0: nscdVersion}
	if user == nil {
		bytes, _ := binary.Append(nil, binary.NativeEndian, head)
		return bytes
	}
	texts := []string{user.name, user.password, user.comment, user.home, user.shell}
	size := func(at int) int32 { return int32(len(texts[at]) + 1) }
	head = [9]int32{nscdVersion, 1, size(0), size(1), user.uid, user.gid, size(2), size(3), size(4)}
	bytes, _ := binary.Append(nil, binary.NativeEndian, head)
	for _, text := range texts {
		bytes = append(append(bytes, text...), 0)
	}
	return bytes
}
